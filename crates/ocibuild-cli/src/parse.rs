//! Flags' values, parsed: by the rules of the spec file, and told in the words of the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use ocibuild_core::oci::{Compression, Platform};
use ocibuild_core::reference::{DEFAULT_REGISTRY, Reference, ReferenceError, Repository};
use ocibuild_core::registry::Mirror;
use ocibuild_core::spec::{
    Annotations, Base, CacheMode, CachePlace, Located, Port, Scope, Template, ValueError, check,
};

/// A message for clap, which puts the flag and its value before it.
fn told(error: ValueError) -> String {
    match error.hint {
        Some(hint) => format!("{}\n  hint: {hint}", error.message),
        None => error.message,
    }
}

/// A registry and a mirror of it: `HOST=MIRROR`.
pub(crate) fn mirror(text: &str) -> Result<Mirror, String> {
    let (registry, place) = text.split_once('=').ok_or_else(|| {
        "there is no `=`\n  hint: write `HOST=MIRROR`, such as `docker.io=mirror.example.com`".to_owned()
    })?;
    Mirror::new(registry, place).map_err(|error| error.to_string())
}

/// A registry, or what lies under a path of it, in whatever spelling: `registry.example.com/team`.
pub(crate) fn registry(text: &str) -> Result<RegistryScope, String> {
    let key = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let key = key.trim_end_matches('/');
    let key = ["/v1", "/v2"].iter().find_map(|version| key.strip_suffix(version)).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = match host.to_ascii_lowercase() {
        host if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") => {
            DEFAULT_REGISTRY.into()
        }
        host => host,
    };
    let key = path.map_or_else(|| host.clone(), |path| format!("{host}/{path}"));
    let hint = "name a registry, such as `registry.example.com`, `localhost:5000` or `docker.io`";
    // Any repository there will do.
    let reference: Reference =
        format!("{host}/{}", path.map_or("any/any".to_owned(), |path| format!("{path}/any")))
            .parse()
            .map_err(|error: ReferenceError| format!("{}\n  hint: {hint}", error.reason))?;
    if reference.repository().registry() != host || reference.tag().is_some() || reference.digest().is_some()
    {
        return Err(format!("it is not a registry's name\n  hint: {hint}"));
    }
    Ok(RegistryScope { key, host, repository: reference.repository().clone() })
}

/// What a login is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryScope {
    /// As the user named it, tidied.
    pub(crate) key: String,
    /// The registry alone.
    pub(crate) host: String,
    /// A repository that lies there, whether or not it exists.
    pub(crate) repository: Repository,
}

/// A source on the host and its destination in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Splits `SRC:DST` at the colon before the destination, which begins with a slash; so a source
/// may have colons.
pub(crate) fn copy(text: &str) -> Result<Copy, String> {
    let hint = "write `SRC:DST`, such as `target/release/app:/app`";
    let (from, to) = match text.find(":/") {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => match text.rsplit_once(':') {
            Some((from, to)) => return Err(relative_destination(from, to)),
            None => return Err(format!("there is no destination\n  hint: {hint}")),
        },
    };
    // The colon of a drive, as in `C:/app/dist:/app`.
    if let (1, Some((path, to))) = (from.len(), to.split_once(":/"))
        && from.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let hint = format!("write it relative to the working directory: `{}:/{to}`", &path[1..]);
        return Err(format!("the source `{from}:{path}` is a Windows path\n  hint: {hint}"));
    }
    if from.is_empty() {
        return Err(format!("there is no source\n  hint: {hint}"));
    }
    if from.starts_with('/') {
        let hint = "write it relative to the working directory; nothing outside that is read";
        return Err(format!("the source is an absolute path\n  hint: {hint}"));
    }
    Ok(Copy { from: from.to_owned(), to: to.to_owned() })
}

