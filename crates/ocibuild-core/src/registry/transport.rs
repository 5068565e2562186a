//! One HTTP request, one answer: connections, time-outs, bounds. Follows no redirect, knows no
//! credentials, tries nothing twice.
//!
//! This is the only module that knows the HTTP library. It is `hyper` itself, and not one of the
//! ready-made clients, for these reasons. `oci-client` swallows failed token requests and goes on
//! without credentials, loses the session of a mount answered 202, can't send an empty blob or
//! follow a redirect of an upload, takes an unusable CA bundle for none, and by default sends
//! chunks that several registries mishandle; what would be left of it is a thin wrap around
//! `reqwest`. `reqwest` needs a TLS provider in the process even for plain http, and panics
//! without one; its redirects, proxies from the environment and time-outs would have to be
//! switched off and written anew, and it brings twice as many crates.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OnceCell, Semaphore};

use crate::registry::feed::{FeedBody, Part};
use crate::registry::proxy::{Connector, Proxies};
use crate::registry::url::Url;
use crate::registry::watch::{Pulse, Stop, Watch};
use crate::registry::{
    Certificates, HostCertificates, RegistryError, RegistryOptions, ServerMessage, TlsError, tls,
};

const USER_AGENT: &str = concat!("ocibuild/", env!("CARGO_PKG_VERSION"));
/// Shorter than what servers and proxies are wont to keep an idle connection for.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// How much is read of an error's words, in bytes: enough for one that names all of an image's layers.
const MAX_MESSAGE: usize = 64 << 10;

/// What a request carries; each sending makes its body anew.
#[derive(Clone)]
pub(super) enum Payload {
    Bytes(Bytes),
    Feed(Part),
}

impl Payload {
    pub(super) fn none() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A request, to be sent as it is.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) authorization: Option<HeaderValue>,
    pub(super) payload: &'a Payload,
}

type SecureClient = Client<HttpsConnector<Connector>, Body>;

/// Holds connections to any number of hosts.
pub(super) struct Transport {
    plain: Client<Connector, Body>,
    /// By host, as each has certificates of its own; made for the first request to it, as that reads
    /// files and needs what the program brings.
    secure: Mutex<BTreeMap<String, Arc<OnceCell<SecureClient>>>>,
    connector: Connector,
    proxies: Arc<Proxies>,
    ca: Vec<Vec<u8>>,
    certificates: Arc<dyn Certificates>,
    /// Hosts whose certificates aren't verified.
    insecure: Vec<String>,
    requests: Semaphore,
    watch: Watch,
}

impl Transport {
    pub(super) fn new(options: &RegistryOptions) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(options.connect_timeout));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let proxies = Arc::new(options.proxies.clone());
        let connector = Connector { direct: connector, proxies: Arc::clone(&proxies) };
        Self {
            plain: client().build(connector.clone()),
            secure: Mutex::default(),
            connector,
            proxies,
            ca: options.ca.clone(),
            certificates: Arc::clone(&options.certificates),
            insecure: options.insecure.clone(),
            requests: Semaphore::new(options.requests.max(1)),
            watch: Watch { cancel: options.cancel.clone(), idle: options.idle_timeout },
        }
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, RegistryError> {
        let blame = Blame { method: request.method.clone(), url: request.url.clone() };
        let stopped = |stop| blame.stopped(stop, &self.watch);
        let pulse = Pulse::default();
        let mut message = message(&request, pulse.clone());
        if let Some(header) = self.proxies.authorization(request.url.uri()) {
            message.headers_mut().insert(header::PROXY_AUTHORIZATION, header);
        }
        let _turn = match request.payload {
            Payload::Bytes(_) => {
                Some(self.watch.patient().over(&pulse, self.requests.acquire()).await.map_err(stopped)?)
            }
            // What feeds an upload may itself need a turn, to be read from a registry.
            Payload::Feed(_) => None,
        };
        let response = self.watch.over(&pulse, self.exchange(request.url, message)).await.map_err(stopped)?;
        let (head, body) = response?.map_err(|error| blame.failed(error))?.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, blame, body, watch: self.watch.clone() })
    }

    async fn exchange(
        &self,
        url: &Url,
        message: hyper::Request<Body>,
    ) -> Result<Result<hyper::Response<Incoming>, hyper_util::client::legacy::Error>, TlsError> {
        if !url.is_secure() {
            return Ok(self.plain.request(message).await);
        }
        let host = request_host(url);
        let cell = {
            let mut clients = self.secure.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(clients.entry(host.clone()).or_default())
        };
        let secure = cell.get_or_try_init(|| async { self.make_secure(&host) }).await?;
        Ok(secure.request(message).await)
    }

    fn make_secure(&self, host: &str) -> Result<SecureClient, TlsError> {
        let verify = !self.insecure.iter().any(|name| name.eq_ignore_ascii_case(host));
        let config = tls::configure(&self.ca, host, &self.certificates_of(host)?, verify)?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = builder.https_only().enable_http1().wrap_connector(self.connector.clone());
        Ok(client().build(connector))
    }

    /// The certificates that are for a host alone.
    pub(super) fn certificates_of(&self, host: &str) -> Result<HostCertificates, TlsError> {
        let found = self.certificates.lookup(host);
        found.map_err(|source| TlsError::BadHost { host: host.to_owned(), source: source.into() })
    }
}

