//! What a registry wants to be shown: the `WWW-Authenticate` header
//! ([RFC 9110, 11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1)).

use crate::registry::http::field::{split, unquote};

/// A way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token from a server, as Docker's registries have it
    /// ([token authentication](https://distribution.github.io/distribution/spec/auth/token/)).
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// Returns the best of what the headers offer: a token before a password.
    pub(super) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<Self> = headers.flat_map(parse).collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or_else(|| all.first()).cloned()
    }
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scheme = String::new();
    let mut parameters: Vec<(String, String)> = Vec::new();
    for item in split(header) {
        let end = item.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(item.len());
        let (first, rest) = (&item[..end], item[end..].trim_start());
        // `Scheme name="value"` begins a challenge, `name="value"` goes on with it.
        let parameter = if rest.starts_with('=') {
            item
        } else {
            challenges.extend(make(&scheme, &parameters));
            parameters.clear();
            scheme = first.to_ascii_lowercase();
            rest
        };
        if let Some((name, value)) = parameter.split_once('=') {
            parameters.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    challenges.extend(make(&scheme, &parameters));
    challenges
}

fn make(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let find =
        |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service"),
            scope: find("scope").filter(|scope| !scope.is_empty()),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(headers: &[&str]) -> Option<Challenge> {
        Challenge::best(headers.iter().copied())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) })
    }

    #[test]
    fn challenges_are_read() {
        let docker = r#"Bearer realm="https://a.io/token",service="r.io",scope="repository:a:pull,push""#;
        assert_eq!(
            best(&[docker]),
            bearer("https://a.io/token", Some("r.io"), Some("repository:a:pull,push"))
        );
        assert_eq!(best(&[r#"Basic realm="x, y""#]), Some(Challenge::Basic));
        assert_eq!(best(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(
            best(&[r#"bearer realm=http://a , Service = "q\"q""#]),
            bearer("http://a", Some("q\"q"), None)
        );
    }

    #[test]
    fn a_token_goes_before_a_password() {
        let expected = bearer("u", None, None);
        assert_eq!(best(&[r#"Basic realm="x", Bearer realm="u""#]), expected);
        assert_eq!(best(&[r#"Negotiate, Basic realm="x""#, r#"Bearer realm="u""#]), expected);
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for header in ["", "Negotiate abc==", "Bearer", r#"Bearer service="x""#, ",,,", "\""] {
            assert_eq!(best(&[header]), None, "{header}");
        }
    }
}