/// What is wrong with a destination that doesn't begin with a slash, and what was meant by it.
fn relative_destination(from: &str, to: &str) -> String {
    let drive = from.rsplit_once(':').filter(|(_, letter)| {
        letter.len() == 1 && letter.starts_with(|c: char| c.is_ascii_alphabetic()) && to.contains('\\')
    });
    let from = drive.map_or(from, |(from, _)| from);
    let what = if to.contains('\\') {
        "the destination is a Windows path, but images hold Linux paths"
    } else {
        "the destination isn't an absolute path"
    };
    let to = to.replace('\\', "/");
    let to = to.trim_start_matches("./").trim_start_matches('/');
    let from = if from.is_empty() { "SRC" } else { from };
    format!("{what}\n  hint: write `{from}:/{to}`")
}

/// One word of a command, or all of them as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<String>);

/// Parses a word, or an array of them.
pub(crate) fn words(text: &str) -> Result<Words, String> {
    if !text.starts_with('[') {
        return Ok(Words(vec![text.to_owned()]));
    }
    serde_json::from_str(text)
        .map(Words)
        .map_err(|error| format!("what begins with `[` should be an array of strings ({error})"))
}

/// Joins what a flag was given over and over. No flag is not the same as an empty array, which
/// takes the base's words away.
pub(crate) fn join(all: &[Words]) -> Option<Vec<String>> {
    if all.is_empty() { None } else { Some(all.iter().flat_map(|words| words.0.clone()).collect()) }
}

/// Splits `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    split_pair(text, "NAME=VALUE")
}

fn split_pair(text: &str, form: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) => Err(format!("there is nothing before the `=`\n  hint: write `{form}`")),
        None => Err(format!("there is no `=`\n  hint: write `{form}`")),
    }
}

/// Parses a label: `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = split_pair(text, "KEY=VALUE")?;
    check::label_key(&key).map_err(told)?;
    Ok((key, value))
}

/// An annotation and what is to carry it; no scopes are all that carry plain ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    scopes: Vec<Scope>,
    key: String,
    value: String,
}

impl Annotation {
    /// Sets it among an image's, in place of what it had.
    pub(crate) fn set(&self, annotations: &mut Annotations) {
        if self.scopes.is_empty() {
            annotations.set(None, &self.key, &self.value);
        }
        for scope in &self.scopes {
            annotations.set(Some(*scope), &self.key, &self.value);
        }
    }
}

/// Parses `[SCOPE[,SCOPE…]:]KEY=VALUE`. What stands before a colon and is no scope belongs to the
/// key.
pub(crate) fn annotation(text: &str) -> Result<Annotation, String> {
    let (name, value) = split_pair(text, "[SCOPE:]KEY=VALUE")?;
    let (scopes, key) = match name.split_once(':') {
        Some((words, key)) => match scopes(words)? {
            Some(scopes) => (scopes, key.to_owned()),
            None => (Vec::new(), name),
        },
        None => (Vec::new(), name),
    };
    check::label_key(&key).and_then(|()| check::annotation(&key, &value)).map_err(told)?;
    Ok(Annotation { scopes, key, value })
}

fn scopes(words: &str) -> Result<Option<Vec<Scope>>, String> {
    let known: Vec<Option<Scope>> = words.split(',').map(Scope::named).collect();
    if let Some(all) = known.iter().copied().collect() {
        return Ok(Some(all));
    }
    let foreign = |word: &str| word == "index-descriptor" || word.contains('[');
    match words.split(',').find(|word| Scope::named(word).is_none()) {
        Some(word) if foreign(word) || known.iter().any(Option::is_some) => Err(format!(
            "`{word}` is no scope of annotations\n  hint: write `manifest:`, `index:` or `descriptor:` before the key"
        )),
        _ => Ok(None),
    }
}

/// Checks a string as the spec's key of that kind is checked, so that a fault is told with the flag.
fn checked(text: &str, check: fn(&str) -> Result<(), ValueError>) -> Result<String, String> {
    check(text).map(|()| text.to_owned()).map_err(told)
}

/// Parses who a container runs as.
pub(crate) fn user(text: &str) -> Result<String, String> {
    checked(text, check::user)
}

