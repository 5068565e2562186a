//! Single requests to what is no registry but is reached over the same network: object stores.
//!
//! They go through the same proxies, trust the same authorities, and are stopped and counted as
//! requests to registries are. Nothing is tried twice, no redirect is followed and no credentials are
//! added: whoever asks knows the service.

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

use crate::registry::http::transport::{Payload, Request};
use crate::registry::http::url::Url;
use crate::registry::{Registry, RegistryError};

/// The longest body that is read of an answer, in bytes.
const MAX_BODY: usize = 32 << 20;

/// A request.
#[derive(Clone)]
pub struct WebRequest {
    /// Its method.
    pub method: String,
    /// An absolute address, http or https.
    pub url: String,
    /// Its headers, but for those that follow from the rest.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Clone)]
pub struct WebAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Registry {
    /// Sends one request to any host, and waits for its answer; runs in any executor.
    ///
    /// # Errors
    /// [`RegistryError`] if there is no answer, or it has more than 32 MiB. An answer that says no is
    /// none.
    pub async fn exchange(&self, request: WebRequest) -> Result<WebAnswer, RegistryError> {
        let client = std::sync::Arc::clone(&self.client);
        self.runtime.run(async move { exchange(&client, request).await }).await
    }
}

async fn exchange(client: &super::client::Client, request: WebRequest) -> Result<WebAnswer, RegistryError> {
    let WebRequest { method, url, headers, body } = request;
    let odd = |reason: &str| RegistryError::Request { reason: reason.to_owned() };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| odd("a method that is none"))?;
    let url = Url::parse(&url).map_err(odd)?;
    let header = |(name, value): (String, Vec<u8>)| {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| odd("a header that is none"))?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| odd("a header that is none"))?;
        value.set_sensitive(name == hyper::header::AUTHORIZATION);
        Ok((name, value))
    };
    let headers = headers.into_iter().map(header).collect::<Result<Vec<_>, RegistryError>>()?;
    let payload = Payload::Bytes(body.into());
    let request =
        Request { method: &method, url: &url, headers: &headers, authorization: None, payload: &payload };
    let mut answer = client.transport().send(request).await?;
    let body = answer.bytes(MAX_BODY).await?.ok_or_else(|| answer.odd("too long a body"))?;
    Ok(WebAnswer { status: answer.status.as_u16(), headers: answer.all_headers(), body: body.into() })
}
