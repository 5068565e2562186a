//! Who we are to a registry: from its challenge to the header that answers it.
//!
//! A registry is asked without any header first, and its challenge is what decides. What it grants
//! is kept for the run, by repository and access, and is asked for anew before it runs out.
//! Credentials go to the registry itself and to the token server it names, if that is one that may
//! have them ([`may_have`]).

mod challenge;
pub(super) mod credentials;
pub(super) mod docker_config;
pub(super) mod grant;
pub(super) mod helper;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use crate::reference::Repository;
use crate::registry::auth::challenge::Challenge;
use crate::registry::auth::credentials::Secret;
use crate::registry::auth::grant::Grant;
use crate::registry::auth::token::Wish;
use crate::registry::http::transport::{Answer, Transport};
use crate::registry::http::url::{Origin, Url};
use crate::registry::{Credential, Credentials, CredentialsError, Refusal, RegistryError};

/// What is to be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing but to be let in.
    Enter,
    Pull,
    Push,
}

impl Access {
    fn actions(self) -> Option<&'static str> {
        match self {
            Self::Enter => None,
            Self::Pull => Some("pull"),
            Self::Push => Some("pull,push"),
        }
    }
}

/// A grant that is kept, until it ends or is refused.
#[derive(Default)]
pub(super) struct Held {
    grant: Grant,
    lease: Option<Lease>,
    /// Why there is none: for those who waited for it.
    refused: Option<Box<Refusal>>,
}

/// A token's end, and what the registry said of how to get it.
struct Lease {
    until: Instant,
    bearer: Bearer,
}

/// Where a token is to be had.
#[derive(Clone)]
struct Bearer {
    realm: Url,
    service: Option<String>,
    scope: Option<String>,
}

impl Bearer {
    fn into_challenge(self) -> Challenge {
        let Self { realm, service, scope } = self;
        Challenge::Bearer { realm: realm.uri().to_string(), service, scope }
    }
}

/// A grant and its turn: while a fresh one is being asked for, others wait for that one.
pub(super) type Slot = Arc<tokio::sync::Mutex<Held>>;

/// Who asks for what, and of whom.
pub(super) struct Asking<'a> {
    pub(super) repository: &'a Repository,
    pub(super) access: Access,
    pub(super) home: &'a Url,
    /// Repositories of the same registry that are read in passing.
    besides: &'a [Repository],
}

impl<'a> Asking<'a> {
    pub(super) fn new(repository: &'a Repository, access: Access, home: &'a Url) -> Self {
        Self { repository, access, home, besides: &[] }
    }

    /// Asks for leave to read other repositories of the same registry, too, as a mount does; one
    /// token is then good for all of it.
    #[must_use]
    pub(super) fn reading(mut self, besides: &'a [Repository]) -> Self {
        self.besides = besides;
        self
    }

    fn scopes(&self) -> Vec<String> {
        let own = self.access.actions();
        let own = own.map(|actions| format!("repository:{}:{actions}", self.repository.path()));
        let besides = self.besides.iter().map(|other| format!("repository:{}:pull", other.path()));
        own.into_iter().chain(besides).collect()
    }
}

/// What a grant is for: a registry, a repository, and scopes.
type Purpose = (Origin, String, Vec<String>);

/// Keeps what was granted.
pub(super) struct Auth {
    credentials: Arc<dyn Credentials>,
    token_hosts: Vec<String>,
    slots: Mutex<BTreeMap<Purpose, Slot>>,
}

impl Auth {
    pub(super) fn new(credentials: Arc<dyn Credentials>, token_hosts: Vec<String>) -> Self {
        Self { credentials, token_hosts, slots: Mutex::default() }
    }

    pub(super) fn slot(&self, asking: &Asking<'_>) -> Slot {
        let key = (asking.home.origin(), asking.repository.path().to_owned(), asking.scopes());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }

    /// Returns what was granted before; where that is about to end, what is granted instead.
    pub(super) async fn current(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        slot: &Slot,
    ) -> Result<Grant, RegistryError> {
        let mut held = match slot.try_lock() {
            Ok(held) => held,
            // Somebody asks right now; what comes of it counts for whoever waits.
            Err(_) => {
                let held = slot.lock().await;
                if let Some(refused) = &held.refused {
                    return Err(RegistryError::Unauthorized(refused.clone()));
                }
                held
            }
        };
        if let Some(lease) = held.lease.take_if(|lease| lease.until <= Instant::now()) {
            let credential = self.lookup(asking.repository).await?;
            let result = self.bearer(transport, asking, lease.bearer, credential).await;
            held.replace(result)?;
        }
        Ok(held.grant.clone())
    }

    /// Answers a challenge that was made in spite of the grant `tried`; a registry that takes a token
    /// back without saying what it wants instead wants another.
    pub(super) async fn renew(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        slot: &Slot,
        tried: &Grant,
        refusal: &mut Answer,
    ) -> Result<Grant, RegistryError> {
        let mut held = slot.lock().await;
        if held.grant.turn() == tried.turn() {
            let bearer = held.lease.take().map(|lease| lease.bearer);
            let result = self.obtain(transport, asking, refusal, bearer).await;
            held.replace(result)?;
        }
        match &held.refused {
            Some(refused) => Err(RegistryError::Unauthorized(refused.clone())),
            None => Ok(held.grant.clone()),
        }
    }

