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
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;

use crate::event::Cancel;
use crate::registry::error::may_pass;
use crate::registry::http::feed::{FeedBody, Part};
use crate::registry::http::host::{Host, Hosts, Signs};
use crate::registry::http::proxy::{Connector, Proxies};
use crate::registry::http::retry::retry_after;
use crate::registry::http::tally::Tally;
use crate::registry::http::tls;
use crate::registry::http::url::Url;
use crate::registry::http::warning;
use crate::registry::http::watch::{Pulse, Stop, Watch};
use crate::registry::{
    Certificates, HostCertificates, RegistryError, RegistryOptions, ServerMessage, TlsError,
};

const USER_AGENT: &str = concat!("ocibuild/", env!("CARGO_PKG_VERSION"));
/// Shorter than what servers and proxies are wont to keep an idle connection for.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// How much is read of an error's words, in bytes: enough for one that names all of an image's layers.
const MAX_MESSAGE: usize = 64 << 10;

/// What a request carries; each sending makes its body anew.
#[derive(Clone)]
pub(crate) enum Payload {
    Bytes(Bytes),
    Feed(Part),
}

impl Payload {
    pub(crate) fn none() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A request, to be sent as it is.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) payload: &'a Payload,
}

type SecureClient = Client<HttpsConnector<Connector>, Sent>;

/// Holds connections to any number of hosts.
pub(crate) struct Transport {
    plain: Client<Connector, Sent>,
    /// By host, as each has certificates of its own; made for the first request to it, as that reads
    /// files and needs what the program brings.
    secure: Mutex<BTreeMap<String, Arc<OnceCell<SecureClient>>>>,
    connector: Connector,
    proxies: Arc<Proxies>,
    ca: Vec<Vec<u8>>,
    certificates: Arc<dyn Certificates>,
    /// Hosts whose certificates aren't verified.
    insecure: Vec<String>,
    hosts: Hosts,
    tally: Arc<Tally>,
    watch: Watch,
}

impl Transport {
    pub(crate) fn new(options: &RegistryOptions) -> Self {
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
            hosts: Hosts::new(options),
            tally: Arc::new(Tally::new(Arc::clone(&options.observer))),
            watch: Watch { cancel: options.cancel.clone(), idle: options.idle_timeout },
        }
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is known of the host that an error is about.
    pub(crate) fn signs_of(&self, error: &RegistryError) -> Signs {
        let url = error.request().and_then(|(_, url)| Url::parse(&url).ok());
        url.map_or(Signs::default(), |url| self.hosts.of(url.origin()).signs())
    }

