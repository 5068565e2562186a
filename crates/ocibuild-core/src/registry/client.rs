//! Requests as a registry wants them: with its credentials, over its redirects, and once more
//! where the fault was not the request's.
//!
//! Credentials are sent to the registry's own origin (scheme, host, port) and to no other; a
//! request that was once sent elsewhere doesn't get them back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::OnceCell;

use crate::reference::{DEFAULT_REGISTRY, Repository};
use crate::registry::auth::grant::Grant;
use crate::registry::auth::{Access, Asking, Auth, refused};
use crate::registry::error::may_pass;
use crate::registry::http::redirect::{MAX_REDIRECTS, is_redirect, too_many};
use crate::registry::http::retry::{Patience, luck};
use crate::registry::http::tally::Counts;
use crate::registry::http::transport::{Answer, Payload, Request, Transport};
use crate::registry::http::url::{Url, is_loopback};
use crate::registry::http::watch::Watch;
use crate::registry::knowledge::Knowledge;
use crate::registry::{Mirror, RegistryError, RegistryOptions, ServerMessage, TlsError};

pub(super) use crate::registry::http::redirect::location;

/// Docker Hub's own host has another name than the one in references.
const DEFAULT_HOST: &str = "registry-1.docker.io";
/// How often a place is tried that another stands in for.
const MIRROR_ATTEMPTS: u32 = 4;
/// How many grants one request may use up: others may be quicker to use them.
const MAX_GRANTS: u32 = 20;

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
    mirrors: Vec<Mirror>,
    attempts: u32,
    first_pause: Duration,
    knowledge: Knowledge,
}

impl Client {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self {
            transport: Transport::new(&options),
            auth: Auth::new(Arc::clone(&options.credentials), options.token_hosts),
            insecure: options.insecure,
            secure: options.secure,
            is_secure: Mutex::default(),
            mirrors: options.mirrors,
            attempts: options.attempts.max(1),
            first_pause: options.first_pause,
            knowledge: Knowledge::new(options.memory),
        }
    }

    /// What requests go through that are for no registry.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
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

    /// What was done so far.
    pub(super) fn counts(&self) -> Counts {
        self.transport.tally().counts()
    }

    /// Begins to count the failures of something that is tried until it works.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.attempts, self.first_pause)
    }

    /// What a mirror doesn't give, another place will: so it isn't asked as often.
    fn patience_with(&self, asking: &Asking<'_>) -> Patience {
        let is_mirror = asking.access == Access::Pull
            && self.mirrors.iter().any(|mirror| mirror.holds(asking.repository));
        let attempts = if is_mirror { self.attempts.min(MIRROR_ATTEMPTS) } else { self.attempts };
        Patience::new(attempts, self.first_pause)
    }

    /// Lets pass what time there has to be before another try, or gives the error back: where no other
    /// try makes sense, and where there were enough.
    pub(super) async fn again(
        &self,
        patience: &mut Patience,
        error: RegistryError,
    ) -> Result<(), RegistryError> {
        if error.is_transient() { self.bear(patience, error).await } else { Err(error) }
    }

    /// Does the same with an error that the caller knows what to do about.
    pub(super) async fn bear(
        &self,
        patience: &mut Patience,
        error: RegistryError,
    ) -> Result<(), RegistryError> {
        let signs = self.transport.signs_of(&error);
        let Some(pause) = patience.failed(&error, signs, luck()) else {
            return Err(patience.give_up(error));
        };
        let (request, reason) = (error.request().unwrap_or_default(), error.reason());
        self.transport.tally().asks_again(request, patience.subject(), reason, pause);
        self.wait(pause).await
    }

    async fn wait(&self, pause: Duration) -> Result<(), RegistryError> {
        self.transport.watch().pause(pause).await?;
        self.transport.tally().waited(pause);
        Ok(())
    }

    /// Sends a request, and sends it again where the fault seems to pass.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut patience = self.patience_with(call.asking);
        loop {
            let error = match self.send_once(call).await {
                Ok(answer) if may_pass(answer.status.as_u16()) => answer.into_error().await,
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.again(&mut patience, error).await?;
        }
    }

    /// Sends a request that is no more than a courtesy: also when the run is cancelled, without
    /// another try, and for so long at most.
    pub(super) async fn farewell(&self, call: &Call<'_>, within: Duration) {
        let sending = async {
            let grant = self.auth.slot(call.asking).lock().await.grant().clone();
            let is_home = call.url.origin() == call.asking.home.origin();
            let Call { method, url, headers, payload, .. } = call;
            let authorization = grant.header.filter(|_| is_home);
            self.transport.send_anyway(&Request { method, url, headers, authorization, payload }).await
        };
        // Whoever isn't told finds out by itself.
        drop(tokio::time::timeout(within, sending).await);
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

    /// A grant that a registry doesn't take any more is replaced, as long as it took it before.
    async fn send_with_grant(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let slot = self.auth.slot(call.asking);
        let mut grant = self.auth.current(&self.transport, call.asking, &slot).await?;
        let mut grants = 1;
        loop {
            let (mut answer, home) = self.present(call, &grant).await?;
            match answer.status {
                StatusCode::UNAUTHORIZED if home && grants < MAX_GRANTS && grant.was_good().await => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let sent = if home { grant } else { Grant::elsewhere() };
                    return Err(refused(call.asking, &mut answer, &sent).await);
                }
                _ => return Ok(answer),
            }
            // The first challenge is how it begins, and nothing that failed.
            if grant.header.is_some() {
                let reason = "401 Unauthorized".to_owned();
                self.transport.tally().asks_again(answer.blame.parts(), None, reason, Duration::ZERO);
            }
            grant = self.auth.renew(&self.transport, call.asking, &slot, &grant, &mut answer).await?;
            grants += 1;
        }
    }

    /// Sends a request with a grant, and notes whether that let it in.
    async fn present(&self, call: &Call<'_>, grant: &Grant) -> Result<(Answer, bool), RegistryError> {
        let presented = grant.present();
        let (answer, home) = self.follow(call, grant).await?;
        let is_refused = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // Who is sent elsewhere was let in.
        if !home || !is_refused && !may_pass(answer.status.as_u16()) {
            presented.was_let_in();
        }
        Ok((answer, home))
    }

    /// Goes where redirects lead, and tells whether that was still the registry.
    async fn follow(&self, call: &Call<'_>, grant: &Grant) -> Result<(Answer, bool), RegistryError> {
        let origin = call.asking.home.origin();
        let mut url = call.url.clone();
        let mut home = true;
        let mut redirects = 0;
        loop {
            home &= url.origin() == origin;
            let authorization = grant.header.clone().filter(|_| home);
            let answer = self.request(call, &url, authorization).await?;
            if !is_redirect(&call.method, answer.status) {
                return Ok((answer, home));
            }
            if redirects == MAX_REDIRECTS {
                return Err(too_many(&answer));
            }
            (url, redirects) = (location(&answer)?, redirects + 1);
        }
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

    /// Lets some time pass: the first pause, and each further one twice as long.
    pub(super) async fn pause(&self, turn: u32) -> Result<(), RegistryError> {
        let factor = 1_u32.checked_shl(turn.saturating_sub(1)).unwrap_or(u32::MAX);
        self.wait(self.first_pause.saturating_mul(factor)).await
    }
}
