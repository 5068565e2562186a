//! Where credentials are looked for: variables first, then files, as docs/auth.md says.
//!
//! A file is read when a registry asks for credentials that nothing before it has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ocibuild_core::Cancel;
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{
    Credential, Credentials, CredentialsError, DockerConfig, Helpers, ScopedCredential,
};

use crate::environment;
use crate::failure::Failure;

/// All places that credentials are looked for in, in their order.
pub(crate) struct Keychain {
    places: Vec<Arc<dyn Credentials>>,
    helpers: Arc<Helpers>,
}

impl Keychain {
    /// Finds out where to look. `named` are the registries that this run is about: what is in
    /// variables is for them, if it isn't said what it is for.
    ///
    /// # Errors
    /// [`Failure::Usage`] if what is in variables can't be meant, or is for nobody knows whom.
    pub(crate) fn open(named: &[&str], cancel: &Cancel) -> Result<Self, Failure> {
        let helpers = Arc::new(helpers(cancel)?);
        let mut places: Vec<Arc<dyn Credentials>> = Vec::new();
        if let Some(credentials) = of_variables(named)? {
            places.push(Arc::new(credentials));
        }
        let text = environment::text("DOCKER_AUTH_CONFIG")?.map(Text::Given);
        let files = environment::auth_files().into_iter().map(Text::File);
        for text in text.into_iter().chain(files) {
            places.push(Arc::new(Config { text, helpers: Arc::clone(&helpers), read: Mutex::default() }));
        }
        Ok(Self { places, helpers })
    }

    /// Runs the credential helpers that files name.
    pub(crate) fn helpers(&self) -> &Arc<Helpers> {
        &self.helpers
    }
}

impl Credentials for Keychain {
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError> {
        self.places.lookup(repository)
    }
}

fn helpers(cancel: &Cancel) -> Result<Helpers, Failure> {
    let time_out = match environment::text("OCIBUILD_HELPER_TIMEOUT")? {
        None => Helpers::TIME_OUT,
        Some(text) => {
            let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
            let seconds = seconds.ok_or_else(|| {
                Failure::usage(format!(
                    "`OCIBUILD_HELPER_TIMEOUT` is `{text}`, which is no number of seconds"
                ))
            });
            Duration::from_secs(seconds?)
        }
    };
    Ok(Helpers::new(environment::program_directories(), time_out, cancel.clone()))
}

const REGISTRY: &str = "OCIBUILD_REGISTRY";
const USERNAME: &str = "OCIBUILD_REGISTRY_USERNAME";
const PASSWORD: &str = "OCIBUILD_REGISTRY_PASSWORD";
const TOKEN: &str = "OCIBUILD_REGISTRY_TOKEN";

/// What is in our own variables goes to the registry that was meant, and to no other.
fn of_variables(named: &[&str]) -> Result<Option<ScopedCredential>, Failure> {
    let variable = environment::text;
    let credential = match (variable(USERNAME)?, variable(PASSWORD)?, variable(TOKEN)?) {
        (None, None, None) => return Ok(None),
        (None, None, Some(token)) => Credential::bearer(token, format!("`{TOKEN}`")),
        (Some(user), Some(password), None) => {
            Credential::password(user, password, format!("`{USERNAME}` and `{PASSWORD}`"))
        }
        (_, _, Some(_)) => {
            let failure =
                Failure::usage(format!("`{TOKEN}` and `{USERNAME}` or `{PASSWORD}` can't both be meant"));
            return Err(failure.with_hint("unset the token, or the other two"));
        }
        (user, _, None) => {
            let (is, missing) = if user.is_some() { (USERNAME, PASSWORD) } else { (PASSWORD, USERNAME) };
            return Err(Failure::usage(format!("`{is}` is set, and `{missing}` isn't")));
        }
    };
    let mut named = named.to_vec();
    named.sort_unstable();
    named.dedup();
    if let Some(registry) = variable(REGISTRY)? {
        return Ok(Some(ScopedCredential::new(&registry, credential)));
    }
    match named[..] {
        // Nobody is meant to have it.
        [] => Ok(None),
        [registry] => Ok(Some(ScopedCredential::new(registry, credential))),
        _ => {
            let registries = named.join("`, `");
            let failure = Failure::usage(format!(
                "the credentials of {} may be for `{registries}`",
                credential.source()
            ));
            Err(failure
                .with_hint(format!("say which registry they are for: `{REGISTRY}=HOST[:PORT][/PATH]`")))
        }
    }
}

enum Text {
    /// That of a variable.
    Given(String),
    File(PathBuf),
}

/// A text of docker's form, read when it is needed.
struct Config {
    text: Text,
    helpers: Arc<Helpers>,
    /// `None` is not yet; nothing in it is that there is no such file.
    read: Mutex<Option<Option<Arc<DockerConfig>>>>,
}

impl Config {
    fn get(&self) -> Result<Option<Arc<DockerConfig>>, CredentialsError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*read {
            return Ok(config.clone());
        }
        let config = match &self.text {
            Text::Given(text) => Some(DockerConfig::parse(text, Path::new("DOCKER_AUTH_CONFIG"))?),
            Text::File(path) => match read_file(path)? {
                Some(text) => Some(DockerConfig::parse(&text, path)?),
                None => None,
            },
        };
        let config = config.map(|config| Arc::new(config.with_helpers(Arc::clone(&self.helpers))));
        Ok(read.insert(config).clone())
    }
}

impl Credentials for Config {
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError> {
        match self.get()? {
            Some(config) => config.lookup(repository),
            None => Ok(None),
        }
    }
}

/// Reads a file of credentials; `None` if there is none. An empty one is as good as none.
///
/// # Errors
/// [`CredentialsError::File`] if it can't be read.
pub(crate) fn read_file(path: &Path) -> Result<Option<String>, CredentialsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(CredentialsError::File { path: path.to_owned(), source }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
