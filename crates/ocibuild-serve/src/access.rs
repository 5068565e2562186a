//! Credentials and tokens, for tests of clients: what `serve` itself is for has none.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::error::{Code, Refusal};
use crate::faults::Asked;
use crate::reply::Reply;
use crate::route::{Query, Route};
use crate::storage::lock;

const SERVICE: &str = "ocibuild-serve";

/// What a client has to show. Meant for tests: neither is a protection without TLS.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Access {
    /// A user name and a password with each request.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// Tokens of a token server
    /// ([token authentication](https://distribution.github.io/distribution/spec/auth/token/)), which
    /// is this server at `/token`.
    Tokens(Tokens),
}

/// How tokens are given out.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tokens {
    /// The user name and password that a token costs; without them, anybody gets one.
    pub credentials: Option<(String, String)>,
    /// How many requests a token is good for.
    pub uses: Option<u32>,
    /// How long a token is good.
    pub lifetime: Option<Duration>,
    /// The address of the token server that clients are told of, such as that of another server;
    /// otherwise `/token` here.
    pub realm: Option<String>,
}

#[derive(Debug)]
struct Token {
    /// As it was asked for: `repository:NAME:ACTIONS`.
    scopes: Vec<String>,
    uses: Option<u32>,
    until: Option<Instant>,
}

/// Checks what requests show.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    access: Option<Access>,
    tokens: Mutex<HashMap<String, Token>>,
}

impl Gate {
    pub(crate) fn new(access: Option<Access>) -> Self {
        Self { access, tokens: Mutex::default() }
    }

    pub(crate) fn revoke(&self) {
        lock(&self.tokens).clear();
    }

    /// Gives what a request is refused with, if it shows too little.
    pub(crate) fn check(&self, asked: &Asked, route: Option<&Route>, host: &str) -> Option<Reply> {
        let shown = asked.header("authorization").unwrap_or_default();
        let (challenge, is_good) = match self.access.as_ref()? {
            Access::Basic { username, password } => {
                ("Basic realm=\"ocibuild serve\"".to_owned(), is_basic(shown, username, password))
            }
            Access::Tokens(_) if route == Some(&Route::Token) => return None,
            Access::Tokens(tokens) => {
                let scope = scope(asked, route);
                (challenge(tokens, scope.as_deref(), host), self.takes(shown, scope.as_deref()))
            }
        };
        let refused = || {
            let refusal = Refusal::new(Code::Unauthorized, "authentication required");
            Reply::from(refusal).header("WWW-Authenticate", challenge)
        };
        (!is_good).then(refused)
    }

    fn takes(&self, shown: &str, scope: Option<&str>) -> bool {
        let Some(text) = shown.strip_prefix("Bearer ") else { return false };
        let mut tokens = lock(&self.tokens);
        let Some(token) = tokens.get_mut(text) else { return false };
        if token.until.is_some_and(|until| Instant::now() >= until) || token.uses == Some(0) {
            tokens.remove(text);
            return false;
        }
        if !scope.is_none_or(|scope| token.scopes.iter().any(|held| covers(held, scope))) {
            return false;
        }
        token.uses = token.uses.map(|uses| uses - 1);
        true
    }

    /// Gives out a token.
    pub(crate) fn token(&self, asked: &Asked, method: &Method, query: &Query) -> Result<Reply, Refusal> {
        let Some(Access::Tokens(tokens)) = &self.access else {
            return Err(
                Refusal::new(Code::Unsupported, "there are no tokens here").status(StatusCode::NOT_FOUND)
            );
        };
        if method != Method::GET {
            return Err(Refusal::new(Code::Unsupported, "tokens are asked for by GET"));
        }
        let shown = asked.header("authorization").unwrap_or_default();
        if let Some((username, password)) = &tokens.credentials
            && !is_basic(shown, username, password)
        {
            return Err(Refusal::new(Code::Unauthorized, "incorrect username or password"));
        }
        let token = Token {
            scopes: query.all("scope").flat_map(|scope| scope.split(' ')).map(str::to_owned).collect(),
            uses: tokens.uses,
            until: tokens.lifetime.map(|lifetime| Instant::now() + lifetime),
        };
        let text = format!("{:016x}{:016x}", random(), random());
        lock(&self.tokens).insert(text.clone(), token);
        let seconds = tokens.lifetime.map_or(300, |lifetime| lifetime.as_secs().max(1));
        let body = json!({ "token": text, "access_token": text, "expires_in": seconds });
        Ok(Reply::json(&body))
    }
}

/// The standard library seeds its hashers from the system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn is_basic(shown: &str, username: &str, password: &str) -> bool {
    let decoded = shown.strip_prefix("Basic ").and_then(|text| BASE64_STANDARD.decode(text).ok());
    decoded.is_some_and(|bytes| bytes == format!("{username}:{password}").as_bytes())
}

/// What a request needs, as a scope.
fn scope(asked: &Asked, route: Option<&Route>) -> Option<String> {
    let actions = match (asked.method(), route) {
        (_, Some(Route::Catalog)) => return Some("registry:catalog:*".to_owned()),
        ("GET" | "HEAD", _) => "pull",
        ("DELETE", Some(Route::Blob { .. } | Route::Manifest { .. })) => "delete",
        _ => "pull,push",
    };
    Some(format!("repository:{}:{actions}", route?.name()?))
}

fn covers(held: &str, wanted: &str) -> bool {
    let (Some((held, has)), Some((wanted, needs))) = (held.rsplit_once(':'), wanted.rsplit_once(':')) else {
        return false;
    };
    let has: Vec<&str> = has.split(',').collect();
    held == wanted && (has.contains(&"*") || needs.split(',').all(|action| has.contains(&action)))
}

fn challenge(tokens: &Tokens, scope: Option<&str>, host: &str) -> String {
    let realm = tokens.realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
    let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
    format!("Bearer realm=\"{realm}\",service=\"{SERVICE}\"{scope}")
}
