//! Files that say by a digest whether they are as they were written, and are still for people to read:
//! a JSON object of a digest and of what it is made of.

/// What a file has before the digest.
const HEAD: &[u8] = b"{\"digest\":\"";

/// What stands between the digest and what is sealed, by what that is called.
fn middle(name: &str) -> Vec<u8> {
    format!("\",\"{name}\":").into_bytes()
}

/// Puts a file together, of JSON by a name.
#[must_use]
pub fn seal(name: &str, body: &[u8]) -> Vec<u8> {
    let digest = blake3::hash(body).to_hex();
    [HEAD, digest.as_bytes(), &middle(name), body, b"}"].concat()
}

/// Returns what was sealed by that name; none if a byte isn't as it was written.
#[must_use]
pub fn unseal<'a>(name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (digest, rest) = bytes.strip_prefix(HEAD)?.split_at_checked(2 * blake3::OUT_LEN)?;
    let body = rest.strip_prefix(&middle(name)[..])?.strip_suffix(b"}")?;
    (blake3::hash(body).to_hex().as_bytes() == digest).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_that_or_none() {
        let bytes = seal("note", b"{\"a\":1}");
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        assert_eq!(unseal("note", &bytes), Some(&b"{\"a\":1}"[..]));
        assert_eq!(unseal("record", &bytes), None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(unseal("note", &damaged), None, "bit {bit} of {at}");
            }
            assert_eq!(unseal("note", &bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(unseal("note", &[&bytes[..], b"}"].concat()), None);
    }
}
