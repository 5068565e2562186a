//! Strings with names in braces: `{os}`, `{arch}`, `{variant}`, `{var.NAME}`.

use super::suggest::closest;
use super::{Fault, Located, Lookup, ValueError};

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Segment {
    /// Text that stands for itself.
    Text(String),
    /// `{os}`, the platform's operating system.
    Os,
    /// `{arch}`, the platform's architecture.
    Arch,
    /// `{variant}`, the platform's variant; empty where it has none.
    Variant,
    /// `{var.NAME}`.
    Var(String),
}

/// A string of the spec in which names in braces stand for values of the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    segments: Vec<Segment>,
}

/// A name that has no value for a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("variable `{name}` has no value for {platform}")]
#[non_exhaustive]
pub struct ExpandError {
    /// The variable's name.
    pub name: String,
    /// The platform, as `os/arch[/variant]`.
    pub platform: String,
}

impl From<ExpandError> for ValueError {
    fn from(error: ExpandError) -> Self {
        let hint = format!("define it under `[vars]` or `[vars.\"{}\"]`", error.platform);
        Self::new(error.to_string()).hint(hint)
    }
}

impl Located<Template> {
    /// The string for one platform, if it passes `check`; otherwise the fault at its place.
    pub fn resolve<T>(
        &self,
        lookup: &Lookup<'_>,
        check: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Result<String, Fault> {
        let expanded = || {
            let text = self.expand(lookup)?;
            check(&text)?;
            Ok(text)
        };
        expanded().map_err(|error| Fault::of(error, self.span))
    }
}

impl Template {
    /// A template that stands for `text` as it is: braces in it have no meaning.
    pub fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        let segments = if text.is_empty() { Vec::new() } else { vec![Segment::Text(text)] };
        Self { segments }
    }

    /// Parses a string of the spec: `{name}` is a name, `{{` and `}}` are braces.
    ///
    /// Success doesn't mean that the variables it names exist.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            template.push_text(&rest[..at]);
            let brace = &rest[at..at + 1];
            let after = &rest[at + 1..];
            rest = if let Some(after) = after.strip_prefix(brace) {
                template.push_text(brace);
                after
            } else if brace == "}" {
                return Err(lone_brace("}"));
            } else {
                let (name, after) = after.split_once('}').ok_or_else(|| lone_brace("{"))?;
                template.segments.push(parse_name(name)?);
                after
            };
        }
        template.push_text(rest);
        Ok(template)
    }

    /// Parses a script: `{os}`, `{arch}`, `{variant}` and `{var.NAME}` are names, and every other
    /// brace is the shell's. A name after a `$` is the shell's, too: `${arch}` is its variable.
    ///
    /// `{{` isn't a brace here, as it is two of the shell's; so no name of ours can be written
    /// for the command to see. Success doesn't mean that the variables exist.
    pub fn lenient(text: &str) -> Self {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, after) = rest.split_at(at);
            let name = after[1..].split_once('}').filter(|_| !before.ends_with('$'));
            let name = name.and_then(|(name, after)| Some((parse_name(name).ok()?, after)));
            template.push_text(before);
            rest = match name {
                Some((segment, after)) => {
                    template.segments.push(segment);
                    after
                }
                None => {
                    template.push_text("{");
                    &after[1..]
                }
            };
        }
        template.push_text(rest);
        template
    }

    /// The pieces, in order; neighbouring texts are one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The text, if no name is in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [] => Some(""),
            [Segment::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables it names, in order.
    pub fn vars(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Var(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The string for one platform.
    pub fn expand(&self, lookup: &Lookup<'_>) -> Result<String, ExpandError> {
        let mut out = String::new();
        for segment in &self.segments {
            out.push_str(match segment {
                Segment::Text(text) => text,
                Segment::Os => lookup.os(),
                Segment::Arch => lookup.arch(),
                Segment::Variant => lookup.variant(),
                Segment::Var(name) => lookup.var(name)?,
            });
        }
        Ok(out)
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Segment::Text(last)) = self.segments.last_mut() {
            last.push_str(text);
        } else {
            self.segments.push(Segment::Text(text.to_owned()));
        }
    }
}

fn parse_name(name: &str) -> Result<Segment, ValueError> {
    match name {
        "os" => Ok(Segment::Os),
        "arch" => Ok(Segment::Arch),
        "variant" => Ok(Segment::Variant),
        _ => match name.strip_prefix("var.") {
            Some(var) if super::check::var_name(var).is_ok() => Ok(Segment::Var(var.to_owned())),
            _ => Err(unknown_name(name)),
        },
    }
}

fn unknown_name(name: &str) -> ValueError {
    let error = ValueError::new(format!("unknown name `{{{name}}}`"));
    if let Some(known) = closest(name, ["os", "arch", "variant"]) {
        return error.hint(format!("did you mean `{{{known}}}`?"));
    }
    error.hint(
        "the names are `{os}`, `{arch}`, `{variant}` and `{var.NAME}`; \
         write `{{` and `}}` for braces that stand for themselves",
    )
}

fn lone_brace(brace: &str) -> ValueError {
    let what = if brace == "{" { "`{` has no `}`" } else { "`}` has no `{`" };
    ValueError::new(what).hint(format!("write `{brace}{brace}` for a brace that stands for itself"))
}
