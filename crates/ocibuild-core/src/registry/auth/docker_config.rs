//! Docker's `config.json`, which podman's `auth.json` is like, as a source of credentials.
//!
//! Takes the file's text; where the file lies, and whether there is one, is the caller's matter.

mod edit;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::reference::{DEFAULT_REGISTRY, Repository};
use crate::registry::{Credential, Credentials, CredentialsError, HelperError, Helpers};

/// Both with and without padding, as the tools that write these files disagree on it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How files and helpers call Docker Hub.
const DEFAULT_KEY: &str = "https://index.docker.io/v1/";

/// The credentials in a file of Docker's form.
///
/// What is most particular counts: the entry of the longest path that a repository lies under; then
/// the helper that is named for its registry (`credHelpers`); then the registry's own entry; then
/// the helper for all (`credsStore`).
#[derive(Clone)]
pub struct DockerConfig {
    path: PathBuf,
    /// By registry, or registry and path; `None` where an entry is there and holds nothing.
    entries: BTreeMap<String, Option<Credential>>,
    /// By registry; an empty name is that none is to be asked.
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    runner: Option<Arc<Helpers>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerConfig {
    /// Reads the file's text; `path` is named in errors and as the credentials' source.
    ///
    /// # Errors
    /// [`CredentialsError::Syntax`] if anything in it that concerns credentials can't be
    /// understood, for whichever registry: a login that is ignored is hard to miss later.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CredentialsError> {
        let syntax = |line, reason| CredentialsError::Syntax { path: path.to_owned(), line, reason };
        let file: File = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| syntax(error.line(), without_values(&error)))?;
        let mut entries = BTreeMap::new();
        for (key, entry) in file.auths.unwrap_or_default() {
            let source = format!("`{}`, entry `{key}`", path.display());
            let credential =
                entry.credential(source).map_err(|reason| syntax(line_of(text, &key), reason))?;
            entries.entry(normalise(&key)).or_insert(credential);
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        let helpers = helpers.into_iter().map(|(key, helper)| (normalise(&key), helper)).collect();
        let store = file.creds_store.filter(|store| !store.is_empty());
        Ok(Self { path: path.to_owned(), entries, helpers, store, runner: None })
    }

    /// Has the file's credential helpers run; without this, needing one is an error.
    #[must_use]
    pub fn with_helpers(mut self, helpers: Arc<Helpers>) -> Self {
        self.runner = Some(helpers);
        self
    }

    /// Returns the helper that has a registry in its keeping.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let named = self.helpers.get(&normalise(registry)).map(String::as_str);
        named.or(self.store.as_deref()).filter(|helper| !helper.is_empty())
    }

    /// Returns how helpers call a registry.
    #[must_use]
    pub fn server(registry: &str) -> String {
        match normalise(registry) {
            registry if registry == DEFAULT_REGISTRY => DEFAULT_KEY.to_owned(),
            registry => registry,
        }
    }

    fn ask(&self, registry: &str, helper: &str) -> Result<Option<Credential>, CredentialsError> {
        let fault = |source: HelperError| CredentialsError::Helper {
            path: self.path.clone(),
            registry: registry.to_owned(),
            helper: helper.to_owned(),
            source: source.into(),
        };
        let runner = self.runner.as_ref().ok_or_else(|| fault(HelperError::NotRun))?;
        let secret = runner.get(helper, &Self::server(registry)).map_err(fault)?;
        let source = || format!("the helper `docker-credential-{helper}` (`{}`)", self.path.display());
        Ok(secret.map(|secret| Credential::of(secret, source())))
    }

    /// The store for all is asked for all; that it isn't there counts where something was left to it.
    fn ask_store(&self, registry: &str, store: &str) -> Result<Option<Credential>, CredentialsError> {
        match self.ask(registry, store) {
            Err(CredentialsError::Helper { source, .. })
                if matches!(*source, HelperError::Absent { .. } | HelperError::NotRun)
                    && !self.entries.contains_key(registry) =>
            {
                Ok(None)
            }
            result => result,
        }
    }
}