/// A host as references name it.
fn request_host(url: &Url) -> String {
    let origin = url.origin();
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host };
    if origin.port == 443 { host } else { format!("{host}:{}", origin.port) }
}

fn client() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE);
    builder
}

fn message(request: &Request<'_>, pulse: Pulse) -> hyper::Request<Body> {
    let body = match request.payload {
        Payload::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Payload::Feed(feed) => Body::Feed(feed.body(pulse)),
    };
    let length = body.size_hint().lower();
    let mut message = hyper::Request::new(body);
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = request.url.uri().clone();
    let headers = message.headers_mut();
    headers.extend(request.headers.iter().cloned());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(authorization) = &request.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    message
}

/// A request's body.
pub(super) enum Body {
    Bytes(Bytes),
    Feed(FeedBody),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Feed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Feed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Feed(body) => body.size_hint(),
        }
    }
}

/// What an error is about.
#[derive(Clone)]
pub(super) struct Blame {
    method: Method,
    url: Url,
}

impl Blame {
    pub(super) fn parts(&self) -> (String, String) {
        (self.method.to_string(), self.url.to_string())
    }

    fn failed(&self, error: hyper_util::client::legacy::Error) -> RegistryError {
        let (method, url) = self.parts();
        if error.is_connect() {
            return RegistryError::Connect { method, url, source: error.into() };
        }
        self.broken(error)
    }

    fn broken(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> RegistryError {
        let (method, url) = self.parts();
        RegistryError::Broken { method, url, source: error.into() }
    }

    fn stopped(&self, stop: Stop, watch: &Watch) -> RegistryError {
        let (method, url) = self.parts();
        match stop {
            Stop::Cancelled(cancelled) => RegistryError::Cancelled(cancelled),
            Stop::Idle => RegistryError::TimedOut { method, url, after: watch.idle },
        }
    }
}

/// The head of an answer, with its body to come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) blame: Blame,
    body: Incoming,
    watch: Watch,
}

impl Answer {
    /// Returns a header, if it is there and is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns all values of a header that are text.
    pub(super) fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    pub(super) fn url(&self) -> &Url {
        &self.blame.url
    }

    /// Reads the next bytes of the body; `None` is its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let frame = self.watch.over(&Pulse::default(), frame).await;
            let Some(frame) = frame.map_err(|stop| self.blame.stopped(stop, &self.watch))? else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|error| self.blame.broken(error))?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Reads the body, up to a limit in bytes; `None` if there is more.
    pub(super) async fn bytes(&mut self, limit: usize) -> Result<Option<Bytes>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes.into()))
    }

    /// Makes an error of an answer that is one, with the words that came along.
    pub(super) async fn into_error(mut self) -> RegistryError {
        let message = self.message().await;
        self.error(message)
    }

    /// Makes an error of an answer whose words were read.
    pub(super) fn error(&self, message: ServerMessage) -> RegistryError {
        let (method, url) = self.blame.parts();
        RegistryError::Status { method, url, status: self.status.as_u16(), message }
    }

    /// Reads the words that came along with an error; none where they can't be had.
    pub(super) async fn message(&mut self) -> ServerMessage {
        ServerMessage::parse(&self.words().await)
    }

    /// Reads what came along with an error, as it is; nothing where it can't be had.
    pub(super) async fn words(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await
            && bytes.len() < MAX_MESSAGE
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_MESSAGE)]);
        }
        bytes
    }

    /// Makes an error of an answer that should have been another.
    pub(super) fn odd(&self, reason: impl Into<String>) -> RegistryError {
        let (method, url) = self.blame.parts();
        RegistryError::Answer { method, url, reason: reason.into() }
    }
}
