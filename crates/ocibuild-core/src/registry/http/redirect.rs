//! Where answers point to, and when that is followed.

use hyper::header;
use hyper::{Method, StatusCode};

use crate::registry::RegistryError;
use crate::registry::http::transport::Answer;
use crate::registry::http::url::Url;

/// How many redirects of one request are followed.
pub(crate) const MAX_REDIRECTS: u32 = 5;

/// Returns the address that an answer points to. An https registry that points to http is refused:
/// what was to be encrypted would not be.
pub(crate) fn location(answer: &Answer) -> Result<Url, RegistryError> {
    let text = answer.header(header::LOCATION).ok_or_else(|| answer.odd("no `Location`"))?;
    let url = answer.url().join(text).map_err(|reason| answer.odd(format!("{reason} as its `Location`")))?;
    if answer.url().is_secure() && !url.is_secure() {
        return Err(answer.odd(format!("a `Location` that is not https: `{url}`")));
    }
    Ok(url)
}

/// A request that changes something is repeated elsewhere only if the answer says so exactly.
pub(crate) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

pub(crate) fn too_many(answer: &Answer) -> RegistryError {
    answer.odd(format!("more than {MAX_REDIRECTS} redirects"))
}
