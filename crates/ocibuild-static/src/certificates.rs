//! The CA bundle: Mozilla's roots, from DER to PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::File;

/// Lines as RFC 7468, section 2, wants them.
const COLUMNS: usize = 64;

/// The licence asks to stand wherever the data goes. All readers of PEM skip what is outside the
/// certificates; it is ASCII, because some choke on anything else. The source of the data has no
/// names that could stand above the single certificates.
const HEADING: &str = "\
# The root certificates that Mozilla trusts for TLS servers.
# Licence of the data: CDLA-Permissive-2.0, https://cdla.dev/permissive-2-0/
";

/// Debian's place for the bundle, which most programs try first, and that of Alpine, BSD and an
/// OpenSSL configured for `/etc/ssl`.
pub(crate) fn files() -> [File; 2] {
    [
        File::regular("/etc/ssl/certs/ca-certificates.crt", bundle().into_bytes()),
        File::symlink("/etc/ssl/cert.pem", "certs/ca-certificates.crt"),
    ]
}

/// All certificates in the order of their source, which is a constant of the pinned crate.
fn bundle() -> String {
    let mut bundle = HEADING.to_owned();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        push_pem(&mut bundle, certificate);
    }
    bundle
}

fn push_pem(bundle: &mut String, der: &[u8]) {
    bundle.push_str("-----BEGIN CERTIFICATE-----\n");
    // A line of 64 characters holds 48 bytes: no line but the last is padded.
    for line in der.chunks(COLUMNS / 4 * 3) {
        STANDARD.encode_string(line, bundle);
        bundle.push('\n');
    }
    bundle.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_survives_the_way_to_pem_and_back() {
        let bundle = bundle();
        let certificates: Vec<Vec<u8>> = bundle
            .split("-----BEGIN CERTIFICATE-----\n")
            .skip(1)
            .map(|part| {
                let (body, rest) = part.split_once("-----END CERTIFICATE-----\n").unwrap();
                assert_eq!(rest, "");
                assert!(body.lines().all(|line| line.len() <= COLUMNS));
                STANDARD.decode(body.replace('\n', "")).unwrap()
            })
            .collect();
        let source: Vec<Vec<u8>> =
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| certificate.to_vec()).collect();
        assert_eq!(certificates, source);
        assert!(certificates.len() > 100, "only {}", certificates.len());
    }

    #[test]
    fn all_lines_but_the_last_of_a_certificate_are_full() {
        let mut pem = String::new();
        push_pem(&mut pem, &[0; 100]);
        let lengths: Vec<usize> = pem.lines().map(str::len).collect();
        assert_eq!(lengths, [27, 64, 64, 8, 25]);
    }

    #[test]
    fn the_bundle_is_ascii() {
        assert!(bundle().is_ascii());
    }
}
