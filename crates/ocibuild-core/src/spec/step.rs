//! Steps, as written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Located, Pairs, Template, ValueError};
use crate::oci::Platform;

/// A step: a command of the host with declared inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The name that copies and other steps know it by.
    pub name: Located<String>,
    /// What is run.
    pub run: Located<Run>,
    /// What of the root the command sees: paths and globs, and with a `!` in front what of them it
    /// doesn't. `None` where the spec says nothing of it.
    pub inputs: Option<Vec<Located<Template>>>,
    /// What it makes: paths of files or directories, relative to the root.
    pub outputs: Vec<Located<Template>>,
    /// The steps whose outputs the command sees.
    pub needs: Vec<Located<String>>,
    /// Environment variables, in the order of writing.
    pub env: Pairs,
    /// Variables that are let through from outside.
    pub pass_env: Vec<Located<PassEnv>>,
    /// Where the command is started, relative to the root.
    pub workdir: Option<Located<Template>>,
    /// Directories that are kept between runs: below the root, or `~/…`.
    pub cache_dirs: Vec<Located<Template>>,
    /// What only the command gets to see.
    pub secrets: Vec<Secret>,
    /// Commands whose output belongs to its key, such as `node --version`.
    pub tools: Vec<Located<String>>,
    /// The time a run may take; `None` is any.
    pub timeout: Option<Located<Duration>>,
    /// How often a command that failed is started again; never, unless said.
    pub retries: Option<Located<u32>>,
    /// For which platforms it runs.
    pub platforms: Located<StepPlatforms>,
    /// Whether it runs each time, whatever is known of it.
    pub always: bool,
    /// Whether it runs in the root itself instead of a private directory.
    pub in_place: Located<bool>,
    /// Whether its command may use the network; it may, unless said.
    pub network: Located<bool>,
    /// Whether its command is kept from everything of the host that it doesn't declare.
    pub sandbox: Located<bool>,
}

impl Step {
    /// A step that runs `run` and makes nothing.
    pub fn new(name: impl Into<Located<String>>, run: impl Into<Located<Run>>) -> Self {
        Self {
            name: name.into(),
            run: run.into(),
            inputs: None,
            outputs: Vec::new(),
            needs: Vec::new(),
            env: Vec::new(),
            pass_env: Vec::new(),
            workdir: None,
            cache_dirs: Vec::new(),
            secrets: Vec::new(),
            tools: Vec::new(),
            timeout: None,
            retries: None,
            platforms: StepPlatforms::default().into(),
            always: false,
            in_place: false.into(),
            network: true.into(),
            sandbox: false.into(),
        }
    }
}

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Run {
    /// A program and its arguments.
    Arguments(Vec<Located<Template>>),
    /// A text for `sh -euc`. Made of one by [`Template::lenient`], so that braces of the shell
    /// stay as they are.
    Script(Template),
}

/// For which platforms a step runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepPlatforms {
    /// Once for each platform of the images that need it.
    #[default]
    Each,
    /// Once, whatever the platform.
    Any,
    /// For these, and no image for another can need it.
    Only(Vec<Located<Platform>>),
}

/// A variable that is let through to a step's command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassEnv {
    /// Its name.
    pub name: String,
    /// Whether its value belongs to the step's key.
    pub is_keyed: bool,
}

impl PassEnv {
    /// A variable whose value belongs to the step's key.
    pub fn keyed(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_keyed: true }
    }

    /// A variable whose value changes nothing of what the step makes.
    pub fn unkeyed(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_keyed: false }
    }
}

/// What only a step's command gets to see. Its value is in no key, record, log line and error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secret {
    /// What it is called.
    pub id: Located<String>,
    /// Where its value comes from.
    pub from: Located<SecretSource>,
    /// How it reaches the command; by the way it comes, unless said.
    pub form: Option<Located<SecretForm>>,
    /// The variable that holds it, or the path of its file; see [`Secret::variable`].
    pub target: Option<Located<String>>,
    /// Whether the step runs without it.
    pub is_optional: bool,
}

impl Secret {
    /// A secret that reaches the command the way it comes.
    pub fn new(id: impl Into<Located<String>>, from: impl Into<Located<SecretSource>>) -> Self {
        Self { id: id.into(), from: from.into(), form: None, target: None, is_optional: false }
    }

    /// A secret from a variable, which the command has as well.
    pub fn env(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(id.into(), SecretSource::Env(name.into()))
    }

    /// A secret from a file, absolute or relative to the root. The command has the path of a copy
    /// in the variable of [`Secret::variable`].
    pub fn file(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(id.into(), SecretSource::File(path.into()))
    }

    /// The variable that holds its value, or the path of its file: `target`, else that of the same
    /// name it comes from, else its id in upper case, with `_` for all but letters and digits.
    pub fn variable(&self) -> String {
        if let Some(target) = &self.target {
            return target.value.clone();
        }
        match &self.from.value {
            SecretSource::Env(name) => name.clone(),
            SecretSource::File(_) => {
                let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
                self.id.chars().map(upper).collect()
            }
        }
    }

    /// How it reaches the command.
    pub fn form(&self) -> SecretForm {
        match (&self.form, &self.from.value) {
            (Some(form), _) => form.value,
            (None, SecretSource::Env(_)) => SecretForm::Env,
            (None, SecretSource::File(_)) => SecretForm::File,
        }
    }
}

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The environment variable of this name.
    Env(String),
    /// The file at this path, absolute or relative to the root.
    File(String),
}

/// How a secret reaches a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretForm {
    /// As the value of a variable.
    Env,
    /// As a file, whose path is the value of a variable.
    File,
}

impl fmt::Display for SecretForm {
    /// Writes it as in the spec.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Env => "env",
            Self::File => "file",
        })
    }
}

impl FromStr for SecretForm {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "env" => Ok(Self::Env),
            "file" => Ok(Self::File),
            _ => Err(ValueError::new(format!("`{}` is no way to pass a secret", text.escape_debug()))
                .hint("write \"env\", for a variable with its value, or \"file\", for one with a path")),
        }
    }
}
