//! One request: what goes wrong with it, who may ask it, what it is about, and the answer.

mod blobs;
mod lists;
mod manifests;
mod uploads;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::LOCATION;
use hyper::{Method, Request, Response, StatusCode};
use ocibuild_core::Digest;
use tokio::time::sleep;

use crate::access::Gate;
use crate::body::{Broken, Inflow, Outflow};
use crate::error::{Code, Refusal};
use crate::faults::{Asked, Plan};
use crate::names::is_repository;
use crate::options::ServeOptions;
use crate::record::{Ending, Entry};
use crate::reply::Reply;
use crate::route::{Query, Route};
use crate::socket::Wire;
use crate::storage::{Storage, lock};
use crate::uploads::Uploads;

/// What all requests share.
pub(crate) struct Handler {
    pub(crate) storage: Storage,
    pub(crate) uploads: Uploads,
    pub(crate) gate: Gate,
    pub(crate) options: ServeOptions,
    pub(crate) address: SocketAddr,
    /// Paths that don't show yet what was made there.
    pub(crate) hidden: Mutex<HashMap<String, Instant>>,
}

/// A request to be answered.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) asked: Asked,
    pub(crate) query: Query,
    pub(crate) body: Inflow,
    pub(crate) limit: Option<u64>,
}

/// Why there is no answer, or none but a refusal.
pub(crate) enum Trouble {
    Refused(Box<Reply>),
    Broken,
}

impl<E: Into<Refusal>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Reply::from(error.into()).into()
    }
}

impl From<Reply> for Trouble {
    fn from(reply: Reply) -> Self {
        Self::Refused(Box::new(reply))
    }
}

impl From<Broken> for Trouble {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl Handler {
    /// Answers a request, or has its connection end.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        wire: Arc<Wire>,
    ) -> Result<Response<Outflow>, Broken> {
        let busy = wire.busy();
        let asked = Asked::of(&request);
        let plan = self.options.faults.as_ref().map(|faults| Plan::from(faults.faults(&asked)));
        let plan = plan.unwrap_or_default();
        let entry = Entry::begin(&asked, self.options.recorder.as_ref());
        let ending = Ending { entry: Arc::clone(&entry), listener: self.options.listener.clone() };
        let (parts, body) = request.into_parts();
        let mut call = Call {
            method: parts.method.clone(),
            asked,
            query: Query::of(&parts.uri),
            body: Inflow::new(body, &entry, &wire, &plan),
            limit: plan.limit,
        };
        let reply = self.reply(&mut call, &plan).await;
        if reply.is_err() || plan.loses_reply {
            if plan.loses_reply {
                wire.reset();
            }
            drop(ending);
            return Err(Broken);
        }
        let reply = reply?.measured(&parts.method);
        entry.set_status(reply.status.as_u16());
        let outflow = Outflow::new(reply.content, ending, Arc::clone(&wire), busy, &plan);
        let mut response = Response::new(outflow);
        (*response.status_mut(), *response.headers_mut()) = (reply.status, reply.headers);
        Ok(response)
    }

    async fn reply(&self, call: &mut Call, plan: &Plan) -> Result<Reply, Broken> {
        if plan.reset_request == Some(0) {
            call.body.next().await?;
        }
        if plan.forgets {
            self.uploads.forget();
        }
        if plan.revokes {
            self.gate.revoke();
        }
        if let Some(delay) = plan.delay {
            sleep(delay).await;
        }
        let reply = match self.made_up(call, plan) {
            Some(reply) => Err(reply.into()),
            None => self.work(call, plan).await,
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(Trouble::Broken) => return Err(Broken),
            Err(Trouble::Refused(reply)) => {
                if call.asked.header("expect").is_none() {
                    call.body.drain().await?;
                }
                *reply
            }
        };
        let reply = self.spoiled(reply, call, plan);
        Ok(reply.header("Docker-Distribution-API-Version", "registry/2.0"))
    }

    fn made_up(&self, call: &Call, plan: &Plan) -> Option<Reply> {
        if let Some(answer) = &plan.answer {
            return Some(answer.clone().into());
        }
        let origin = plan.redirect.as_ref()?;
        let location = format!("{origin}{}", call.asked.path());
        Some(Reply::new(StatusCode::TEMPORARY_REDIRECT).header("Location", location))
    }