/// Parses a directory of the image.
pub(crate) fn image_directory(text: &str) -> Result<String, String> {
    checked(text, check::image_directory)
}

/// Parses a signal: `SIGTERM`.
pub(crate) fn signal(text: &str) -> Result<String, String> {
    checked(text, check::stop_signal)
}

/// Parses a number of threads; 0 is one a processor.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| {
        format!(
            "`{}` is no number of threads\n  hint: write `4`, or 0 for one a processor",
            text.escape_debug()
        )
    })
}

/// Parses how many steps and layers are made at once.
pub(crate) fn jobs(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| {
        format!("`{}` is no number of jobs\n  hint: write `4`, or 0 for one a processor", text.escape_debug())
    })
}

/// Parses how much is said: how often `-v` is given, or what a variable has.
pub(crate) fn verbosity(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" => Ok(1),
        "n" | "no" | "f" | "false" | "off" => Ok(0),
        number => number.parse().map_err(|_| {
            format!("`{}` is no number\n  hint: write 1 for more, 2 for each request", text.escape_debug())
        }),
    }
}

/// Parses a time: `30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    check::duration(text).map_err(told)
}

/// Parses a time for which something wasn't used: `7d`, `12h`, `2w`, or as in a spec.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    let days = [("d", DAY), ("w", 7 * DAY)].into_iter().find_map(|(unit, scale)| {
        let number = text.strip_suffix(unit).filter(|number| is_number(number))?;
        number.parse::<u64>().ok()?.checked_mul(scale)
    });
    let parsed = days.map(Duration::from_secs).or_else(|| check::duration(text).ok());
    parsed.ok_or_else(|| {
        format!("`{text}` is no duration\n  hint: write a number with a unit, such as `7d`, `12h` or `90m`")
    })
}

/// Parses a size in bytes: `500MB`, `1.5GiB`, `1000`. Letters may be of either case.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 13] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("k", 1_000),
        ("m", 1_000_000),
        ("g", 1_000_000_000),
        ("t", 1_000_000_000_000),
        ("b", 1),
    ];
    // Nothing is nothing in any unit; of any other number nobody means bytes.
    if is_number(text) && text.bytes().any(|digit| digit != b'0') {
        return Err(format!(
            "`{text}` has no unit\n  hint: write `{text}MB` or `{text}GB`; `{text}B` are bytes"
        ));
    }
    if text == "0" {
        return Ok(0);
    }
    let lower = text.to_ascii_lowercase();
    let parsed = UNITS.into_iter().find_map(|(unit, scale)| Some((lower.strip_suffix(unit)?, scale)));
    let size = parsed.and_then(|(number, scale)| scaled(number.trim_end(), scale));
    size.ok_or_else(|| {
        format!(
            "`{text}` is no size\n  hint: write a number with a unit, such as `500MB`, `10GB` or `1.5GiB`"
        )
    })
}

/// A decimal number times a scale, exact but for what is below one.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let tenths = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let value: u128 = whole.parse::<u64>().ok()?.into();
    let part: u128 = part.parse::<u64>().ok()?.into();
    let bytes = (value * tenths + part).checked_mul(scale.into())? / tenths;
    u64::try_from(bytes).ok()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses a base: `scratch`, `static@1`, `oci:DIR`, a reference.
pub(crate) fn base(text: &str) -> Result<Base, String> {
    let layout = |dir: &str| Base::Layout { dir: Located::from(Template::literal(dir)) };
    if text == "scratch" {
        return Ok(Base::Scratch);
    }
    if let Some(dir) = text.strip_prefix("oci:").filter(|dir| !dir.is_empty()) {
        return Ok(layout(dir));
    }
    let builtin = text.split_once('@').and_then(|(name, version)| {
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        Some(Base::Builtin { name: name.to_owned(), version: version.parse().ok().filter(|_| is_name)? })
    });
    if let Some(builtin) = builtin {
        return Ok(builtin);
    }
    if text.starts_with(['.', '/', '~']) {
        return Err(format!("`{text}` is a path\n  hint: a layout in a directory is `oci:{text}`"));
    }
    match check::base(text) {
        Ok(reference) => {
            Ok(Base::Remote { reference: Located::from(Template::literal(reference.to_string())) })
        }
        Err(_) => Err(format!(
            "`{}` is no base\n  hint: name an image, such as `registry.example.com/node:22`, `scratch`, \
             `static@1`, or a layout: `oci:DIR`",
            text.escape_debug()
        )),
    }
}

