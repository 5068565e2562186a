//! Requests of OpenDAL's services, made by the client for registries: one set of proxies,
//! authorities and time-outs for all that a run reaches, and no second client in the program.

use ::http::{Request, Response};
use bytes::Bytes;
use futures_util::stream;
use ocibuild_core::Registry;
use ocibuild_core::registry::{RegistryError, WebRequest};
use opendal_core::raw::{new_request_build_error, parse_content_encoding, parse_content_length};
use opendal_core::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};

/// Requests by a client for registries.
#[derive(Clone)]
pub(crate) struct Transport(pub(crate) Registry);

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let is_head = request.method() == ::http::Method::HEAD;
        let (head, body) = request.into_parts();
        let uri = head.uri;
        let header = |(name, value): (&::http::HeaderName, &::http::HeaderValue)| {
            (name.to_string(), value.as_bytes().to_vec())
        };
        let request = WebRequest {
            method: head.method.to_string(),
            url: uri.to_string(),
            headers: head.headers.iter().map(header).collect(),
            body: body.to_vec(),
        };
        let answer = self.0.exchange(request).await.map_err(fault)?;
        let mut response = Response::builder().status(answer.status).extension(uri);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        let length = match response.headers_ref() {
            Some(headers) if !is_head && parse_content_encoding(headers)?.is_none() => {
                parse_content_length(headers)?
            }
            _ => None,
        };
        let body = stream::iter([Ok(Buffer::from(Bytes::from(answer.body)))]);
        response.body(HttpBody::new(body, length)).map_err(new_request_build_error)
    }
}

fn fault(error: RegistryError) -> Error {
    // What was never sent, or broke, may go better the next time; what isn't trusted won't.
    let may_pass = matches!(
        error,
        RegistryError::Connect { .. } | RegistryError::Broken { .. } | RegistryError::TimedOut { .. }
    );
    Error::new(ErrorKind::Unexpected, "there is no answer").with_temporary(may_pass).set_source(error)
}
