//! Misbehaviour on demand: what makes the server a registry's double in tests.
//!
//! Nothing here is of use to who serves a layout. A test hands [`ServeOptions::faults`] something
//! that says for each request what goes wrong with it: a closure, or a [`Script`] of rules.
//!
//! [`ServeOptions::faults`]: crate::ServeOptions::faults

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::HeaderMap;

use crate::storage::lock;

/// A request, before anything is done.
#[derive(Debug, Clone)]
pub struct Asked {
    method: String,
    path: String,
    headers: HeaderMap,
}

impl Asked {
    pub(crate) fn of<B>(request: &hyper::Request<B>) -> Self {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let (method, headers) = (request.method().to_string(), request.headers().clone());
        Self { method, path: path.to_owned(), headers }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns path and query, as they came.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns a header's first value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What goes wrong with a request. Several go together where that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answers this; nothing is done. The body is read first.
    Answer(Answer),
    /// Resets the connection when this many bytes of the request's body have come. What came is
    /// treated as with any connection that breaks. With 0 nothing is done at all.
    ResetRequest(u64),
    /// Does what was asked, and resets the connection after this many bytes of the answer's body.
    ResetResponse(u64),
    /// Does what was asked, and resets the connection instead of answering.
    LoseReply,
    /// Answers `HEAD` with 200, though there is nothing.
    Lie,
    /// Does what was asked, and leaves the `Location` out.
    NoLocation,
    /// Does what was asked, and puts this origin (`http://127.0.0.1:1234`) before the `Location`.
    LocationAt(String),
    /// Answers 307 with the same path at this origin; nothing is done.
    Redirect(String),
    /// Reads and writes bodies at this many bytes a second.
    Slow(u64),
    /// Waits before anything is done.
    Delay(Duration),
    /// Forgets all uploads under way first.
    ForgetUploads,
    /// Answers 413 to a body of more bytes than this, as a proxy does.
    BodyLimit(u64),
    /// Does what was asked, and says 404 of what was made for as long.
    Hide(Duration),
    /// Makes all tokens worthless first.
    RevokeTokens,
}

impl Fault {
    /// An answer of a status alone.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer::new(status))
    }

    /// An answer of a status with a `Retry-After`.
    #[must_use]
    pub fn retry_after(status: u16, value: impl ToString) -> Self {
        Self::Answer(Answer::new(status).header("Retry-After", value))
    }
}

/// An answer that a test makes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// An answer without headers or body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// Says what goes wrong.
pub trait Faults: Send + Sync {
    /// Is asked once for each request, in the order of their coming, and answers at once.
    fn faults(&self, asked: &Asked) -> Vec<Fault>;
}

impl<F: Fn(&Asked) -> Vec<Fault> + Send + Sync> Faults for F {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        self(asked)
    }
}

/// Which requests a rule is for.
#[derive(Debug, Clone, Default)]
pub struct When {
    method: Option<String>,
    parts: Vec<String>,
    skip: usize,
    times: Option<usize>,
    each: bool,
    beyond: Option<(usize, Duration)>,
}

impl When {
    /// Any request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests by this method in whose path and query this stands.
    #[must_use]
    pub fn asked(method: &str, part: &str) -> Self {
        Self { method: Some(method.to_owned()), ..Self::default() }.with(part)
    }

    /// Only where this stands in path and query, too.
    #[must_use]
    pub fn with(mut self, part: &str) -> Self {
        self.parts.push(part.to_owned());
        self
    }

    /// Not the first few.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// No more than so many, after those that are skipped.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Counts for each path by itself, without its query.
    #[must_use]
    pub fn each(self) -> Self {
        Self { each: true, ..self }
    }

    /// Only those beyond so many within this time.
    #[must_use]
    pub fn beyond(self, requests: usize, within: Duration) -> Self {
        Self { beyond: Some((requests, within)), ..self }
    }

    fn fits(&self, asked: &Asked) -> bool {
        self.method.as_ref().is_none_or(|method| *method == asked.method)
            && self.parts.iter().all(|part| asked.path.contains(part))
    }
}

/// Faults by rules: all rules that fit a request count.
#[derive(Debug, Default)]
pub struct Script(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    when: When,
    faults: Vec<Fault>,
    seen: Mutex<HashMap<String, usize>>,
    let_through: Mutex<VecDeque<Instant>>,
}

impl Script {
    /// Begins without rules: nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    #[must_use]
    pub fn on(mut self, when: When, fault: Fault) -> Self {
        self.0.push(Rule {
            when,
            faults: vec![fault],
            seen: Mutex::default(),
            let_through: Mutex::default(),
        });
        self
    }
}

impl Rule {
    fn applies(&self, asked: &Asked) -> bool {
        if !self.when.fits(asked) {
            return false;
        }
        if let Some((requests, within)) = self.when.beyond {
            let mut times = lock(&self.let_through);
            while times.front().is_some_and(|time| time.elapsed() >= within) {
                times.pop_front();
            }
            if times.len() < requests {
                times.push_back(Instant::now());
                return false;
            }
        }
        let path = asked.path.split('?').next().unwrap_or_default();
        let key = if self.when.each { path } else { "" };
        let mut seen = lock(&self.seen);
        let count = seen.entry(key.to_owned()).or_default();
        *count += 1;
        *count > self.when.skip && self.when.times.is_none_or(|times| *count <= self.when.skip + times)
    }
}

impl Faults for Script {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        let rules = self.0.iter().filter(|rule| rule.applies(asked));
        rules.flat_map(|rule| rule.faults.iter().cloned()).collect()
    }
}

/// All that goes wrong with one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) answer: Option<Answer>,
    pub(crate) redirect: Option<String>,
    pub(crate) reset_request: Option<u64>,
    pub(crate) reset_response: Option<u64>,
    pub(crate) loses_reply: bool,
    pub(crate) lies: bool,
    pub(crate) location: Option<Option<String>>,
    pub(crate) pace: Option<u64>,
    pub(crate) delay: Option<Duration>,
    pub(crate) forgets: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) hide: Option<Duration>,
    pub(crate) revokes: bool,
}

impl From<Vec<Fault>> for Plan {
    fn from(faults: Vec<Fault>) -> Self {
        let mut plan = Self::default();
        for fault in faults {
            match fault {
                Fault::Answer(answer) => plan.answer = Some(answer),
                Fault::ResetRequest(at) => plan.reset_request = Some(at),
                Fault::ResetResponse(at) => plan.reset_response = Some(at),
                Fault::LoseReply => plan.loses_reply = true,
                Fault::Lie => plan.lies = true,
                Fault::NoLocation => plan.location = Some(None),
                Fault::LocationAt(origin) => plan.location = Some(Some(origin)),
                Fault::Redirect(origin) => plan.redirect = Some(origin),
                Fault::Slow(pace) => plan.pace = Some(pace),
                Fault::Delay(delay) => plan.delay = Some(delay),
                Fault::ForgetUploads => plan.forgets = true,
                Fault::BodyLimit(limit) => plan.limit = Some(limit),
                Fault::Hide(time) => plan.hide = Some(time),
                Fault::RevokeTokens => plan.revokes = true,
            }
        }
        plan
    }
}
