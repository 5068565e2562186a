//! What the environment says, read in this one place.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// A variable's value; an empty one is as good as none.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
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

/// Where docker keeps its configuration file.
pub(crate) fn docker_config() -> Option<PathBuf> {
    let own = variable("DOCKER_CONFIG").map(PathBuf::from);
    Some(own.or_else(|| Some(home()?.join(".docker")))?.join("config.json"))
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