    /// What a fault makes of an answer.
    fn spoiled(&self, mut reply: Reply, call: &Call, plan: &Plan) -> Reply {
        if let Some(time) = plan.hide
            && reply.status == StatusCode::CREATED
        {
            let until = Instant::now() + time;
            let mut hidden = lock(&self.hidden);
            hidden.insert(call.asked.path().to_owned(), until);
            if let Some(location) = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
                hidden.insert(location.to_owned(), until);
            }
        }
        match (&plan.location, reply.headers.remove(LOCATION)) {
            (None, Some(value)) => reply.header("Location", value.to_str().unwrap_or_default()),
            (Some(Some(origin)), Some(value)) => {
                reply.header("Location", format!("{origin}{}", value.to_str().unwrap_or_default()))
            }
            _ => reply,
        }
    }

    async fn work(&self, call: &mut Call, plan: &Plan) -> Result<Reply, Trouble> {
        let path = call.asked.path().split('?').next().unwrap_or_default();
        let route = Route::of(path);
        let host = call.asked.header("host").map_or_else(|| self.address.to_string(), str::to_owned);
        if let Some(refused) = self.gate.check(&call.asked, route.as_ref(), &host) {
            return Err(refused.into());
        }
        let Some(route) = route else {
            let refusal = Refusal::new(Code::Unsupported, "there is nothing at this path of a registry");
            return Err(refusal.status(StatusCode::NOT_FOUND).into());
        };
        let is_read = matches!(call.method, Method::GET | Method::HEAD);
        if !is_read {
            self.may_write(call)?;
        } else if self.is_hidden(call.asked.path()) {
            return Err(unknown(&route).into());
        }
        if let Some(name) = route.name().filter(|name| !is_repository(name)) {
            let message = format!("`{name}` isn't a repository's name");
            return Err(Refusal::new(Code::NameInvalid, message).into());
        }
        let reply = self.dispatch(&route, call).await;
        match reply {
            Err(Trouble::Refused(refused)) if plan.lies && refused.status == StatusCode::NOT_FOUND => {
                Ok(lie(&route))
            }
            reply => reply,
        }
    }

    /// A page in a browser may send what changes things to any address, this one too: it is known by
    /// its `Origin`.
    fn may_write(&self, call: &Call) -> Result<(), Refusal> {
        if call.asked.header("origin").is_some() {
            return Err(Refusal::new(Code::Denied, "web pages can't change anything here"));
        }
        if self.options.read_only {
            return Err(Refusal::new(Code::Unsupported, "this registry is read-only"));
        }
        Ok(())
    }

    fn is_hidden(&self, path: &str) -> bool {
        let mut hidden = lock(&self.hidden);
        match hidden.get(path) {
            Some(until) if Instant::now() < *until => true,
            Some(_) => hidden.remove(path).is_none(),
            None => false,
        }
    }

    async fn dispatch(&self, route: &Route, call: &mut Call) -> Result<Reply, Trouble> {
        let method = call.method.as_str().to_owned();
        match (method.as_str(), route) {
            ("GET" | "HEAD", Route::Base) => Ok(Reply::json(&serde_json::json!({}))),
            ("GET", Route::Catalog) => self.catalog(call),
            (_, Route::Token) => Ok(self.gate.token(&call.asked, &call.method, &call.query)?),
            ("GET", Route::Tags { name }) => self.tags(name, call),
            ("GET", Route::Referrers { name, digest }) => self.referrers(name, digest, call),
            ("GET" | "HEAD", Route::Blob { name, digest }) => self.get_blob(name, digest, call),
            ("DELETE", Route::Blob { name, digest }) => self.delete_blob(name, digest),
            ("GET" | "HEAD", Route::Manifest { name, reference }) => self.get_manifest(name, reference, call),
            ("PUT", Route::Manifest { name, reference }) => self.put_manifest(name, reference, call).await,
            ("DELETE", Route::Manifest { name, reference }) => self.delete_manifest(name, reference),
            ("POST", Route::Uploads { name }) => self.begin_upload(name, call).await,
            ("GET", Route::Upload { name, id }) => self.upload_status(name, id),
            ("PATCH", Route::Upload { name, id }) => self.add_to_upload(name, id, call).await,
            ("PUT", Route::Upload { name, id }) => self.end_upload(name, id, call).await,
            ("DELETE", Route::Upload { name, id }) => self.cancel_upload(name, id),
            (method, _) => {
                let message = format!("{method} means nothing at this path");
                Err(Refusal::new(Code::Unsupported, message).into())
            }
        }
    }
}

/// What a registry says that has a thing when it hasn't.
fn lie(route: &Route) -> Reply {
    let reply = Reply::new(StatusCode::OK).header("Content-Length", 0);
    match route {
        Route::Blob { digest, .. } => reply.header("Docker-Content-Digest", digest),
        _ => reply,
    }
}

fn unknown(route: &Route) -> Refusal {
    match route {
        Route::Manifest { .. } => Refusal::new(Code::ManifestUnknown, "manifest unknown to registry"),
        _ => Refusal::new(Code::BlobUnknown, "blob unknown to registry"),
    }
}

/// Reads a digest of something that is asked for.
fn digest_of(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error| {
        let detail = serde_json::json!({ "digest": text.chars().take(200).collect::<String>() });
        Refusal::with_details(Code::DigestInvalid, format!("{error}"), [detail])
    })
}

/// Reads a digest of something that is brought: it has to be one that is verified here.
fn sent_digest(text: &str) -> Result<Digest, Refusal> {
    let digest = digest_of(text)?;
    match digest.algorithm() {
        "sha256" => Ok(digest),
        other => {
            let message = format!("digests by {other} aren't supported here: use sha256");
            Err(Refusal::new(Code::Unsupported, message).status(StatusCode::BAD_REQUEST))
        }
    }
}
