//! Steps, planned.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PlannedPath;
use crate::oci::Platform;
use crate::pattern::Pattern;
use crate::spec::Span;

pub use crate::spec::{SecretForm, SecretSource};

/// One step, for one platform or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedStep {
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is: its name, with the platform where the same step is planned for
    /// several.
    pub label: String,
    /// The platform it runs for; `None` if once for all.
    pub platform: Option<Platform>,
    /// What is run.
    pub run: Command,
    /// What of the root its command sees. Exclusions may stand anywhere: they count for all.
    pub inputs: Vec<PlannedInput>,
    /// What it makes: literal paths of files or directories, relative to the root. None, if it is
    /// run for its exit code alone.
    pub outputs: Vec<PlannedPath>,
    /// The steps whose outputs its command sees, by their places in
    /// [`Plan::steps`](super::Plan::steps); all smaller than its own.
    pub needs: Vec<usize>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Variables that are let through from outside.
    pub pass_env: Vec<PassedVariable>,
    /// Where the command is started, relative to the root; `None` is the root.
    pub workdir: Option<String>,
    /// Directories that are kept between runs: below the root, or `~/…`, shared by all steps.
    pub cache_dirs: Vec<PlannedPath>,
    /// What only the command gets to see.
    pub secrets: Vec<PlannedSecret>,
    /// Commands whose output belongs to its key: a program's name and arguments between blanks.
    pub tools: Vec<String>,
    /// The time a run may take; `None` is any.
    pub timeout: Option<Duration>,
    /// How often a command that failed is started again.
    pub retries: u32,
    /// Whether it runs each time, whatever is known of it.
    pub always: bool,
    /// Whether it runs in the root itself instead of a private directory.
    pub in_place: bool,
    /// Whether its command may use the network.
    pub network: bool,
    /// Whether its command is kept from everything of the host that it doesn't declare.
    pub sandbox: bool,
    /// Where the spec has it.
    pub span: Option<Span>,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// A program and its arguments; never empty.
    Arguments(Vec<String>),
    /// A text for `sh -euc`.
    Script(String),
}

/// Files of the root that a step's command sees, or doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedInput {
    /// The path or glob as written, relative to the root, without the `!` of an exclusion.
    pub path: String,
    /// The path's bytes, without escapes; of a glob, the part before its first pattern.
    pub literal: Vec<u8>,
    /// The glob, where it is one; and of an exclusion in any case.
    pub glob: Option<Pattern>,
    /// Whether what it stands for is left out, with all below it.
    pub is_excluded: bool,
    /// Its place in the spec.
    pub span: Option<Span>,
}

/// A variable that is let through to a step's command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedVariable {
    /// Its name.
    pub name: String,
    /// Whether its value belongs to the step's key.
    pub is_keyed: bool,
}

/// What only a step's command gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedSecret {
    /// What it is called.
    pub id: String,
    /// Where its value comes from.
    pub from: SecretSource,
    /// How it reaches the command.
    pub form: SecretForm,
    /// The variable that holds it, or the path of its file.
    pub target: String,
    /// Whether the step runs without it.
    pub is_optional: bool,
    /// Its place in the spec.
    pub span: Option<Span>,
}
