//! The grammar of strings in a spec.
//!
//! Strings without names in braces are checked when the spec is read. Those with names can be
//! checked only when they are expanded for a platform: by the plan, with these same functions.

mod path;
mod step;

pub use path::{destination, image_directory, layout, manifest, pattern, removal, root, source};
pub(crate) use step::plain;
pub use step::{cache_directory, input, output, secret_file, step_directory, step_variable, tool};

use std::time::Duration;

use super::suggest::closest;
use super::value::id;
use super::{CacheMode, CachePlace, ValueError, has_credentials};
use crate::digest::Digest;
use crate::oci::{Compression, Platform, annotation, is_time};
use crate::reference::Reference;

/// The longest name of a layer or image, in bytes.
const MAX_NAME: usize = 128;

/// Checks the name of a layer or an image: ASCII letters and digits, `.`, `_` and `-` after the
/// first, at most 128.
pub fn name(text: &str) -> Result<(), ValueError> {
    named(text, "._-")
}

/// Checks the name of a spec: like [`name`], and `/` between parts.
pub fn spec_name(text: &str) -> Result<(), ValueError> {
    named(text, "._-/")
}

fn named(text: &str, marks: &str) -> Result<(), ValueError> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all = text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c));
    if begins && all && text.len() <= MAX_NAME {
        return Ok(());
    }
    let marks: Vec<String> = marks.chars().map(|mark| format!("`{mark}`")).collect();
    Err(ValueError::new(format!("`{text}` is not a name")).hint(format!(
        "use letters and digits, after the first also {}, at most {MAX_NAME}",
        marks.join(", ")
    )))
}

/// Checks the name of a variable: an ASCII letter or `_`, then also digits and `-`.
pub fn var_name(text: &str) -> Result<(), ValueError> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Ok(());
    }
    Err(ValueError::new(format!("`{text}` is not a variable's name"))
        .hint("begin with a letter, and use letters, digits, `_` and `-`"))
}

/// Checks the name of an environment variable: not empty, without `=`.
pub fn env_name(text: &str) -> Result<(), ValueError> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err(ValueError::new(format!(
            "`{}` is not the name of an environment variable",
            text.escape_debug()
        )));
    }
    Ok(())
}

/// Checks the key of a label or an annotation: not empty, without control characters.
pub fn label_key(text: &str) -> Result<(), ValueError> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(ValueError::new(format!("`{}` is not a key", text.escape_debug())));
    }
    Ok(())
}

/// Checks the value of an annotation, where the specification says what it is.
pub fn annotation(key: &str, value: &str) -> Result<(), ValueError> {
    let fits = match key {
        annotation::CREATED => is_time(value),
        annotation::BASE_DIGEST => value.parse::<Digest>().is_ok(),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let message = format!("`{}` is not what `{key}` holds", value.escape_debug());
    Err(ValueError::new(message).hint(match key {
        annotation::CREATED => "write a time as RFC 3339 has it: \"2026-01-31T12:00:00Z\"",
        _ => "write a digest: \"sha256:…\", with 64 hexadecimal digits",
    }))
}

/// Checks text that reaches a process as a C string: an argument, an environment variable's
/// value.
pub fn c_string(text: &str) -> Result<(), ValueError> {
    if text.contains('\0') {
        return Err(ValueError::new("a NUL character can't be passed to a program"));
    }
    Ok(())
}

/// Checks the user of a container: `USER`, `UID`, `USER:GROUP` or `UID:GID`, or a mixture.
pub fn user(text: &str) -> Result<(), ValueError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    if is_account(user) && group.is_none_or(is_account) {
        return Ok(());
    }
    Err(ValueError::new(format!("`{}` is not a user", text.escape_debug()))
        .hint("write \"USER\", \"UID\", \"USER:GROUP\" or \"UID:GID\", such as \"65532:65532\""))
}

fn is_account(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return id(text).is_some();
    }
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != ':' && c != '/';
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

const SIGNALS: [&str; 31] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
];

/// Checks a signal: its name (`SIGTERM`), a real-time one (`SIGRTMIN+3`), or a number from 1 to 64.
pub fn stop_signal(text: &str) -> Result<(), ValueError> {
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| !text.starts_with('+'));
    let offset = |rest: &str| number(rest).is_some_and(|n| n <= 30);
    let real_time = text.strip_prefix("SIGRTMIN+").or_else(|| text.strip_prefix("SIGRTMAX-"));
    let is_number = number(text).is_some_and(|n| (1..=64).contains(&n));
    if SIGNALS.contains(&text) || is_number || real_time.is_some_and(offset) {
        return Ok(());
    }
    let error = ValueError::new(format!("`{text}` is not a signal"));
    let full = format!("SIG{}", text.to_ascii_uppercase());
    if SIGNALS.contains(&full.as_str()) {
        return Err(error.hint(format!("write \"{full}\"")));
    }
    Err(match closest(text, SIGNALS) {
        Some(known) => error.hint(format!("did you mean `{known}`?")),
        None => error.hint("write a name or a number, such as \"SIGTERM\""),
    })
}

