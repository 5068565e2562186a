//! An answer, before it goes on its way.

use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::body::Content;
use crate::error::Refusal;
use crate::faults::Answer;

/// Status, headers and body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Nothing }
    }

    pub(crate) fn json(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self::new(StatusCode::OK).header("Content-Type", "application/json").bytes(bytes)
    }

    /// Sets a header. A value that can't stand in one is left out.
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value.to_string())) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.content(Content::Bytes(bytes.into()))
    }

    pub(crate) fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Says how long the body is, and leaves it out where the method wants that.
    pub(crate) fn measured(self, method: &Method) -> Self {
        let length = self.content.len();
        let mut reply = match self.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => self,
            _ if self.headers.contains_key("content-length") => self,
            _ => self.header("Content-Length", length),
        };
        if method == Method::HEAD {
            reply.content = Content::Nothing;
        }
        reply
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status).header("Content-Type", "application/json").bytes(refusal.to_json())
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = Self::new(status).bytes(answer.body);
        answer.headers.into_iter().fold(reply, |reply, (name, value)| reply.header(&name, value))
    }
}
