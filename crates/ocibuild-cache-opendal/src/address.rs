//! Addresses of object stores: `s3://bucket/prefix?region=eu-central-1`.

use std::fmt;
use std::str::FromStr;

use ocibuild_core::spec::has_credentials;

/// An address of an object store can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It has no scheme, or one of no store.
    #[error("`{scheme}://` is no object store: there are {}", SCHEMES.join(", "))]
    Scheme {
        /// What stands for the scheme.
        scheme: String,
    },
    /// It has credentials in it. It isn't shown.
    #[error("an address has no credentials: give them by {by}")]
    Credentials {
        /// How they are given.
        by: &'static str,
    },
    /// It lacks a part.
    #[error("`{text}` does not say {what}")]
    Lacks {
        /// The address, without options.
        text: String,
        /// What is missing.
        what: &'static str,
    },
    /// A part of it can't be understood.
    #[error("`{part}` is no {what}")]
    Part {
        /// The part.
        part: String,
        /// What it should be.
        what: &'static str,
    },
    /// It has an option that there isn't for the store.
    #[error("`{scheme}://` has no option `{name}`: there are {known}")]
    Option {
        /// The scheme.
        scheme: &'static str,
        /// The option's name.
        name: String,
        /// Those that there are.
        known: String,
    },
}

const SCHEMES: &[&str] = &["`s3`", "`gcs`", "`azblob`", "`redis`", "`rediss`", "`gha`"];

/// What records lie below where an address names no prefix.
const PREFIX: &str = "ocibuild";

/// Tells whether a text is meant as an address of a store, rather than as the reference of an image.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.contains("://")
}

/// An address of an object store, without credentials.
///
/// | address | options |
/// |---|---|
/// | `s3://BUCKET/PREFIX` | `region`, `endpoint`, `style` (`path` or `virtual`) |
/// | `gcs://BUCKET/PREFIX` | `endpoint` |
/// | `azblob://CONTAINER/PREFIX` | `account`, `endpoint` |
/// | `redis://HOST:PORT/PREFIX`, `rediss://…` with TLS | `db` |
/// | `gha://PREFIX` | |
///
/// Without a prefix it is `ocibuild`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAddress {
    text: String,
    pub(crate) kind: Kind,
    pub(crate) prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    S3 { bucket: String, region: Option<String>, endpoint: Option<String>, is_virtual: Option<bool> },
    Gcs { bucket: String, endpoint: Option<String> },
    Azblob { container: String, account: Option<String>, endpoint: Option<String> },
    Redis { is_secure: bool, host: String, port: u16, db: i64 },
    Gha,
}

/// A store's scheme, the options it has, and how its credentials are given.
struct Manner {
    scheme: &'static str,
    options: &'static [&'static str],
    credentials: &'static str,
}

const MANNERS: &[Manner] = &[
    Manner {
        scheme: "s3",
        options: &["region", "endpoint", "style"],
        credentials: "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`",
    },
    Manner { scheme: "gcs", options: &["endpoint"], credentials: "`GOOGLE_APPLICATION_CREDENTIALS`" },
    Manner {
        scheme: "azblob",
        options: &["account", "endpoint"],
        credentials: "`AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`",
    },
    Manner { scheme: "redis", options: &["db"], credentials: "`REDIS_USERNAME` and `REDIS_PASSWORD`" },
    Manner { scheme: "rediss", options: &["db"], credentials: "`REDIS_USERNAME` and `REDIS_PASSWORD`" },
    Manner { scheme: "gha", options: &[], credentials: "`ACTIONS_RUNTIME_TOKEN`" },
];

/// How credentials for an address are given.
pub(crate) fn credentials_of(address: &str) -> &'static str {
    let scheme = address.split("://").next();
    let is_it = |manner: &&Manner| scheme.is_some_and(|scheme| manner.scheme.eq_ignore_ascii_case(scheme));
    let manner = MANNERS.iter().find(is_it);
    manner.map_or("the environment", |manner| manner.credentials)
}