/// Checks the time a container has to stop in: whole seconds, as configs hold it.
pub fn stop_timeout(time: Duration) -> Result<(), ValueError> {
    if time.subsec_nanos() == 0 {
        return Ok(());
    }
    let seconds = time.as_secs() + 1;
    Err(ValueError::new("`stop-timeout` is whole seconds").hint(format!("write \"{seconds}s\"")))
}

/// Instructions of a Dockerfile that docker takes as triggers.
const INSTRUCTIONS: [&str; 15] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Checks a trigger for docker's builder: an instruction of a Dockerfile with its arguments, but
/// none of `ONBUILD`, `FROM` and `MAINTAINER`, which docker refuses there.
pub fn trigger(text: &str) -> Result<(), ValueError> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let upper = word.to_ascii_uppercase();
    let shown = word.escape_debug();
    if INSTRUCTIONS.contains(&upper.as_str()) {
        return match rest.trim() {
            "" => Err(ValueError::new(format!("the trigger `{shown}` has nothing after it"))),
            _ => Ok(()),
        };
    }
    Err(match upper.as_str() {
        "" => ValueError::new("the trigger doesn't begin with an instruction"),
        "ONBUILD" => ValueError::new("a trigger can't set another with `ONBUILD`")
            .hint(format!("write {:?}", rest.trim_start())),
        "FROM" | "MAINTAINER" => ValueError::new(format!("docker doesn't take `{upper}` in a trigger")),
        _ => {
            let error = ValueError::new(format!("`{shown}` is not an instruction of a Dockerfile"));
            return Err(match closest(&upper, INSTRUCTIONS) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error.hint("begin with an instruction, such as \"RUN make\""),
            });
        }
    })
}

/// Checks the test of a healthcheck: `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
pub fn health_test(test: &[String]) -> Result<(), ValueError> {
    let hint = "write [\"CMD\", \"program\", \"argument\"], [\"CMD-SHELL\", \"command\"] or [\"NONE\"]";
    let kind = test.first().map_or("", String::as_str);
    let message = match (kind, test.len()) {
        ("CMD", 2..) | ("CMD-SHELL", 2) | ("NONE", 1) => return Ok(()),
        ("", _) => "the test is empty".to_owned(),
        ("CMD" | "CMD-SHELL", 1) => format!("`{kind}` needs a command after it"),
        ("CMD-SHELL", _) => "`CMD-SHELL` takes one string".to_owned(),
        ("NONE", _) => "`NONE` takes nothing after it".to_owned(),
        _ => format!("the test begins with `{kind}`"),
    };
    Err(ValueError::new(message).hint(hint))
}

/// Other names of architectures, which compilers and `uname` use.
const ALIASES: [(&str, &str); 9] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("x64", "amd64"),
    ("aarch64", "arm64"),
    ("armv7", "arm/v7"),
    ("armv7l", "arm/v7"),
    ("armv6l", "arm/v6"),
    ("i386", "386"),
    ("i686", "386"),
];

/// Parses a platform: `os/arch` or `os/arch/variant`, in Go's words.
pub fn platform(text: &str) -> Result<Platform, ValueError> {
    let architecture = text.split('/').nth(1).unwrap_or(text);
    if let Some((_, name)) = ALIASES.iter().find(|(alias, _)| *alias == architecture) {
        let os = text.split_once('/').map_or("linux", |(os, _)| os);
        return Err(ValueError::new(format!("`{architecture}` is not an architecture's name in images"))
            .hint(format!("write \"{os}/{name}\"")));
    }
    text.parse().map_err(|_| {
        ValueError::new(format!("`{}` is not a platform", text.escape_debug()))
            .hint("write \"os/arch\" or \"os/arch/variant\", such as \"linux/amd64\" or \"linux/arm/v7\"")
    })
}

/// Parses a compression: `gzip`, `gzip:N`, `zstd`, `zstd:N` or `none`.
pub fn compression(text: &str) -> Result<Compression, ValueError> {
    text.parse().map_err(|_| {
        let error = match text.split_once(':').unwrap_or((text, "")) {
            (name @ ("gzip" | "zstd"), level) => {
                ValueError::new(format!("{name} has no level `{}`", level.escape_debug()))
            }
            _ => ValueError::new(format!("`{}` is not a compression", text.escape_debug())),
        };
        error.hint(
            "write \"gzip\", \"gzip:1\" to \"gzip:9\", \"zstd\", \"zstd:1\" to \"zstd:19\", or \"none\"",
        )
    })
}

