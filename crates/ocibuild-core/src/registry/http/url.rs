//! Addresses: absolute http and https URLs, and their origins.
//!
//! Addresses are read by the same parser that connections are made from, so there are no two
//! opinions about which host an address names.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

/// An absolute http or https address, without user information.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url(Uri);

/// Scheme, host and port: what secrets may not leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Url {
    /// Reads an absolute address; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "an address that cannot be read")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("an address that is neither http nor https");
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err("an address with a user name in it"),
            Some(authority) if authority.host().is_empty() => Err("an address without a host"),
            Some(_) => Ok(Self(uri)),
            None => Err("an address without a host"),
        }
    }

    /// Returns the address that a `Location` found here means.
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        if location.is_empty() {
            return Err("an empty address");
        }
        let scheme = if self.is_secure() { "https" } else { "http" };
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let path = self.0.path();
        let directory = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        if before_path.contains(':') {
            Self::parse(location)
        } else if location.starts_with("//") {
            Self::parse(&format!("{scheme}:{location}"))
        } else if location.starts_with('/') {
            Self::parse(&format!("{scheme}://{authority}{location}"))
        } else if location.starts_with('?') {
            Self::parse(&format!("{scheme}://{authority}{path}{location}"))
        } else {
            Self::parse(&format!("{scheme}://{authority}{directory}{location}"))
        }
    }

    /// Adds a parameter to the query, keeping what is there.
    pub(crate) fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.0.query().is_some_and(|query| !query.is_empty()) { '&' } else { '?' };
        let text = self.0.to_string();
        let text = text.strip_suffix('?').unwrap_or(&text);
        let value = percent_encode(value);
        Self(
            format!("{text}{separator}{name}={value}")
                .parse()
                .expect("an encoded parameter keeps an address valid"),
        )
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(crate) fn origin(&self) -> Origin {
        let secure = self.is_secure();
        Origin {
            secure,
            host: self.0.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase(),
            port: self.0.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        }
    }
}

/// Without the query, which may hold secrets.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Leaves only unreserved characters as they are
/// ([RFC 3986, 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Tells a registry on this machine from one elsewhere, by its name alone.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(url: &Url) -> String {
        url.uri().to_string()
    }

    #[test]
    fn locations_are_joined() {
        let base = Url::parse("http://r.io:5000/v2/a/blobs/uploads/").unwrap();
        let cases = [
            ("/v2/a/blobs/uploads/1?x=1", "http://r.io:5000/v2/a/blobs/uploads/1?x=1"),
            ("2", "http://r.io:5000/v2/a/blobs/uploads/2"),
            ("?y=1", "http://r.io:5000/v2/a/blobs/uploads/?y=1"),
            ("//s.io/x", "http://s.io/x"),
            ("https://s.io:444/x?z", "https://s.io:444/x?z"),
            ("/x?to=http://y", "http://r.io:5000/x?to=http://y"),
        ];
        for (location, expected) in cases {
            assert_eq!(full(&base.join(location).unwrap()), expected);
        }
        for location in ["", "ftp://r.io/x", "http://user@r.io/", "http:///x", "mailto:x", "http://r.io/a b"]
        {
            assert!(base.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_parameter_is_added_to_whatever_query_there_is() {
        let add = |text: &str| full(&Url::parse(text).unwrap().with_query("digest", "sha256:a"));
        assert_eq!(add("http://r.io/u"), "http://r.io/u?digest=sha256%3Aa");
        assert_eq!(add("http://r.io/u?"), "http://r.io/u?digest=sha256%3Aa");
        assert_eq!(add("http://r.io/u?_state=b%3D"), "http://r.io/u?_state=b%3D&digest=sha256%3Aa");
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Url::parse(text).unwrap().origin();
        assert_eq!(origin("https://R.io/a"), origin("https://r.io:443/b?c"));
        assert_ne!(origin("https://r.io/"), origin("http://r.io/"));
        assert_ne!(origin("https://r.io/"), origin("https://r.io:444/"));
        assert_ne!(origin("https://r.io/"), origin("https://s.io/"));
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        assert_eq!(Url::parse("https://r.io/a?token=secret").unwrap().to_string(), "https://r.io/a");
    }

    #[test]
    fn loopback_is_known_by_name() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1", "127.8.9.1:80", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["r.io", "10.0.0.1:5000", "localhost.r.io", "[::2]", "127.0.0.1.r.io"] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
