//! Tokens: how they are asked for, and how long they are good.
//!
//! Follows the [token authentication](https://distribution.github.io/distribution/spec/auth/token/)
//! of Docker's registries, and its
//! [OAuth 2 form](https://distribution.github.io/distribution/spec/auth/oauth/). Decides on nobody's
//! credentials.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use crate::registry::auth::basic;
use crate::registry::auth::credentials::Secret;
use crate::registry::http::date::{http_date, rfc3339};
use crate::registry::http::redirect::{MAX_REDIRECTS, is_redirect, location, too_many};
use crate::registry::http::transport::{Answer, Payload, Request, Transport};
use crate::registry::http::url::{Url, percent_encode};
use crate::registry::{Credential, RegistryError};

/// How much is read of a token server's answer, in bytes.
const MAX_TOKEN: usize = 256 << 10;
/// What a token is good for where its server doesn't say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// How long before its end a token isn't used any more, at most: a request takes its time.
const MARGIN: Duration = Duration::from_secs(15);
/// Longer than any run.
const MAX_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How we call ourselves to token servers.
const CLIENT: &str = "ocibuild";

/// What a token is to be good for.
pub(super) struct Wish<'a> {
    pub(super) service: Option<&'a str>,
    pub(super) scopes: Vec<String>,
}

/// A token that was granted.
pub(super) struct Token {
    pub(super) text: String,
    life: Duration,
}

impl Token {
    /// How long to use it, from when it was asked for.
    pub(super) fn use_for(&self) -> Duration {
        self.life - MARGIN.min(self.life / 4)
    }
}

/// Asks for a token: by GET, or where that isn't known, with a password, by POST; with an identity
/// token by POST.
pub(super) async fn ask(
    transport: &Transport,
    realm: &Url,
    wish: &Wish<'_>,
    credential: Option<&Credential>,
) -> Result<Answer, RegistryError> {
    match credential.map(|credential| &credential.secret) {
        Some(Secret::IdentityToken(token)) => {
            post(transport, realm, wish, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
        }
        Some(Secret::Password { username, password }) => {
            let answer = get(transport, realm, wish, credential.and_then(basic)).await?;
            if !matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
                return Ok(answer);
            }
            let grant = [("grant_type", "password"), ("username", username), ("password", password)];
            post(transport, realm, wish, &grant).await
        }
        _ => get(transport, realm, wish, None).await,
    }
}

async fn get(
    transport: &Transport,
    realm: &Url,
    wish: &Wish<'_>,
    authorization: Option<HeaderValue>,
) -> Result<Answer, RegistryError> {
    let service = wish.service.map(|service| ("service", service));
    let scopes = wish.scopes.iter().map(|scope| ("scope", scope.as_str()));
    let url = service
        .into_iter()
        .chain(scopes)
        .fold(realm.clone(), |url, (name, value)| url.with_query(name, value));
    send(transport, &Method::GET, &url, &[], authorization, &Payload::none()).await
}

async fn post(
    transport: &Transport,
    realm: &Url,
    wish: &Wish<'_>,
    grant: &[(&str, &str)],
) -> Result<Answer, RegistryError> {
    let scopes = wish.scopes.join(" ");
    let mut form = vec![("client_id", CLIENT)];
    form.extend_from_slice(grant);
    form.extend(wish.service.map(|service| ("service", service)));
    form.extend((!scopes.is_empty()).then_some(("scope", scopes.as_str())));
    let pairs = form.iter().map(|(name, value)| format!("{name}={}", percent_encode(value)));
    let body = Bytes::from(pairs.collect::<Vec<_>>().join("&"));
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
    send(transport, &Method::POST, realm, &headers, None, &Payload::Bytes(body)).await
}

