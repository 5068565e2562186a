//! What the environment says, read in this one place.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use ocibuild_core::registry::{Proxies, Proxy};

use crate::failure::Failure;

/// A variable's value; an empty one is as good as none.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable's value as it is, for commands of steps: to them, an empty one is one.
pub(crate) fn of_steps(name: &str) -> Option<OsString> {
    // A name that no variable can have would panic.
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    if is_name { env::var_os(name) } else { None }
}

fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// Tells whether this is a run of GitHub Actions.
pub(crate) fn is_github() -> bool {
    variable("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Tells whether this is a job of GitLab's.
pub(crate) fn is_gitlab() -> bool {
    variable("GITLAB_CI").is_some()
}

/// The user's cache directory, as far as the environment says where that is.
pub(crate) fn user_cache() -> Option<PathBuf> {
    // Relative ones are to be ignored by the XDG specification.
    let xdg = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = xdg.or_else(|| Some(home()?.join(".cache")))?;
    Some(cache.join("ocibuild"))
}

/// Where temporary files go.
pub(crate) fn temporary() -> PathBuf {
    env::temp_dir()
}

/// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// When images are said to be made: `SOURCE_DATE_EPOCH`, in seconds since 1970.
///
/// # Errors
/// [`Failure::Usage`] if it is no such number.
pub(crate) fn source_date_epoch() -> Result<Option<u64>, Failure> {
    let Some(value) = variable("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    match seconds.filter(|seconds| *seconds <= LAST_SECOND) {
        Some(seconds) => Ok(Some(seconds)),
        None => {
            let message = format!("`SOURCE_DATE_EPOCH` is `{}`, which is no time", value.display());
            let hint =
                "set it to whole seconds since 1970, such as `git log -1 --pretty=%ct` prints, or unset it";
            Err(Failure::usage(message).with_hint(hint))
        }
    }
}

/// A variable's value as text; an empty one is as good as none.
///
/// # Errors
/// [`Failure::Usage`] if it isn't text. The value isn't told: it may be a secret.
pub(crate) fn text(name: &str) -> Result<Option<String>, Failure> {
    let value = variable(name).map(OsString::into_string).transpose();
    value.map_err(|_| Failure::usage(format!("`{name}` is not UTF-8")))
}

/// The values of those variables that have one.
///
/// # Errors
/// As for [`text`].
#[cfg(feature = "object-stores")]
pub(crate) fn texts(names: &[&str]) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    let value = |name: &&str| Ok(text(name)?.map(|value| ((*name).to_owned(), value)));
    names.iter().map(value).filter_map(Result::transpose).collect()
}

/// Where docker keeps its configuration file.
fn docker_config() -> Option<PathBuf> {
    let own = variable("DOCKER_CONFIG").map(PathBuf::from);
    Some(own.or_else(|| Some(home()?.join(".docker")))?.join("config.json"))
}

/// Where podman and its kin keep what users configure.
fn containers() -> Option<PathBuf> {
    let xdg = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(xdg.or_else(|| Some(home()?.join(".config")))?.join("containers"))
}

/// The files that credentials are looked for in, in this order; they needn't be there.
pub(crate) fn auth_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    match variable("REGISTRY_AUTH_FILE") {
        Some(file) => files.push(PathBuf::from(file)),
        None => {
            let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
            files.extend(runtime.map(|path| path.join("containers/auth.json")));
            files.extend(containers().map(|path| path.join("auth.json")));
        }
    }
    files.extend(docker_config());
    files
}

/// The file that logins are written to: one of [`auth_files`].
pub(crate) fn login_file() -> Option<PathBuf> {
    variable("REGISTRY_AUTH_FILE").map(PathBuf::from).or_else(docker_config)
}

/// The directories with certificates of single hosts, in this order; they needn't be there.
pub(crate) fn certificate_directories() -> Vec<PathBuf> {
    let own = containers().map(|path| path.join("certs.d"));
    own.into_iter().chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

/// Where programs are looked for.
pub(crate) fn program_directories() -> Vec<PathBuf> {
    variable("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// The proxies of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, each in capitals or not.
///
/// # Errors
/// [`Failure::Usage`] if one can't be understood; it isn't told what it is, as it may hold a password.
pub(crate) fn proxies() -> Result<Proxies, Failure> {
    let find = |name: &'static str| {
        let lower = name.to_ascii_lowercase();
        [name.to_owned(), lower].into_iter().find(|name| variable(name).is_some())
    };
    let proxy = |name: &'static str| match find(name).or_else(|| find("ALL_PROXY")) {
        None => Ok(None),
        Some(name) => {
            let parsed = text(&name)?.unwrap_or_default().parse::<Proxy>();
            parsed.map(Some).map_err(|error| {
                Failure::usage(format!("`{name}` is {error}"))
                    .with_hint("write it like `http://proxy.example.com:3128`, or unset it")
            })
        }
    };
    let mut proxies = Proxies::new();
    if let Some(http) = proxy("HTTP_PROXY")? {
        proxies = proxies.http(http);
    }
    if let Some(https) = proxy("HTTPS_PROXY")? {
        proxies = proxies.https(https);
    }
    match find("NO_PROXY") {
        Some(name) => Ok(proxies.except(&text(&name)?.unwrap_or_default())),
        None => Ok(proxies),
    }
}

/// Whether there is colour, where the environment says so whatever the stream is:
/// [no-color.org](https://no-color.org) before [bixense.com/clicolors](https://bixense.com/clicolors).
pub(crate) fn colour() -> Option<bool> {
    let says = |name: &str| variable(name);
    decide_colour(says("NO_COLOR"), says("CLICOLOR_FORCE"), says("CLICOLOR"), says("TERM"))
}

fn decide_colour(
    no_color: Option<OsString>,
    force: Option<OsString>,
    clicolor: Option<OsString>,
    term: Option<OsString>,
) -> Option<bool> {
    if no_color.is_some() {
        return Some(false);
    }
    if force.is_some_and(|force| force != "0") {
        return Some(true);
    }
    let is_off = clicolor.is_some_and(|value| value == "0") || term.is_some_and(|term| term == "dumb");
    is_off.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_conventions() {
        let colour = |no_color: &str, force: &str, clicolor: &str, term: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            decide_colour(some(no_color), some(force), some(clicolor), some(term))
        };
        assert_eq!(colour("", "", "", ""), None);
        assert_eq!(colour("", "", "1", "xterm"), None);
        assert_eq!(colour("1", "1", "1", "xterm"), Some(false));
        assert_eq!(colour("", "1", "0", "dumb"), Some(true));
        assert_eq!(colour("", "0", "", "xterm"), None);
        assert_eq!(colour("", "", "0", "xterm"), Some(false));
        assert_eq!(colour("", "", "", "dumb"), Some(false));
    }
}