/// Parses the reference of a base: `[registry/]repository[:tag][@digest]`; without tag and digest it
/// is the tag `latest`.
pub fn base(text: &str) -> Result<Reference, ValueError> {
    let bad = |what: &str| ValueError::new(format!("the base `{}` {what}", text.escape_debug()));
    if let Some((_, rest)) = text.split_once("://") {
        return Err(bad("begins with a scheme").hint(format!("write \"{rest}\"")));
    }
    let builtin = text.split_once('@').is_some_and(|(_, version)| version.parse::<u32>().is_ok());
    if builtin {
        return Err(ValueError::new(format!("`{}` is not a base by its name alone", text.escape_debug()))
            .hint(format!("write {{ builtin = \"{text}\" }}")));
    }
    if text.starts_with(['.', '/']) {
        return Err(ValueError::new(format!(
            "`{}` is a path, but a base by name was expected",
            text.escape_debug()
        ))
        .hint(format!("write {{ layout = \"{text}\" }}")));
    }
    let reference = text.parse::<Reference>().map_err(|error| {
        ValueError::new(error.to_string()).hint(
            "a base is an image in a registry, such as \"registry.example.com/node:22\", \"scratch\", \
             { builtin = \"static@1\" } or { layout = \"DIR\" }",
        )
    })?;
    Ok(reference.or_latest())
}

/// Parses a reference to tag an image with: `[registry/]repository[:tag]`, without a digest.
pub fn tag(text: &str) -> Result<Reference, ValueError> {
    let bad = |what: &str| ValueError::new(format!("the tag `{}` {what}", text.escape_debug()));
    if let Some((_, rest)) = text.split_once("://") {
        return Err(bad("begins with a scheme").hint(format!("write \"{rest}\"")));
    }
    if let Some((name, _)) = text.split_once('@') {
        return Err(bad("has a digest, which the build makes").hint(format!("write \"{name}\"")));
    }
    let name = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => text,
    };
    let lower = format!("{}{}", name.to_ascii_lowercase(), &text[name.len()..]);
    text.parse::<Reference>().map_err(|error| {
        let other = ValueError::new(error.to_string());
        match lower.parse::<Reference>() {
            Ok(_) => other.hint(format!("write \"{lower}\"")),
            Err(_) => {
                other.hint("write \"registry/repository:tag\", such as \"registry.example.com/team/app:1\"")
            }
        }
    })
}

/// Parses a place that answers for layers, or is told of them: `[registry/]repository[:tag]`, without
/// a tag `latest`; or something else that begins with a scheme: `redis://host/prefix`.
///
/// What has [credentials in it](has_credentials) is taken as it is, however odd: a fault would show it.
/// It is refused where it would be opened.
pub fn cache_place(text: &str) -> Result<CachePlace, ValueError> {
    let is_digest = |text: &str| text.starts_with("sha256:") || text.starts_with("sha512:");
    let has_digest = !text.contains("://") && text.split_once('@').is_some_and(|(_, rest)| is_digest(rest));
    if has_credentials(text) && !has_digest {
        return Ok(CachePlace::Store(text.to_owned()));
    }
    let Some((scheme, rest)) = text.split_once("://") else { return cache_image(text) };
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '.' | '-');
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.chars().all(is_known);
    if !is_scheme || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("`{}` is not the address of a cache", text.escape_debug());
        return Err(ValueError::new(message).hint("write \"SCHEME://…\", such as \"redis://host/prefix\""));
    }
    if matches!(scheme, "http" | "https" | "docker" | "oci") {
        let message = format!("`{}` is no kind of cache", scheme);
        return Err(ValueError::new(message).hint(format!("for a registry leave it out: \"{rest}\"")));
    }
    Ok(CachePlace::Store(text.to_owned()))
}

/// Parses how much a cache is given: `min` or `max`.
pub fn cache_mode(text: &str) -> Result<CacheMode, ValueError> {
    match text {
        "min" => Ok(CacheMode::Min),
        "max" => Ok(CacheMode::Max),
        _ => {
            let message = format!("`{}` is not a mode of a cache", text.escape_debug());
            Err(ValueError::new(message)
                .hint("write \"min\", for records alone, or \"max\", for the layers' blobs as well"))
        }
    }
}

fn cache_image(text: &str) -> Result<CachePlace, ValueError> {
    if let Some((name, _)) = text.split_once('@') {
        let message = format!("the cache `{}` has a digest", text.escape_debug());
        return Err(ValueError::new(message)
            .hint(format!("write \"{name}\": a cache is whatever the tag means at the time")));
    }
    Ok(tag(text)?.or_latest().into())
}

const UNITS: [(&str, u64); 5] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)];
const HOUR: u64 = 3_600_000_000_000;

/// Parses a duration such as `30s`, `1m30s`, `500ms`, `2h`: whole numbers with units, without
/// spaces. The result is at most what an image's config can hold: `i64::MAX` nanoseconds.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let mut rest = text;
    let mut sum = Some(0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = UNITS.into_iter().chain([("h", HOUR)]).find(|(name, _)| *name == unit);
        let part = scale.and_then(|(_, scale)| number.parse::<u64>().ok()?.checked_mul(scale));
        sum = sum.zip(part).and_then(|(sum, part)| sum.checked_add(part));
        rest = tail;
    }
    let sum = sum.filter(|nanos| !text.is_empty() && i64::try_from(*nanos).is_ok());
    sum.map(Duration::from_nanos).ok_or_else(|| {
        ValueError::new(format!("`{text}` is not a duration"))
            .hint("write a number with a unit, such as \"30s\", \"1m30s\" or \"500ms\"")
    })
}