impl FromStr for ObjectAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // Before anything of it is told, even that there is no such scheme.
        if has_credentials(text) {
            return Err(AddressError::Credentials { by: credentials_of(text) });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let manner = MANNERS.iter().find(|manner| manner.scheme == scheme);
        let manner = manner.ok_or_else(|| AddressError::Scheme { scheme: scheme.to_owned() })?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = Options::read(query, manner)?;
        let (name, prefix) = match scheme {
            "gha" => ("", place),
            _ => place.split_once('/').unwrap_or((place, "")),
        };
        let prefix = read_prefix(prefix)?;
        if scheme.starts_with("redis")
            && !prefix.is_empty()
            && prefix.bytes().all(|byte| byte.is_ascii_digit())
        {
            let what = "prefix: a database is chosen by `?db=`";
            return Err(AddressError::Part { part: prefix, what });
        }
        let kind = options.kind(manner.scheme, name, place)?;
        let prefix = if prefix.is_empty() { PREFIX.to_owned() } else { prefix };
        Ok(Self { text: text.to_owned(), kind, prefix })
    }
}

/// As it was written.
impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn read_prefix(text: &str) -> Result<String, AddressError> {
    let text = text.trim_matches('/');
    let is_good = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && part.bytes().all(is_plain) && !part.bytes().all(|byte| byte == b'.')
    };
    if text.is_empty() || text.split('/').all(is_good) {
        Ok(text.to_owned())
    } else {
        let what = "prefix: it has letters, digits, `-`, `_` and `.`, in parts between slashes";
        Err(AddressError::Part { part: text.to_owned(), what })
    }
}

struct Options(Vec<(String, String)>);

impl Options {
    fn read(query: &str, manner: &Manner) -> Result<Self, AddressError> {
        let mut options = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if manner.options.contains(&name) {
                options.push((name.to_owned(), decode(value)?));
            } else {
                let known: Vec<String> = manner.options.iter().map(|known| format!("`{known}`")).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(AddressError::Option { scheme: manner.scheme, name: name.to_owned(), known });
            }
        }
        Ok(Self(options))
    }

    fn take(&self, name: &str) -> Option<String> {
        let option = self.0.iter().rev().find(|(own, _)| own == name);
        option.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    fn endpoint(&self) -> Result<Option<String>, AddressError> {
        let Some(endpoint) = self.take("endpoint") else { return Ok(None) };
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['?', '#']) => {
                Ok(Some(endpoint.trim_end_matches('/').to_owned()))
            }
            _ => {
                let what = "endpoint: it begins with `https://` or `http://`, and has no query";
                Err(AddressError::Part { part: endpoint, what })
            }
        }
    }

    fn kind(&self, scheme: &str, name: &str, place: &str) -> Result<Kind, AddressError> {
        let named = |what: &'static str| match name {
            "" => Err(AddressError::Lacks { text: format!("{scheme}://{place}"), what }),
            name => Ok(name.to_owned()),
        };
        Ok(match scheme {
            "s3" => Kind::S3 {
                bucket: named("which bucket")?,
                region: self.take("region"),
                endpoint: self.endpoint()?,
                is_virtual: self.style()?,
            },
            "gcs" => Kind::Gcs { bucket: named("which bucket")?, endpoint: self.endpoint()? },
            "azblob" => Kind::Azblob {
                container: named("which container")?,
                account: self.take("account"),
                endpoint: self.endpoint()?,
            },
            "gha" => Kind::Gha,
            _ => {
                let (host, port) = host_and_port(&named("which host")?)?;
                Kind::Redis { is_secure: scheme == "rediss", host, port, db: self.database()? }
            }
        })
    }

    fn style(&self) -> Result<Option<bool>, AddressError> {
        match self.take("style").as_deref() {
            None => Ok(None),
            Some("virtual") => Ok(Some(true)),
            Some("path") => Ok(Some(false)),
            Some(other) => {
                let what = "style: there are `path` and `virtual`";
                Err(AddressError::Part { part: other.to_owned(), what })
            }
        }
    }

    fn database(&self) -> Result<i64, AddressError> {
        let Some(db) = self.take("db") else { return Ok(0) };
        let what = "number of a database";
        db.parse::<u16>().map(i64::from).map_err(|_| AddressError::Part { part: db, what })
    }
}

/// Redis's own port.
const REDIS_PORT: u16 = 6379;