impl Credentials for DockerConfig {
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError> {
        let full = format!("{}/{}", normalise(repository.registry()), repository.path());
        let scopes = || std::iter::successors(Some(full.as_str()), |scope| Some(scope.rsplit_once('/')?.0));
        let mut entries = scopes().filter_map(|scope| Some((scope, self.entries.get(scope)?.clone()?)));
        let registry = full.split('/').next().unwrap_or_default();
        let entry = entries.next();
        if let Some((_, credential)) = entry.as_ref().filter(|(scope, _)| *scope != registry) {
            return Ok(Some(credential.clone()));
        }
        let named = self.helpers.get(registry);
        if let Some(helper) = named.filter(|helper| !helper.is_empty())
            && let Some(credential) = self.ask(registry, helper)?
        {
            return Ok(Some(credential));
        }
        match (entry, &self.store) {
            (Some((_, credential)), _) => Ok(Some(credential)),
            (None, Some(store)) if named.is_none() => self.ask_store(registry, store),
            _ => Ok(None),
        }
    }
}

impl Entry {
    fn credential(self, source: String) -> Result<Option<Credential>, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.registrytoken) {
            return Ok(Some(Credential::bearer(token, source)));
        }
        if let Some(token) = given(self.identitytoken) {
            return Ok(Some(Credential::identity_token(token, source)));
        }
        if let Some(auth) = given(self.auth) {
            let (username, password) = decode(&auth)?;
            return Ok(Some(Credential::password(username, password, source)));
        }
        match (given(self.username), given(self.password)) {
            (Some(username), Some(password)) => Ok(Some(Credential::password(username, password, source))),
            (None, None) => Ok(None),
            _ => Err("`username` and `password` belong together".to_owned()),
        }
    }
}

