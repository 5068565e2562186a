//! Who we are to a registry: from its challenge to the header that answers it.
//!
//! A registry is asked without any header first, and its challenge is what decides. What it grants
//! is kept for the run, by repository and access. Credentials go to the registry itself and to the
//! token server it names, if that is one that may have them ([`may_have`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use crate::reference::Repository;
use crate::registry::challenge::Challenge;
use crate::registry::credentials::Secret;
use crate::registry::transport::{Answer, Payload, Request, Transport};
use crate::registry::url::{Origin, Url, percent_encode};
use crate::registry::{Credential, Credentials, CredentialsError, RegistryError};

/// How much is read of a token server's answer, in bytes.
const MAX_TOKEN: usize = 256 << 10;

/// What is to be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// What is presented with requests, and what of it can be told.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) header: Option<HeaderValue>,
    /// As `with …` or `without …`.
    pub(super) credential: String,
}

impl Default for Grant {
    fn default() -> Self {
        Self { header: None, credential: "without credentials".to_owned() }
    }
}

impl Grant {
    /// What another host is presented with.
    pub(super) fn elsewhere() -> Self {
        let credential = "without credentials, as it is not the registry's own address".to_owned();
        Self { header: None, credential }
    }
}

/// A grant and its turn: while a fresh one is being asked for, others wait for that one.
pub(super) type Slot = Arc<tokio::sync::Mutex<Grant>>;

/// Who asks for what, and of whom.
pub(super) struct Asking<'a> {
    pub(super) repository: &'a Repository,
    pub(super) access: Access,
    pub(super) home: &'a Url,
}

/// Keeps what was granted.
pub(super) struct Auth {
    credentials: Arc<dyn Credentials>,
    token_hosts: Vec<String>,
    slots: Mutex<BTreeMap<(Origin, String, Access), Slot>>,
}

impl Auth {
    pub(super) fn new(credentials: Arc<dyn Credentials>, token_hosts: Vec<String>) -> Self {
        Self { credentials, token_hosts, slots: Mutex::default() }
    }

    pub(super) fn slot(&self, asking: &Asking<'_>) -> Slot {
        let key = (asking.home.origin(), asking.repository.path().to_owned(), asking.access);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }

    /// Answers a challenge that was made in spite of the grant `tried`.
    pub(super) async fn renew(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        slot: &Slot,
        tried: &Grant,
        refusal: &mut Answer,
    ) -> Result<Grant, RegistryError> {
        let mut grant = slot.lock().await;
        if *grant == *tried {
            *grant = self.obtain(transport, asking, refusal).await?;
        }
        Ok(grant.clone())
    }

    async fn obtain(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        refusal: &mut Answer,
    ) -> Result<Grant, RegistryError> {
        let Some(challenge) = Challenge::best(refusal.headers(header::WWW_AUTHENTICATE)) else {
            return Err(refusal.odd("401, and no challenge that is understood"));
        };
        let credential = self.lookup(asking.repository).await?;
        match challenge {
            Challenge::Basic => match credential {
                Some(credential) => basic(&credential).ok_or_else(|| {
                    refusal.odd("a wish for a password, where an identity token is all that is known")
                }),
                None => Err(refused(refusal, &Grant::default()).await),
            },
            Challenge::Bearer { realm, service, scope } => {
                let realm = Url::parse(&realm)
                    .map_err(|reason| refusal.odd(format!("{reason} as the token server's")))?;
                let form = form(asking, service.as_deref(), scope.as_deref());
                self.token(transport, asking, &realm, form, credential).await
            }
        }
    }

    /// The look-up may block, and has threads of its own for that.
    async fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, RegistryError> {
        let credentials = Arc::clone(&self.credentials);
        let wanted = repository.clone();
        let looking = tokio::task::spawn_blocking(move || credentials.lookup(&wanted));
        let fault = |source: tokio::task::JoinError| CredentialsError::Lookup {
            repository: repository.to_string(),
            source: source.into(),
        };
        Ok(looking.await.map_err(fault)??)
    }

    async fn token(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        realm: &Url,
        form: Form,
        credential: Option<Credential>,
    ) -> Result<Grant, RegistryError> {
        let (credential, told) = match credential {
            None => (None, Grant::default().credential),
            Some(credential) if may_have(&asking.home.origin(), &realm.origin(), &self.token_hosts) => {
                let told = format!("with the credentials of {}", credential.source());
                (Some(credential), told)
            }
            Some(credential) => (None, withheld(&credential, &realm.origin())),
        };
        let mut answer = ask(transport, realm, form, credential.as_ref()).await?;
        match answer.status {
            StatusCode::OK => {
                let token = read_token(&mut answer).await?;
                Ok(Grant { header: Some(secret_header("Bearer", &token, &answer)?), credential: told })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                Err(refused(&mut answer, &Grant { header: None, credential: told }).await)
            }
            _ => Err(answer.into_error().await),
        }
    }
}

/// Makes the error of a refusal.
pub(super) async fn refused(refusal: &mut Answer, grant: &Grant) -> RegistryError {
    let message = refusal.message().await;
    let (method, url) = refusal.blame.parts();
    let credential = grant.credential.clone();
    RegistryError::Unauthorized { method, url, status: refusal.status.as_u16(), message, credential }
}