fn host_and_port(text: &str) -> Result<(String, u16), AddressError> {
    let bad = |part: &str| Err(AddressError::Part { part: part.to_owned(), what: "host with a port" });
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => match port.parse() {
            Ok(port) => (host, port),
            // It may be a password without its host.
            Err(_) => return bad(&format!("{host}:…")),
        },
        _ => (text, REDIS_PORT),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) { bad(host) } else { Ok((host.to_owned(), port)) }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, AddressError> {
    let bad = || AddressError::Part { part: text.to_owned(), what: "percent-encoded text" };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ObjectAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_read() {
        let s3 =
            read("s3://bucket/team/api?region=eu-central-1&endpoint=http%3A%2F%2F127.0.0.1:9000/&style=path");
        assert_eq!(s3.prefix, "team/api");
        let endpoint = Some("http://127.0.0.1:9000".to_owned());
        let region = Some("eu-central-1".to_owned());
        let bucket = "bucket".to_owned();
        assert_eq!(s3.kind, Kind::S3 { bucket: bucket.clone(), region, endpoint, is_virtual: Some(false) });
        for plain in ["s3://bucket", "s3://bucket/", "s3://bucket/?"] {
            let kind = Kind::S3 { bucket: bucket.clone(), region: None, endpoint: None, is_virtual: None };
            assert_eq!((read(plain).kind, read(plain).prefix), (kind, "ocibuild".to_owned()), "{plain}");
        }
        assert_eq!(read("gcs://bucket/a").kind, Kind::Gcs { bucket, endpoint: None });
        assert_eq!(read("gha://").kind, Kind::Gha);
        assert_eq!(read("gha://a/b").prefix, "a/b");
        let azblob = read("azblob://c?account=me").kind;
        assert_eq!(
            azblob,
            Kind::Azblob { container: "c".to_owned(), account: Some("me".to_owned()), endpoint: None }
        );
        let redis = |text: &str| match read(text).kind {
            Kind::Redis { is_secure, host, port, db } => (is_secure, host, port, db),
            other => panic!("{other:?}"),
        };
        assert_eq!(redis("redis://cache"), (false, "cache".to_owned(), 6379, 0));
        assert_eq!(redis("rediss://cache:1/a?db=2"), (true, "cache".to_owned(), 1, 2));
        assert_eq!(redis("redis://[::1]:7/a"), (false, "[::1]".to_owned(), 7, 0));
        assert_eq!(redis("redis://[::1]"), (false, "[::1]".to_owned(), 6379, 0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, reason) in [
            ("ftp://a", "`ftp://` is no object store"),
            ("bucket", "`://` is no object store"),
            ("s3://", "does not say which bucket"),
            ("s3:///prefix", "does not say which bucket"),
            ("redis:///prefix", "does not say which host"),
            ("redis://host:x", "is no host with a port"),
            ("redis://host:99999", "is no host with a port"),
            ("redis://host/1", "a database is chosen by `?db=`"),
            ("redis://host?db=x", "is no number of a database"),
            ("s3://bucket/a//b", "is no prefix"),
            ("s3://bucket/../b", "is no prefix"),
            ("s3://bucket/a b", "is no prefix"),
            ("s3://bucket?style=other", "is no style"),
            ("s3://bucket?endpoint=127.0.0.1", "is no endpoint"),
            ("s3://bucket?endpoint=%zz", "is no percent-encoded text"),
            ("s3://bucket?regio=a", "has no option `regio`: there are `region`, `endpoint`, `style`"),
            ("gha://a?b=c", "there are none"),
        ] {
            let error = text.parse::<ObjectAddress>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_shown() {
        for text in [
            "redis://me:hidden@host/a",
            "redis://:hidden@host",
            "redis://me:hid/den@host",
            "s3://bucket?secret_access_key=hidden",
            "s3://bucket?region=a&access_key_id=hidden",
            "s3://bucket?endpoint=https://me:hidden@host",
            "azblob://c?sas_token=hidden",
            "gcs://b?X-Goog-Signature=hidden",
            "s3://b?endpoint=https%3A%2F%2Fme%3Ahidden%40host",
            "redis://me%3Ahidden%40host",
            "redis://me:hidden%40host/a",
            "Redis://me:hidden@host",
            "me:hidden@host://a",
            "me:hidden@host",
        ] {
            let error = text.parse::<ObjectAddress>().unwrap_err();
            assert!(matches!(error, AddressError::Credentials { .. }), "{text}: {error}");
            assert!(!format!("{error}{error:?}").contains("hid"), "{error}");
        }
    }
}