fn decode(auth: &str) -> Result<(String, String), String> {
    let bytes = BASE64.decode(auth.trim()).map_err(|_| "`auth` is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` holds something that is not text")?;
    let (username, password) = text.split_once(':').ok_or("`auth` holds no `name:password`")?;
    // Some versions of Docker pad with zero bytes.
    Ok((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Brings all spellings of a registry to the one that references have.
pub(super) fn normalise(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = ["/v1", "/v2"].iter().find_map(|version| key.strip_suffix(version)).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = match host.to_ascii_lowercase() {
        host if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") => {
            DEFAULT_REGISTRY.to_owned()
        }
        host => host,
    };
    path.map_or(host.clone(), |path| format!("{host}/{path}"))
}

/// Says what the parser found without the values it may quote, which may be secrets.
fn without_values(error: &serde_json::Error) -> String {
    if error.is_data() {
        return "a value of the wrong type".to_owned();
    }
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn line_of(text: &str, key: &str) -> usize {
    let at = text.find(&format!("\"{key}\"")).unwrap_or_default();
    text[..at].matches('\n').count() + 1
}

/// Shows where credentials come from, and none of them.
impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::credentials::Secret;

    fn parse(text: &str) -> Result<DockerConfig, CredentialsError> {
        DockerConfig::parse(text, Path::new("config.json"))
    }

    fn found(config: &DockerConfig, reference: &str) -> Option<String> {
        let reference: crate::reference::Reference = reference.parse().unwrap();
        config.lookup(reference.repository()).unwrap().map(|credential| match credential.secret {
            Secret::Password { username, password } => format!("{username}:{password}"),
            Secret::IdentityToken(token) | Secret::Bearer(token) => token,
        })
    }

    fn auth(text: &str) -> String {
        BASE64.encode(text)
    }

    #[test]
    fn entries_are_found_by_any_spelling() {
        let text = format!(
            r#"{{"auths": {{
                "https://index.docker.io/v1/": {{"auth": "{}"}},
                "http://R.io:5000/v2/": {{"username": "b", "password": "2"}},
                "s.io": {{"auth": "{}", "identitytoken": "t"}},
                "t.io": {{"auth": "{}"}},
                "u.io": {{"registrytoken": "bearer"}}
            }}, "HttpHeaders": {{"X": "y"}}}}"#,
            auth("a:1:2"),
            auth("<token>:"),
            auth("c:3").trim_end_matches('='),
        );
        let config = parse(&text).unwrap();
        assert_eq!(found(&config, "alpine").as_deref(), Some("a:1:2"));
        assert_eq!(found(&config, "r.io:5000/a").as_deref(), Some("b:2"));
        assert_eq!(found(&config, "s.io/a/b").as_deref(), Some("t"));
        assert_eq!(found(&config, "t.io/a").as_deref(), Some("c:3"));
        assert_eq!(found(&config, "u.io/a").as_deref(), Some("bearer"));
        assert_eq!(found(&config, "r.io/a"), None);
    }

    #[test]
    fn the_longest_path_wins() {
        let entry = |name: &str| format!(r#"{{"auth": "{}"}}"#, auth(&format!("{name}:")));
        let text = format!(
            r#"{{"auths": {{"r.io": {}, "r.io/team": {}, "r.io/team/app": {}, "r.io/none": {{}}}}}}"#,
            entry("host"),
            entry("team"),
            entry("app"),
        );
        let config = parse(&text).unwrap();
        for (reference, expected) in [
            ("r.io/team/app", "app:"),
            ("r.io/team/app2", "team:"),
            ("r.io/teams", "host:"),
            ("r.io/none", "host:"),
        ] {
            assert_eq!(found(&config, reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn a_malformed_file_is_an_error_with_its_line() {
        let cases = [
            ("{\n\"auths\": {\n", "line 3"),
            ("{\n\"auths\": {\"r.io\": 3}}", "line 2: a value of the wrong type"),
            ("{\n\"auths\": {\n\"r.io\": {\"auth\": \"%\"}}}", "line 3: `auth` is not base64"),
            ("{\"auths\": {\"r.io\": {\"auth\": \"YQ==\"}}}", "line 1: `auth` holds no"),
            ("{\"auths\": {\"r.io\": {\"username\": \"hidden\"}}}", "belong together"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("`config.json`") && error.contains(expected), "{error}");
            assert!(!error.contains("hidden"));
        }
    }

    #[test]
    fn helpers_are_named_where_they_would_be_needed() {
        let text = format!(
            r#"{{"auths": {{"r.io": {{"auth": "{}"}}, "s.io": {{}}, "t.io/team": {{"auth": "{}"}}}},
                "credHelpers": {{"https://t.io": "two", "v.io": ""}}, "credsStore": "three"}}"#,
            auth("a:1"),
            auth("b:2"),
        );
        let config = parse(&text).unwrap();
        let fails = |reference: &str| {
            let reference: crate::reference::Reference = reference.parse().unwrap();
            config.lookup(reference.repository()).unwrap_err().to_string()
        };
        assert_eq!(found(&config, "r.io/a").as_deref(), Some("a:1"));
        assert_eq!(found(&config, "t.io/team/a").as_deref(), Some("b:2"));
        assert_eq!(found(&config, "u.io/a"), None);
        assert_eq!(found(&config, "v.io/a"), None);
        assert!(fails("s.io/a").contains("`docker-credential-three`"));
        assert!(fails("t.io/a").contains("`docker-credential-two`"));
        let helpers = ["r.io", "t.io", "v.io", "index.docker.io"].map(|registry| config.helper(registry));
        assert_eq!(helpers, [Some("three"), Some("two"), None, Some("three")]);
    }

    #[test]
    fn nothing_shows_a_secret() {
        let text = format!(r#"{{"auths": {{"r.io": {{"auth": "{}"}}}}}}"#, auth("user:hidden"));
        let config = parse(&text).unwrap();
        let reference: crate::reference::Reference = "r.io/a".parse().unwrap();
        let credential = config.lookup(reference.repository()).unwrap().unwrap();
        for shown in [format!("{config:?}"), format!("{credential:?}")] {
            assert!(shown.contains("config.json") && !shown.contains("hidden"), "{shown}");
        }
    }
}
