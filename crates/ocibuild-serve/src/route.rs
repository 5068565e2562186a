//! What a request is about: its path and query, read without trust
//! ([endpoints](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints)).

use hyper::Uri;

/// What a path means. Names and digests in it are as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Base,
    Catalog,
    Token,
    Tags { name: String },
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Referrers { name: String, digest: String },
}

impl Route {
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = decode(path)?;
        if path == "/token" {
            return Some(Self::Token);
        }
        if path == "/v2" {
            return Some(Self::Base);
        }
        match path.strip_prefix("/v2/")? {
            "" => Some(Self::Base),
            "_catalog" => Some(Self::Catalog),
            rest => Self::of_repository(rest),
        }
    }

    fn of_repository(rest: &str) -> Option<Self> {
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { name: name.to_owned() });
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads")) {
            return Some(Self::Uploads { name: name.to_owned() });
        }
        let (before, last) = rest.rsplit_once('/')?;
        let (name, last) = (str::to_owned, last.to_owned());
        if let Some(before) = before.strip_suffix("/blobs/uploads") {
            return Some(Self::Upload { name: name(before), id: last });
        }
        if let Some(before) = before.strip_suffix("/manifests") {
            return Some(Self::Manifest { name: name(before), reference: last });
        }
        if let Some(before) = before.strip_suffix("/blobs") {
            return Some(Self::Blob { name: name(before), digest: last });
        }
        let before = before.strip_suffix("/referrers")?;
        Some(Self::Referrers { name: name(before), digest: last })
    }

    /// The repository that it is about.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Catalog | Self::Token => None,
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
        }
    }
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        Self(pairs.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-encoding. A `+` stays one, as media types have it and no parameter has spaces.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Encodes a value for a query.
pub(crate) fn encode(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                made.push(byte.into())
            }
            _ => made.push_str(&format!("%{byte:02X}")),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_they_mean_whatever_repositories_are_called() {
        let name = || "a/blobs".to_owned();
        let cases = [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/blobs/tags/list", Route::Tags { name: name() }),
            ("/v2/a/blobs/blobs/x%3Ay", Route::Blob { name: name(), digest: "x:y".into() }),
            ("/v2/a/blobs/manifests/1", Route::Manifest { name: name(), reference: "1".into() }),
            ("/v2/a/blobs/blobs/uploads/", Route::Uploads { name: name() }),
            ("/v2/a/blobs/blobs/uploads", Route::Uploads { name: name() }),
            ("/v2/a/blobs/blobs/uploads/7", Route::Upload { name: name(), id: "7".into() }),
            ("/v2/a/blobs/referrers/d", Route::Referrers { name: name(), digest: "d".into() }),
        ];
        for (path, route) in cases {
            assert_eq!(Route::of(path), Some(route), "{path}");
        }
        for path in ["", "/", "/v1/", "/v2/a", "/v2/a/b", "/v2/%zz/tags/list", "/v2/%ff/tags/list", "/v2/%2"]
        {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded_and_encoded() {
        let query = Query::of(&"/x?a=1&b=%3A%2b+&a=2&c".parse().unwrap());
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((query.get("b"), query.get("c"), query.get("d")), (Some(":++"), Some(""), None));
        assert_eq!(encode("sha256:a+b/c"), "sha256%3Aa%2Bb/c");
    }
}
