//! Requests as a registry wants them: with its credentials, over its redirects, and once more
//! where the fault was not the request's.
//!
//! Credentials are sent to the registry's own origin (scheme, host, port) and to no other; a
//! request that was once sent elsewhere doesn't get them back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::OnceCell;

use crate::reference::{DEFAULT_REGISTRY, Repository};
use crate::registry::auth::{Asking, Auth, Grant, refused};
use crate::registry::error::is_transient;
use crate::registry::knowledge::Knowledge;
use crate::registry::learned::Learned;
use crate::registry::transport::{Answer, Payload, Request, Transport};
use crate::registry::url::{Url, is_loopback};
use crate::registry::watch::Watch;
use crate::registry::{RegistryError, RegistryOptions, ServerMessage, TlsError};

/// Docker Hub's own host has another name than the one in references.
const DEFAULT_HOST: &str = "registry-1.docker.io";
const MAX_REDIRECTS: u32 = 5;
/// The pause before a second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a registry is granted.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A request to a repository.
pub(super) struct Call<'a> {
    pub(super) asking: &'a Asking<'a>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) payload: Payload,
}

impl<'a> Call<'a> {
    /// Makes a request without a body.
    pub(super) fn new(asking: &'a Asking<'a>, method: Method, url: Url) -> Self {
        Self { asking, method, url, headers: Vec::new(), payload: Payload::none() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// What all repositories of all registries share.
pub(super) struct Client {
    transport: Transport,
    auth: Auth,
    insecure: Vec<String>,
    secure: Vec<String>,
    /// By registry, whether it is reached by https.
    is_secure: Mutex<BTreeMap<String, Arc<OnceCell<bool>>>>,
    attempts: u32,
    pauses: AtomicU32,
    knowledge: Knowledge,
    /// Which bodies registries take.
    pub(super) learned: Learned,
}

impl Client {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self {
            transport: Transport::new(&options),
            auth: Auth::new(Arc::clone(&options.credentials), options.token_hosts),
            insecure: options.insecure,
            secure: options.secure,
            is_secure: Mutex::default(),
            attempts: options.attempts.max(1),
            pauses: AtomicU32::new(0),
            knowledge: Knowledge::new(options.memory),
            learned: Learned::default(),
        }
    }

    /// Returns the address that a repository's registry is reached at.
    ///
    /// A registry called insecure is asked once whether it speaks TLS; nothing secret is sent with
    /// that.
    pub(super) async fn home(&self, repository: &Repository) -> Result<Url, RegistryError> {
        let registry = repository.registry();
        let host = if registry == DEFAULT_REGISTRY { DEFAULT_HOST } else { registry };
        let address = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|reason| RegistryError::Host { registry: registry.to_owned(), reason })
        };
        let cell = {
            let mut secure = self.is_secure.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(secure.entry(registry.to_ascii_lowercase()).or_default())
        };
        let is_secure = cell.get_or_try_init(async || {
            let named = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(registry));
            if named(&self.secure) {
                return Ok(true);
            }
            if named(&self.insecure) {
                return self.answers_by_tls(&address("https")?).await;
            }
            // Whoever puts certificates of a registry into place means that it has TLS.
            Ok(!is_loopback(registry) || !self.transport.certificates_of(registry)?.is_empty())
        });
        let is_secure: Result<_, RegistryError> = is_secure.await;
        address(if *is_secure? { "https" } else { "http" })
    }

    async fn answers_by_tls(&self, home: &Url) -> Result<bool, RegistryError> {
        let (method, payload) = (Method::GET, Payload::none());
        let request =
            Request { method: &method, url: home, headers: &[], authorization: None, payload: &payload };
        match self.transport.send(request).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Connect { .. } | RegistryError::Broken { .. }) => Ok(false),
            // Where nothing can be reached by https, nothing has to be.
            Err(RegistryError::Tls(TlsError::NoProvider)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is known of registries.
    pub(super) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    pub(super) fn watch(&self) -> &Watch {
        self.transport.watch()
    }

    /// How often a thing is tried that may be repeated.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Sends a request, and sends it again where the fault seems to pass.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut attempt = 1;
        loop {
            let result = self.send_once(call).await;
            let passing = match &result {
                Ok(answer) => is_transient(answer.status.as_u16()),
                Err(error) => error.is_transient(),
            };
            if !passing || attempt >= self.attempts {
                return result;
            }
            self.pause(attempt, result.ok().as_ref().and_then(retry_after)).await?;
            attempt += 1;
        }
    }

    /// Sends a request; a fresh token, where one is wanted, doesn't count as another try.
    pub(super) async fn send_once(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut result = self.send_with_grant(call).await;
        if let Err(RegistryError::Unauthorized(refusal)) = &mut result
            && refusal.method == Method::HEAD.as_str()
        {
            refusal.message = self.words(call).await;
        }
        result
    }

    /// Asks what a registry says to a refusal: with HEAD it says nothing.
    async fn words(&self, call: &Call<'_>) -> ServerMessage {
        let grant = self.auth.slot(call.asking).lock().await.grant().clone();
        let mut again = Call::new(call.asking, Method::GET, call.url.clone());
        again.headers.clone_from(&call.headers);
        match self.follow(&again, &grant).await {
            Ok((mut answer, true)) if answer.status.is_client_error() => answer.message().await,
            _ => ServerMessage::default(),
        }
    }

    async fn send_with_grant(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let slot = self.auth.slot(call.asking);
        let mut grant = self.auth.current(&self.transport, call.asking, &slot).await?;
        let (mut answer, mut home) = self.follow(call, &grant).await?;
        if answer.status == StatusCode::UNAUTHORIZED && home {
            grant = self.auth.renew(&self.transport, call.asking, &slot, &grant, &mut answer).await?;
            (answer, home) = self.follow(call, &grant).await?;
        }
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let sent = if home { grant } else { Grant::elsewhere() };
                Err(refused(call.asking, &mut answer, &sent).await)
            }
            _ => Ok(answer),
        }
    }

    /// Goes where redirects lead, and tells whether that was still the registry.
    async fn follow(&self, call: &Call<'_>, grant: &Grant) -> Result<(Answer, bool), RegistryError> {
        let origin = call.asking.home.origin();
        let mut url = call.url.clone();
        let mut home = true;
        for _ in 0..=MAX_REDIRECTS {
            home &= url.origin() == origin;
            let authorization = grant.header.clone().filter(|_| home);
            let answer = self.request(call, &url, authorization).await?;
            if !is_redirect(&call.method, answer.status) {
                return Ok((answer, home));
            }
            url = location(&answer)?;
        }
        let (method, url) = (call.method.to_string(), call.url.to_string());
        Err(RegistryError::Answer { method, url, reason: format!("more than {MAX_REDIRECTS} redirects") })
    }

    async fn request(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let Call { method, headers, payload, .. } = call;
        let result = self.transport.send(Request { method, url, headers, authorization, payload }).await;
        match (result, payload) {
            (Err(error), Payload::Feed(feed)) => Err(feed.fault().unwrap_or(error)),
            (result, _) => result,
        }
    }

    /// Lets some time pass before another try.
    pub(super) async fn pause(&self, attempt: u32, wanted: Option<Duration>) -> Result<(), RegistryError> {
        let pause = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(10));
        // Requests that failed together shouldn't come again together.
        let turn = self.pauses.fetch_add(1, Ordering::Relaxed) % 8;
        let spread = pause * turn / 16;
        let pause = wanted.unwrap_or_default().max(pause + spread).min(MAX_PAUSE);
        Ok(self.transport.watch().pause(pause).await?)
    }
}

/// Returns the address that an answer points to. An https registry that points to http is refused:
/// what was to be encrypted would not be.
pub(super) fn location(answer: &Answer) -> Result<Url, RegistryError> {
    let text = answer.header(header::LOCATION).ok_or_else(|| answer.odd("no `Location`"))?;
    let url = answer.url().join(text).map_err(|reason| answer.odd(format!("{reason} as its `Location`")))?;
    if answer.url().is_secure() && !url.is_secure() {
        return Err(answer.odd(format!("a `Location` that is not https: `{url}`")));
    }
    Ok(url)
}

/// A request that changes something is repeated elsewhere only if the answer says so exactly.
fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.header(header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}