    async fn obtain(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        refusal: &mut Answer,
        before: Option<Bearer>,
    ) -> Result<(Grant, Option<Lease>), RegistryError> {
        let challenge = Challenge::best(refusal.headers(header::WWW_AUTHENTICATE));
        let Some(challenge) = challenge.or_else(|| before.map(Bearer::into_challenge)) else {
            return Err(refusal.odd("401, and no challenge that is understood"));
        };
        let credential = self.lookup(asking.repository).await?;
        match challenge {
            Challenge::Basic => match credential.as_ref().map(|credential| (basic(credential), credential)) {
                Some((Some(header), credential)) => Ok((Grant::with(header, credential), None)),
                Some((None, credential)) => Err(refused(asking, refusal, &no_password(credential)).await),
                None => Err(refused(asking, refusal, &Grant::default()).await),
            },
            Challenge::Bearer { realm, service, scope } => {
                let realm = Url::parse(&realm)
                    .map_err(|reason| refusal.odd(format!("{reason} as the token server's")))?;
                self.bearer(transport, asking, Bearer { realm, service, scope }, credential).await
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

    async fn bearer(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        bearer: Bearer,
        credential: Option<Credential>,
    ) -> Result<(Grant, Option<Lease>), RegistryError> {
        let Bearer { realm, service, scope } = &bearer;
        let (credential, told) = match credential {
            None => (None, Grant::default()),
            Some(credential) => {
                if let Secret::Bearer(token) = &credential.secret {
                    let header = token::header(token).ok_or_else(|| CredentialsError::NotAToken {
                        origin: credential.source().to_owned(),
                    })?;
                    return Ok((Grant::with(header, &credential), None));
                }
                match may_have(&asking.home.origin(), &realm.origin(), &self.token_hosts) {
                    true => (Some(credential.clone()), Grant::told_with(&credential)),
                    false => (None, withheld(&credential, &realm.origin())),
                }
            }
        };
        let wish = Wish { service: service.as_deref(), scopes: wanted(asking, scope.as_deref()) };
        let asked = Instant::now();
        let mut answer = token::ask(transport, realm, &wish, credential.as_ref()).await?;
        match answer.status {
            StatusCode::OK => {
                let token = token::read(&mut answer).await?;
                let header =
                    token::header(&token.text).ok_or_else(|| answer.odd("a token that fits in no header"))?;
                // Counted from before it was made: better early than late.
                let until = asked.checked_add(token.use_for());
                let lease = until.map(|until| Lease { until, bearer });
                Ok((told.showing(header), lease))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                Err(refused(asking, &mut answer, &told).await)
            }
            _ => Err(answer.into_error().await),
        }
    }
}

impl Held {
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Takes what came of asking. A refusal is for those who wait; who comes later asks again.
    fn replace(
        &mut self,
        result: Result<(Grant, Option<Lease>), RegistryError>,
    ) -> Result<(), RegistryError> {
        let turn = self.grant.turn() + 1;
        match result {
            Ok((grant, lease)) => {
                *self = Self { grant: grant.of_turn(turn), lease, refused: None };
                Ok(())
            }
            Err(error) => {
                let refused = match &error {
                    RegistryError::Unauthorized(refusal) => Some(refusal.clone()),
                    _ => None,
                };
                // What is no refusal may be another's luck.
                let turn = if refused.is_some() { turn } else { self.grant.turn() };
                *self = Self { grant: Grant::default().of_turn(turn), lease: None, refused };
                Err(error)
            }
        }
    }
}

/// What the work needs, and what the registry says besides.
fn wanted(asking: &Asking<'_>, scope: Option<&str>) -> Vec<String> {
    let mut scopes = asking.scopes();
    for other in scope.into_iter().flat_map(str::split_whitespace) {
        let subject = other.rsplit_once(':').map_or(other, |(subject, _)| subject);
        let is_asked = |scope: &String| scope.rsplit_once(':').is_some_and(|(own, _)| own == subject);
        if !scopes.iter().any(is_asked) {
            scopes.push(other.to_owned());
        }
    }
    scopes
}

/// Makes the error of a refusal.
pub(super) async fn refused(asking: &Asking<'_>, refusal: &mut Answer, grant: &Grant) -> RegistryError {
    let message = refusal.message().await;
    let (method, url) = refusal.blame.parts();
    let (registry, credential) = (asking.repository.registry().to_owned(), grant.credential.clone());
    let status = refusal.status.as_u16();
    RegistryError::Unauthorized(Box::new(Refusal { registry, method, url, status, message, credential }))
}

fn no_password(credential: &Credential) -> Grant {
    Grant::told(format!(
        "without credentials (it wants a password, and all that is known is the token of {})",
        credential.source(),
    ))
}

fn withheld(credential: &Credential, realm: &Origin) -> Grant {
    Grant::told(format!(
        "without credentials (those of {} are not sent to `{}`, which is not the registry's own)",
        credential.source(),
        realm.host,
    ))
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

/// The header of a password; none for what is a token.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Secret::Password { username, password } = &credential.secret else { return None };
    let text = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    let mut header = HeaderValue::from_str(&text).expect("base64 is fit for a header");
    header.set_sensitive(true);
    Some(header)
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