fn withheld(credential: &Credential, realm: &Origin) -> String {
    format!(
        "without credentials (those of {} are not sent to `{}`, which is not the registry's own)",
        credential.source(),
        realm.host,
    )
}

/// Tells whether a token server may have the registry's credentials.
///
/// The registry itself may; another host only by https, and only if it lies in the registry's own
/// domain, as `auth.docker.io` does for `registry-1.docker.io`, or is named by the caller.
fn may_have(registry: &Origin, realm: &Origin, named: &[String]) -> bool {
    if registry == realm {
        return true;
    }
    let below = |domain: &str| realm.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let own = |domain: &str| realm.host == domain || below(domain);
    let is_named = named.iter().any(|host| host.eq_ignore_ascii_case(&realm.host));
    let parent = registry.host.split_once('.').map(|(_, parent)| parent).filter(|parent| is_owned(parent));
    let is_name = registry.host.parse::<std::net::IpAddr>().is_err();
    realm.secure && (is_named || is_name && (own(&registry.host) || parent.is_some_and(own)))
}

/// Tells a domain that somebody owns from one that everybody registers below: `co.uk`, `com`.
fn is_owned(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    labels.len() > 2 || labels.len() == 2 && labels[0].len() > 3
}

struct Form(Vec<(&'static str, String)>);

impl Form {
    fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={}", percent_encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Asks for what the work needs, and for what the registry says besides.
fn form(asking: &Asking<'_>, service: Option<&str>, scope: Option<&str>) -> Form {
    let subject = format!("repository:{}:", asking.repository.path());
    let mut form = Vec::from_iter(service.map(|service| ("service", service.to_owned())));
    form.push(("scope", format!("{subject}{}", asking.access.actions())));
    let other = scope.filter(|scope| !scope.starts_with(&subject));
    form.extend(other.map(|scope| ("scope", scope.to_owned())));
    Form(form)
}

async fn ask(
    transport: &Transport,
    realm: &Url,
    mut form: Form,
    credential: Option<&Credential>,
) -> Result<Answer, RegistryError> {
    let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    if let Some(Secret::IdentityToken(token)) = credential.map(|credential| &credential.secret) {
        form.0.push(("grant_type", "refresh_token".to_owned()));
        form.0.push(("client_id", "ocibuild".to_owned()));
        form.0.push(("refresh_token", token.clone()));
        let headers = [(header::CONTENT_TYPE, content_type)];
        let payload = Payload::Bytes(Bytes::from(form.encode()));
        return send(transport, &Method::POST, realm, &headers, None, &payload).await;
    }
    let url = form.0.iter().fold(realm.clone(), |url, (name, value)| url.with_query(name, value));
    let authorization = credential.and_then(basic).and_then(|grant| grant.header);
    send(transport, &Method::GET, &url, &[], authorization, &Payload::none()).await
}

async fn send(
    transport: &Transport,
    method: &Method,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    authorization: Option<HeaderValue>,
    payload: &Payload,
) -> Result<Answer, RegistryError> {
    transport.send(Request { method, url, headers, authorization, payload }).await
}

fn basic(credential: &Credential) -> Option<Grant> {
    let Secret::Password { username, password } = &credential.secret else { return None };
    let text = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    let mut header = HeaderValue::from_str(&text).expect("base64 is fit for a header");
    header.set_sensitive(true);
    let credential = format!("with the credentials of {}", credential.source());
    Some(Grant { header: Some(header), credential })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

async fn read_token(answer: &mut Answer) -> Result<String, RegistryError> {
    let bytes = answer.bytes(MAX_TOKEN).await?.ok_or_else(|| answer.odd("more than a token"))?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|_| answer.odd("something that is no token"))?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty());
    token.ok_or_else(|| answer.odd("no token"))
}

fn secret_header(scheme: &str, secret: &str, answer: &Answer) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {secret}"))
        .map_err(|_| answer.odd("a token that fits in no header"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(registry: &str, realm: &str) -> bool {
        let origin = |text: &str| Url::parse(text).unwrap().origin();
        may_have(&origin(registry), &origin(realm), &["named.org".to_owned()])
    }

    #[test]
    fn credentials_stay_with_the_registrys_own() {
        for (registry, realm) in [
            ("https://r.io/", "https://r.io/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/token"),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth"),
            ("https://registry.example.co.uk/", "https://auth.example.co.uk/"),
            ("https://example.com:5000/", "https://auth.example.com/"),
            ("https://r.io/", "https://named.org/token"),
        ] {
            assert!(may(registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn credentials_go_nowhere_else() {
        for (registry, realm) in [
            ("https://r.io/", "http://r.io/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"),
            ("https://10.0.0.1/", "https://12.0.0.1/token"),
            ("https://[::ffff:10.0.0.1]/", "https://[::ffff:12.0.0.1]/token"),
            ("https://registry-1.docker.io/", "https://auth.docker.io.evil.com/"),
            ("https://registry-1.docker.io/", "https://evildocker.io/"),
            ("https://example.com/", "https://evil.com/"),
            ("https://example.co.uk/", "https://evil.co.uk/"),
            ("https://r.io/", "http://named.org/token"),
        ] {
            assert!(!may(registry, realm), "{registry} {realm}");
        }
    }
}