/// Parses a port: `8080`, `53/udp`.
pub(crate) fn port(text: &str) -> Result<Port, String> {
    text.parse().map_err(told)
}

/// Parses a platform: `linux/amd64`.
pub(crate) fn platform(text: &str) -> Result<Platform, String> {
    check::platform(text).map_err(told)
}

/// Parses a compression: `gzip`, `gzip:N`, `zstd`, `zstd:N`, `none`.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    check::compression(text).map_err(told)
}

/// Parses a tag: a reference without a digest.
pub(crate) fn tag(text: &str) -> Result<Reference, String> {
    check::tag(text).map(Reference::or_latest).map_err(told)
}

/// Parses a place that answers for layers, or is told of them.
pub(crate) fn cache_place(text: &str) -> Result<CachePlace, String> {
    check::cache_place(text).map_err(told)
}

/// Parses how much a cache is given.
pub(crate) fn cache_mode(text: &str) -> Result<CacheMode, String> {
    check::cache_mode(text).map_err(told)
}

/// Where a build goes beside a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// An OCI layout in a directory.
    Layout(PathBuf),
    /// An archive in a file.
    Archive(PathBuf),
    /// An archive on standard output.
    Stdout,
}

impl Output {
    /// The place on disk, if it is there that it goes.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Layout(path) | Self::Archive(path) => Some(path),
            Self::Stdout => None,
        }
    }
}

/// Parses `type=oci,dest=DIR` and `type=oci-archive,dest=FILE`. The destination stands last and
/// may have commas.
pub(crate) fn output(text: &str) -> Result<Output, String> {
    let hint = "write `type=oci,dest=DIR` or `type=oci-archive,dest=FILE`, with `-` for standard output";
    let fault = |what: String| format!("{what}\n  hint: {hint}");
    let (kind, dest) = match text.split_once(",dest=") {
        Some((kind, dest)) => (kind, dest),
        None => return Err(fault("it has no `dest=`".to_owned())),
    };
    let kind = kind.strip_prefix("type=").ok_or_else(|| fault("it has no `type=`".to_owned()))?;
    match (kind, dest) {
        (_, "") => Err(fault("its `dest=` is empty".to_owned())),
        ("oci", "-") => {
            Err(fault("a layout is a directory and can't be written to standard output".to_owned()))
        }
        ("oci", dest) => Ok(Output::Layout(dest.into())),
        ("oci-archive", "-") => Ok(Output::Stdout),
        ("oci-archive", dest) => Ok(Output::Archive(dest.into())),
        (kind, _) => Err(fault(format!("there is no type `{kind}`"))),
    }
}

