//! `ocibuild login`.

use std::io::{Read as _, stdin};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::Cancel;
use ocibuild_core::registry::{Credential, Credentials, CredentialsError, DockerConfig, ScopedCredential};
use serde::Serialize;

use crate::failure::{Failure, Origin};
use crate::keychain::{Keychain, read_file};
use crate::options::Options;
use crate::parse::{self, RegistryScope};
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::{environment, file, prompt, registry};

/// Log in to a registry
///
/// The registry is asked whether it takes the user name and password; then they are kept where docker
/// keeps them: by the credential helper that docker's config file names for the registry, else in that
/// file. The file is `config.json` in `~/.docker`, or where `DOCKER_CONFIG` says; or the one that
/// `REGISTRY_AUTH_FILE` names. Nothing else in it is changed.
///
/// A run looks for credentials in this order: `OCIBUILD_REGISTRY_USERNAME` and `_PASSWORD`, or
/// `OCIBUILD_REGISTRY_TOKEN`, for the registry that `OCIBUILD_REGISTRY` names; `DOCKER_AUTH_CONFIG`;
/// the file `REGISTRY_AUTH_FILE` names, else podman's `auth.json`; docker's `config.json`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoginArgs {
    /// The registry, such as `registry.example.com`; or a path of it that the login is for
    #[arg(value_name = "REGISTRY", value_parser = parse::registry)]
    registry: RegistryScope,

    /// The user name; it is asked for on the terminal otherwise
    #[arg(short, long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    username: Option<String>,

    /// Read the password, or a token in its place, from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild login registry.example.com
  echo \"$PASSWORD\" | ocibuild login registry.example.com -u ci --password-stdin
  ocibuild login registry.example.com/team -u me

Exit codes: 0 logged in; 5 refused; others as in `ocibuild --help`.";

/// The most that is read of a password, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// Logs in.
///
/// # Errors
/// [`Failure`] if the registry doesn't take it, or it can't be kept.
pub(crate) fn run(args: LoginArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let file = LoginFile::open()?;
    let (username, password) = ask(&args)?;
    // Only now: while the terminal is asked, Ctrl-C ends us as it ends anything.
    let cancel = Stop::on_signals()?.cancel();
    let RegistryScope { key, repository, .. } = &args.registry;
    let credential = Credential::password(&username, &password, format!("the user `{username}`"));
    let credentials = Arc::new(ScopedCredential::new(key, credential));
    let registry = registry::open_with(options, reporter, credentials, &cancel)?;
    let checked = registry.repository(repository).check_access();
    checked.map_err(|error| Failure::place(error, Origin::Registry))?;
    let keychain = Keychain::open(&[], &cancel)?;
    let stored = file.log_in(&keychain, &args.registry, &username, &password)?;
    if let Stored::File(path) = &stored {
        reporter.warn_text(&format!(
            "the password is in `{}` as plain text; a credential helper keeps it safer (`credsStore` in that file)",
            path.display()
        ));
    }
    let text = format!("logged in to {key} as {username}");
    reporter.summary(&text, &Summary { registry: key, user: &username, stored: stored.told() });
    shadowed(&keychain, &args.registry, &stored, reporter);
    Ok(())
}

#[derive(Serialize)]
struct Summary<'a> {
    registry: &'a str,
    user: &'a str,
    stored: String,
}

/// Tells of a login that counts before this one.
fn shadowed(keychain: &Keychain, scope: &RegistryScope, stored: &Stored, reporter: &Reporter) {
    let found = keychain.lookup(&scope.repository).ok().flatten();
    let Some(found) = found else { return };
    let own = match stored {
        Stored::File(path) => found.source().starts_with(&format!("`{}`,", path.display())),
        Stored::Helper(helper) => found.source().contains(&format!("`docker-credential-{helper}`")),
    };
    if !own {
        let source = found.source();
        reporter.warn_text(&format!("this login isn't used: the credentials of {source} come before it"));
    }
}

fn ask(args: &LoginArgs) -> Result<(String, String), Failure> {
    if !args.password_stdin && !prompt::is_possible() {
        let failure = Failure::usage("there is no terminal to ask for the password at");
        return Err(failure.with_hint("pass it on standard input: `--username USER --password-stdin`"));
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None => prompt::line("Username")?,
    };
    if username.is_empty() || username.contains([':', '\n']) {
        return Err(Failure::usage("a user name is not empty, and has no `:` in it"));
    }
    let password = if args.password_stdin { password_of_stdin()? } else { prompt::secret("Password")? };
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok((username, password))
}

