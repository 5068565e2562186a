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

/// The cache directory: the flag's, else `OCIBUILD_CACHE_DIR`, else the user's.
///
/// # Errors
/// [`Failure::Usage`] if none is named anywhere.
pub(crate) fn cache_directory(flag: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let own = || variable("OCIBUILD_CACHE_DIR").map(PathBuf::from);
    // Relative ones are to be ignored by the XDG specification.
    let xdg = || variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || xdg().or_else(|| Some(home()?.join(".cache"))).map(|path| path.join("ocibuild"));
    flag.or_else(own).or_else(user).ok_or_else(|| {
        Failure::usage("there is no place for the cache: neither `HOME` nor `XDG_CACHE_HOME` is set")
            .with_hint("name one: `--cache-dir DIR`, or `OCIBUILD_CACHE_DIR`")
    })
}

/// The number of threads: the flag's, else `OCIBUILD_THREADS`, else 0, which is one a processor.
///
/// # Errors
/// [`Failure::Usage`] if the variable is no number.
pub(crate) fn threads(flag: Option<usize>) -> Result<usize, Failure> {
    match (flag, variable("OCIBUILD_THREADS")) {
        (Some(threads), _) => Ok(threads),
        (None, None) => Ok(0),
        (None, Some(value)) => value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Failure::usage(format!("`OCIBUILD_THREADS` is `{}`, which is no number", value.display()))
                .with_hint("set it to a number of threads, or unset it")
        }),
    }
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

/// Whether output may be coloured, as far as the environment says
/// ([no-color.org](https://no-color.org)).
pub(crate) fn allows_colour() -> bool {
    variable("NO_COLOR").is_none() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
