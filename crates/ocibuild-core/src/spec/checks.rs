//! What is made of findings, as written.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::suggest::closest;
use super::{Located, ValueError};
use crate::inspect::{GROUPS, RULES, Severity, is_known, rule};
use crate::pattern::Pattern;

/// What is made of what is found in images, before anything of them is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checks {
    /// From which severity on the build fails; errors by default.
    pub fail_on: Option<Located<FailOn>>,
    /// How bad findings are, by their ids or groups; an id counts before its group.
    pub severity: BTreeMap<String, Located<Level>>,
    /// What is let through.
    pub allow: Vec<Allowed>,
}

/// From which severity on a build fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailOn {
    /// Errors.
    #[default]
    Error,
    /// Warnings and errors.
    Warning,
    /// Never.
    Never,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// It isn't told, or looked for.
    Off,
    /// So bad.
    At(Severity),
}

/// Something that is found and is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowed {
    /// Its id, or a group.
    pub id: Located<String>,
    /// Where in the image; anywhere if it isn't said.
    pub path: Option<Located<Pattern>>,
    /// In which image; in any if it isn't said.
    pub image: Option<Located<String>>,
    /// Why.
    pub reason: Located<String>,
}

impl Checks {
    /// Tells how bad a finding is by its id: nothing where it is off.
    #[must_use]
    pub fn severity(&self, id: &str) -> Option<Severity> {
        let own = rule(id);
        let level = self.severity.get(id).or_else(|| self.severity.get(own?.group));
        match level.map(|level| level.value) {
            Some(Level::Off) => None,
            Some(Level::At(severity)) => Some(severity),
            None => Some(own.map_or(Severity::Warning, |rule| rule.severity)),
        }
    }

    /// Tells whether it is said how bad a finding is, by its id or its group.
    pub(crate) fn says(&self, id: &str) -> bool {
        let group = rule(id).map(|rule| rule.group);
        self.severity.contains_key(id) || group.is_some_and(|group| self.severity.contains_key(group))
    }

    /// Tells whether a build fails for findings of a severity.
    #[must_use]
    pub fn fails(&self, severity: Severity) -> bool {
        match self.fail_on.as_ref().map(|on| on.value).unwrap_or_default() {
            FailOn::Error => severity >= Severity::Error,
            FailOn::Warning => severity >= Severity::Warning,
            FailOn::Never => false,
        }
    }
}

/// Checks the id of something that can be found, or of a group.
///
/// # Errors
/// [`ValueError`] if there is none of that name.
pub(super) fn finding(text: &str) -> Result<(), ValueError> {
    if is_known(text) {
        return Ok(());
    }
    let error = ValueError::new(format!("nothing that is checked is called `{}`", text.escape_debug()));
    let ids = RULES.iter().map(|rule| rule.id);
    Err(error.hint(match closest(text, GROUPS.into_iter().chain(ids)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the groups are `{}`; docs/checks.md has the ids", GROUPS.join("`, `")),
    }))
}

/// Parses where in an image something is let through.
///
/// # Errors
/// [`ValueError`] if it is no such glob.
pub(super) fn place(text: &str) -> Result<Pattern, ValueError> {
    if text.contains(['[', '\\', '\0']) {
        let message = format!("`{}` has a character that no such path may have", text.escape_debug());
        return Err(ValueError::new(message).hint("`*`, `?` and `**` stand for parts of a path"));
    }
    Pattern::parse(text).map_err(|error| {
        let hint = error.hint().unwrap_or("write a path in the image, such as \"app/test/*.pem\"");
        ValueError::new(error.to_string()).hint(hint)
    })
}

impl FromStr for FailOn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "error" => Ok(Self::Error),
            "warning" => Ok(Self::Warning),
            "never" => Ok(Self::Never),
            _ => Err(ValueError::new(format!("`{}` is nothing to fail on", text.escape_debug()))
                .hint("write \"error\", \"warning\" or \"never\"")),
        }
    }
}

impl FromStr for Level {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "off" => Ok(Self::Off),
            "note" => Ok(Self::At(Severity::Note)),
            "warning" => Ok(Self::At(Severity::Warning)),
            "error" => Ok(Self::At(Severity::Error)),
            _ => Err(ValueError::new(format!("`{}` is no severity", text.escape_debug()))
                .hint("write \"error\", \"warning\", \"note\" or \"off\"")),
        }
    }
}

/// A number of bytes that something may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units of sizes, in bytes.
const UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || {
            ValueError::new(format!("`{}` is no size", text.escape_debug()))
                .hint("write a number with a unit, such as \"50MB\" or \"1.5GiB\"")
        };
        let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(at);
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let (whole, thousandths) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str, most| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            (is_number && (1..=most).contains(&part.len())).then(|| part.parse::<u64>().ok()).flatten()
        };
        let whole = digits(whole, 9).ok_or_else(bad)?;
        let part = digits(thousandths, 3).ok_or_else(bad)? * 10_u64.pow(3 - thousandths.len() as u32);
        Ok(Self(whole * unit + part * unit / 1000))
    }
}

impl fmt::Display for Size {
    /// Writes it as people read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let (value, unit) = match bytes {
            0..1_000 => return write!(f, "{bytes} B"),
            1_000..1_000_000 => (bytes as f64 / 1e3, "kB"),
            1_000_000..1_000_000_000 => (bytes as f64 / 1e6, "MB"),
            _ => (bytes as f64 / 1e9, "GB"),
        };
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        write!(f, "{value:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("0B", 0), ("500kB", 500_000), ("1.5GiB", 3 << 29), ("0.25MB", 250_000), ("10MiB", 10 << 20)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in
            ["", "10", "MB", "10 MB", "-1MB", "1.MB", ".5MB", "1.2345MB", "10TB", "1e3B", "9999999999B"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(52_400_000).to_string(), "52.4 MB");
    }

    #[test]
    fn an_id_counts_before_its_group() {
        let level = |level| Located::from(level);
        let mut checks = Checks::default();
        assert_eq!(checks.severity("secret-private-key"), Some(Severity::Error));
        checks.severity.insert("secrets".into(), level(Level::Off));
        checks.severity.insert("secret-private-key".into(), level(Level::At(Severity::Note)));
        assert_eq!(checks.severity("secret-private-key"), Some(Severity::Note));
        assert_eq!(checks.severity("secret-npm-token"), None);
        assert!(checks.fails(Severity::Error) && !checks.fails(Severity::Warning));
        checks.fail_on = Some(FailOn::Never.into());
        assert!(!checks.fails(Severity::Error));
    }
}