fn password_of_stdin() -> Result<String, Failure> {
    let mut password = String::new();
    let read = stdin().lock().take(MAX_PASSWORD + 1).read_to_string(&mut password);
    read.map_err(Failure::Terminal)?;
    if password.len() as u64 > MAX_PASSWORD {
        return Err(Failure::usage("what is on standard input is too long to be a password"));
    }
    let line = password.strip_suffix('\n').unwrap_or(&password);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Where a login was put.
pub(super) enum Stored {
    File(PathBuf),
    Helper(String),
}

impl Stored {
    fn told(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Helper(helper) => format!("docker-credential-{helper}"),
        }
    }
}

/// The file that logins are written to.
pub(super) struct LoginFile {
    path: PathBuf,
    text: String,
    config: DockerConfig,
}

impl LoginFile {
    pub(super) fn open() -> Result<Self, Failure> {
        let path = environment::login_file().ok_or_else(|| {
            Failure::usage("there is no place for a login: `HOME` is not set")
                .with_hint("name a directory for it with `DOCKER_CONFIG`")
        })?;
        let text = read_file(&path).map_err(Failure::Credentials)?.unwrap_or_else(|| "{}".to_owned());
        let config = DockerConfig::parse(&text, &path).map_err(Failure::Credentials)?;
        Ok(Self { path, text, config })
    }

    fn log_in(
        self,
        keychain: &Keychain,
        scope: &RegistryScope,
        username: &str,
        password: &str,
    ) -> Result<Stored, Failure> {
        let helper = self.config.helper(&scope.host).map(str::to_owned);
        let Some(helper) = helper else {
            self.write(scope, Some((username, password)))?;
            return Ok(Stored::File(self.path));
        };
        if scope.key != scope.host {
            let failure = Failure::usage(format!(
                "`{}` leaves `{}` to the helper `docker-credential-{helper}`, which knows no paths",
                self.path.display(),
                scope.host
            ));
            return Err(failure
                .with_hint(format!("log in to the registry as a whole: `ocibuild login {}`", scope.host)));
        }
        let stored =
            keychain.helpers().store(&helper, &DockerConfig::server(&scope.host), username, password);
        stored.map_err(|source| self.helper_failed(scope, &helper, source))?;
        self.write(scope, None)?;
        Ok(Stored::Helper(helper))
    }

    /// Forgets a login; false if there was none.
    pub(super) fn log_out(self, keychain: &Keychain, scope: &RegistryScope) -> Result<bool, Failure> {
        let helper = self.config.helper(&scope.host).filter(|_| scope.key == scope.host);
        let erased = match helper {
            Some(helper) => keychain
                .helpers()
                .erase(helper, &DockerConfig::server(&scope.host))
                .map_err(|source| self.helper_failed(scope, helper, source))?,
            None => false,
        };
        let text = DockerConfig::without_login(&self.text, &self.path, &scope.key);
        match text.map_err(Failure::Credentials)? {
            Some(text) => self.replace(&text).map(|()| true),
            None => Ok(erased),
        }
    }

    fn helper_failed(
        &self,
        scope: &RegistryScope,
        helper: &str,
        source: ocibuild_core::registry::HelperError,
    ) -> Failure {
        Failure::Credentials(CredentialsError::Helper {
            path: self.path.clone(),
            registry: scope.host.clone(),
            helper: helper.to_owned(),
            source: source.into(),
        })
    }

    fn write(&self, scope: &RegistryScope, login: Option<(&str, &str)>) -> Result<(), Failure> {
        let text = DockerConfig::with_login(&self.text, &self.path, &scope.key, login);
        self.replace(&text.map_err(Failure::Credentials)?)
    }

    fn replace(&self, text: &str) -> Result<(), Failure> {
        file::write_private(&self.path, text.as_bytes())
            .map_err(|source| Failure::Login { path: self.path.clone(), source })
    }
}

/// Looks for what is known of a registry without asking it.
pub(super) fn known(scope: &RegistryScope) -> Option<Credential> {
    Keychain::open(&[], &Cancel::new()).ok()?.lookup(&scope.repository).ok().flatten()
}