/// Names a file of results. Any path will do but the one that commonly means standard output.
pub(crate) fn result_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path == Path::new("-") {
            return Err("standard output has the images' references\n  hint: name a file");
        }
        Ok(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_split_before_the_destination() {
        let pair = |text: &str| copy(text).map(|Copy { from, to }| (from, to));
        assert_eq!(pair("a:/b"), Ok(("a".to_owned(), "/b".to_owned())));
        assert_eq!(pair("a:b:/c/"), Ok(("a:b".to_owned(), "/c/".to_owned())));
        assert!(pair("a").unwrap_err().contains("no destination"));
        assert!(pair("a:b").unwrap_err().contains("absolute"));
        assert!(pair(":/b").unwrap_err().contains("no source"));
    }

    #[test]
    fn words_come_singly_or_all_at_once() {
        let all = |texts: &[&str]| join(&texts.iter().map(|text| words(text).unwrap()).collect::<Vec<_>>());
        assert_eq!(all(&["/app", "--port=1"]).unwrap(), ["/app", "--port=1"]);
        assert_eq!(all(&[r#"["/app","x y"]"#]).unwrap(), ["/app", "x y"]);
        assert_eq!(all(&["[]"]).unwrap(), [""; 0]);
        assert_eq!(all(&[]), None);
        assert!(words("[1]").is_err());
    }

    #[test]
    fn annotations_may_name_what_carries_them() {
        let parsed = |text: &str| {
            annotation(text).map(|Annotation { scopes, key, value }| (scopes, format!("{key} is {value}")))
        };
        use Scope::{Descriptor, Index, Manifest};
        let cases: [(&str, &[Scope], &str); 6] = [
            ("a=b", &[], "a is b"),
            ("a=index:b=c", &[], "a is index:b=c"),
            ("org.example:a=b", &[], "org.example:a is b"),
            ("index:a=b", &[Index], "a is b"),
            ("manifest,index:a=b", &[Manifest, Index], "a is b"),
            ("manifest-descriptor:a:b=", &[Descriptor], "a:b is "),
        ];
        for (text, scopes, said) in cases {
            assert_eq!(parsed(text), Ok((scopes.to_vec(), said.to_owned())), "{text}");
        }
        for text in
            ["a", "=b", "index:=b", "index-descriptor:a=b", "manifest[linux/amd64]:a=b", "index,x:a=b"]
        {
            assert!(annotation(text).is_err(), "{text}");
        }
        assert!(annotation("org.opencontainers.image.created=now").unwrap_err().contains("RFC 3339"));
    }

    #[test]
    fn outputs_have_a_type_and_a_destination() {
        assert_eq!(output("type=oci,dest=a,b"), Ok(Output::Layout("a,b".into())));
        assert_eq!(output("type=oci-archive,dest=-"), Ok(Output::Stdout));
        assert_eq!(output("type=oci-archive,dest=a.tar"), Ok(Output::Archive("a.tar".into())));
        for text in ["", "a.tar", "type=oci", "type=oci,dest=", "type=oci,dest=-", "type=tar,dest=x"] {
            assert!(output(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        let cases = [
            ("0", 0),
            ("1000B", 1000),
            ("12b", 12),
            ("1k", 1000),
            ("500MB", 500_000_000),
            ("1.5GiB", 3 << 29),
            ("0.1 gb", 100_000_000),
            ("18446744073709551615B", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1",
            "+1",
            "1.",
            ".5GB",
            "1e9",
            "1 000",
            "1XB",
            "00",
            "1.5",
            "18446744073709551616B",
            "99999999TB",
        ] {
            assert!(size(text).unwrap_err().contains("hint: write a number"), "{text}");
        }
        let error = size("10").unwrap_err();
        assert_eq!(error, "`10` has no unit\n  hint: write `10MB` or `10GB`; `10B` are bytes");
    }

    #[test]
    fn ages_have_days_and_weeks_beside_what_a_spec_knows() {
        let cases = [("7d", 604_800), ("2w", 1_209_600), ("0d", 0), ("12h", 43_200), ("1h30m", 5400)];
        for (text, seconds) in cases {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "7", "-7d", "+7d", "1.5d", "7 d", "1d12h", "99999999999999999999d"] {
            assert!(age(text).unwrap_err().contains("hint: write a number"), "{text}");
        }
    }

    #[test]
    fn bases_are_told_apart() {
        assert_eq!(base("scratch"), Ok(Base::Scratch));
        assert_eq!(base("static@1"), Ok(Base::Builtin { name: "static".to_owned(), version: 1 }));
        assert!(matches!(base("oci:some/dir"), Ok(Base::Layout { .. })));
        for text in ["alpine", "r.io/a", "r.io/a:1"] {
            assert!(matches!(base(text), Ok(Base::Remote { .. })), "{text}");
        }
        for text in ["", "oci:", "./base", "r.io/a@sha256:00", "static@x", "a b"] {
            assert!(base(text).is_err(), "{text}");
        }
    }
}