/// Goes where the token server sends us, as long as that is where what we show may go: a password
/// only to the same origin, and a request with a secret in its body nowhere else at all.
async fn send(
    transport: &Transport,
    method: &Method,
    realm: &Url,
    headers: &[(HeaderName, HeaderValue)],
    mut authorization: Option<HeaderValue>,
    payload: &Payload,
) -> Result<Answer, RegistryError> {
    let (mut url, mut redirects) = (realm.clone(), 0);
    loop {
        let shown = authorization.clone();
        let request = Request { method, url: &url, headers, authorization: shown, payload };
        let answer = transport.send(request).await?;
        if !is_redirect(method, answer.status) {
            return Ok(answer);
        }
        if redirects == MAX_REDIRECTS {
            return Err(too_many(&answer));
        }
        let next = location(&answer)?;
        let is_home = next.origin() == realm.origin();
        if !is_home && *method != Method::GET {
            return Err(answer.odd("a redirect elsewhere, where a secret would have to go along"));
        }
        // For good: it doesn't come back with a redirect back.
        authorization = authorization.filter(|_| is_home);
        (url, redirects) = (next, redirects + 1);
    }
}

#[derive(Deserialize)]
struct Reply {
    token: Option<String>,
    access_token: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    issued_at: serde_json::Value,
}

/// Reads a token server's answer.
pub(super) async fn read(answer: &mut Answer) -> Result<Token, RegistryError> {
    let bytes = answer.bytes(MAX_TOKEN).await?.ok_or_else(|| answer.odd("more than a token"))?;
    let reply: Reply =
        serde_json::from_slice(&bytes).map_err(|_| answer.odd("something that is no token"))?;
    let life = reply.life(answer.header(header::DATE));
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let text = given(reply.token).or(given(reply.access_token)).ok_or_else(|| answer.odd("no token"))?;
    Ok(Token { text, life })
}

impl Reply {
    /// How long it is good from now, `now` being the server's own clock: it may come out of a cache
    /// of the server's. Where that makes no sense it isn't heeded.
    fn life(&self, now: Option<&str>) -> Duration {
        let said = self.expires_in.as_f64().or_else(|| self.expires_in.as_str()?.trim().parse().ok());
        let said = said.filter(|seconds| *seconds > 0.0 && seconds.is_finite());
        let life =
            said.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs_f64(seconds.min(MAX_LIFE.as_secs_f64())));
        let issued = self.issued_at.as_str().and_then(rfc3339);
        let age = now.and_then(http_date).zip(issued).map(|(now, issued)| now.saturating_sub(issued));
        let age = Duration::from_secs(age.unwrap_or_default());
        life.checked_sub(age).filter(|left| !left.is_zero()).unwrap_or(life)
    }
}

/// The header of a token; none for what isn't fit for one.
pub(super) fn header(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_what_is_left_of_it() {
        let now = "Sat, 21 Nov 2026 16:00:30 GMT";
        for (reply, seconds) in [
            ("{}", 60),
            (r#"{"expires_in": 300}"#, 300),
            (r#"{"expires_in": "300"}"#, 300),
            (r#"{"expires_in": 0}"#, 60),
            (r#"{"expires_in": -1}"#, 60),
            (r#"{"expires_in": 1e300}"#, MAX_LIFE.as_secs()),
            (r#"{"expires_in": 300, "issued_at": "2026-11-21T16:00:00Z"}"#, 270),
            (r#"{"expires_in": 300, "issued_at": "2026-11-21T17:00:00.25+01:00"}"#, 270),
            (r#"{"expires_in": 300, "issued_at": "2026-11-21T16:01:00Z"}"#, 300),
            (r#"{"expires_in": 300, "issued_at": "2025-11-21T16:00:00Z"}"#, 300),
            (r#"{"expires_in": 300, "issued_at": "yesterday"}"#, 300),
            (r#"{"expires_in": [], "issued_at": 3}"#, 60),
        ] {
            let read: Reply = serde_json::from_str(reply).unwrap();
            assert_eq!(read.life(Some(now)).as_secs(), seconds, "{reply}");
        }
    }

    #[test]
    fn a_token_is_not_used_to_its_end() {
        let used = |seconds| Token { text: String::new(), life: Duration::from_secs(seconds) }.use_for();
        assert_eq!(used(300).as_secs(), 285);
        assert_eq!(used(60).as_secs(), 45);
        assert_eq!(used(4).as_secs(), 3);
    }
}