    /// Sends a request when it is its turn, and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Answer, RegistryError> {
        let blame = Blame { method: request.method.clone(), url: request.url.clone() };
        let host = self.hosts.of(request.url.origin());
        let is_upload = matches!(request.payload, Payload::Feed(_));
        let turn = host.turn(is_upload, &self.watch).await;
        let (_turn, waited) = turn.map_err(|stop| blame.stopped(stop, &self.watch))?;
        self.tally.waited(waited);
        let sent = Instant::now();
        let result = self.send_now(&request, &blame, &self.watch).await;
        let status = result.as_ref().ok().map(|answer| answer.status.as_u16());
        self.tally.asked(blame.parts(), status, sent.elapsed());
        self.note(&host, &result);
        result
    }

    /// Sends a request at once, and also when the run is cancelled.
    pub(crate) async fn send_anyway(&self, request: &Request<'_>) -> Result<Answer, RegistryError> {
        let blame = Blame { method: request.method.clone(), url: request.url.clone() };
        let sent = Instant::now();
        let watch = Watch { cancel: Cancel::new(), idle: self.watch.idle };
        let result = self.send_now(request, &blame, &watch).await;
        let status = result.as_ref().ok().map(|answer| answer.status.as_u16());
        self.tally.asked(blame.parts(), status, sent.elapsed());
        result
    }

    async fn send_now(
        &self,
        request: &Request<'_>,
        blame: &Blame,
        watch: &Watch,
    ) -> Result<Answer, RegistryError> {
        let pulse = Pulse::default();
        let mut message = message(request, pulse.clone(), &self.tally);
        if let Some(header) = self.proxies.authorization(request.url.uri()) {
            message.headers_mut().insert(header::PROXY_AUTHORIZATION, header);
        }
        let response = watch.over(&pulse, self.exchange(request.url, message)).await;
        let response = response.map_err(|stop| blame.stopped(stop, watch))??;
        let (head, body) = response.map_err(|error| blame.failed(error))?.into_parts();
        let (blame, watch, tally) = (blame.clone(), watch.clone(), Arc::clone(&self.tally));
        Ok(Answer { status: head.status, headers: head.headers, blame, body, watch, tally })
    }

    /// Takes note of what an answer tells of its host.
    fn note(&self, host: &Host, result: &Result<Answer, RegistryError>) {
        match result {
            Err(RegistryError::Broken { .. }) => host.reached(),
            Err(_) => {}
            Ok(answer) => {
                host.reached();
                match answer.retry_after() {
                    Some(wish) => host.hold(wish),
                    None if may_pass(answer.status.as_u16()) => {}
                    None => host.succeeded(),
                }
                for warning in answer.headers.get_all(header::WARNING) {
                    let warning = String::from_utf8_lossy(warning.as_bytes());
                    let host = answer.url().uri().authority().map_or("", |authority| authority.as_str());
                    warning::texts(&warning).for_each(|text| self.tally.warn(host, &text));
                }
            }
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        message: hyper::Request<Sent>,
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
    pub(crate) fn certificates_of(&self, host: &str) -> Result<HostCertificates, TlsError> {
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

fn message(request: &Request<'_>, pulse: Pulse, tally: &Arc<Tally>) -> hyper::Request<Sent> {
    let body = match request.payload {
        Payload::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Payload::Feed(feed) => Body::Feed(feed.body(pulse)),
    };
    let length = body.size_hint().lower();
    let mut message = hyper::Request::new(Sent { body, tally: Arc::clone(tally) });
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
pub(crate) enum Body {
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

/// A request's body, counted.
struct Sent {
    body: Body,
    tally: Arc<Tally>,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.tally.sent(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an error is about.
#[derive(Clone)]
pub(crate) struct Blame {
    method: Method,
    url: Url,
}

impl Blame {
    pub(crate) fn parts(&self) -> (String, String) {
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
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) blame: Blame,
    body: Incoming,
    watch: Watch,
    tally: Arc<Tally>,
}

impl Answer {
    /// Returns a header, if it is there and is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns all values of a header that are text.
    pub(crate) fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    pub(crate) fn url(&self) -> &Url {
        &self.blame.url
    }

    /// Returns all headers, as they came.
    pub(crate) fn all_headers(&self) -> Vec<(String, Vec<u8>)> {
        let of = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        self.headers.iter().map(of).collect()
    }

    /// How long the registry wants to be left alone, if that is why it says no.
    fn retry_after(&self) -> Option<Duration> {
        let is_busy = matches!(self.status.as_u16(), 429 | 503);
        let value = self.header(header::RETRY_AFTER).filter(|_| is_busy)?;
        retry_after(value, self.header(header::DATE))
    }

    /// Reads the next bytes of the body; `None` is its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let frame = self.watch.over(&Pulse::default(), frame).await;
            let Some(frame) = frame.map_err(|stop| self.blame.stopped(stop, &self.watch))? else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|error| self.blame.broken(error))?.into_data() {
                self.tally.received(data.len());
                return Ok(Some(data));
            }
        }
    }

    /// Reads the body, up to a limit in bytes; `None` if there is more.
    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Option<Bytes>, RegistryError> {
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
    pub(crate) async fn into_error(mut self) -> RegistryError {
        let message = self.message().await;
        self.error(message)
    }

    /// Makes an error of an answer whose words were read.
    pub(crate) fn error(&self, message: ServerMessage) -> RegistryError {
        let (method, url) = self.blame.parts();
        let (status, retry_after) = (self.status.as_u16(), self.retry_after());
        RegistryError::Status { method, url, status, message, retry_after }
    }

    /// Reads the words that came along with an error; none where they can't be had.
    pub(crate) async fn message(&mut self) -> ServerMessage {
        ServerMessage::parse(&self.words().await)
    }

    /// Reads what came along with an error, as it is; nothing where it can't be had.
    pub(crate) async fn words(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await
            && bytes.len() < MAX_MESSAGE
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_MESSAGE)]);
        }
        bytes
    }

    /// Makes an error of an answer that should have been another.
    pub(crate) fn odd(&self, reason: impl Into<String>) -> RegistryError {
        let (method, url) = self.blame.parts();
        RegistryError::Answer { method, url, reason: reason.into() }
    }
}
