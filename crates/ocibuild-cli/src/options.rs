//! What all commands share: the flags that may stand before or after any of them, each with a
//! variable of the environment that says the same.
//!
//! Flags beat variables. A variable that is empty is as good as none.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command, ValueEnum};

use ocibuild_core::registry::Mirror;

use crate::environment;
use crate::failure::Failure;
use crate::parse;
use crate::style::ColourChoice;

/// The heading that they have in the help.
const HEADING: &str = "Options of all commands";

/// The flags of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct Options {
    /// How progress is shown on standard error
    ///
    /// `auto` is `tty` on a terminal, else `plain`. Bars are never written to a pipe. The lines of
    /// `json` are described in docs/progress.md: nothing else is then on standard error, errors
    /// included.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "HOW",
        env = "OCIBUILD_PROGRESS"
    )]
    pub(crate) progress: ProgressMode,

    /// Say nothing but errors
    #[arg(short, long, global = true, env = "OCIBUILD_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Say more: what was reused and what was there already; twice, each request to a registry
    ///
    /// `-vv`, or 2 in the variable, has a line for each request, with the answer's status, the time
    /// until it came, and the address without its query. No secret is in it.
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        env = "OCIBUILD_VERBOSE",
        value_parser = parse::verbosity
    )]
    pub(crate) verbose: u8,

    /// Whether there is colour
    ///
    /// `auto` means on a terminal, unless `NO_COLOR` is set, `CLICOLOR` is 0 or `TERM` is dumb;
    /// `CLICOLOR_FORCE` means everywhere.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        env = "OCIBUILD_COLOR"
    )]
    pub(crate) color: ColourChoice,

    /// Keep layers in this directory [default: ~/.cache/ocibuild]
    ///
    /// Without it, `$XDG_CACHE_HOME/ocibuild` where that variable is an absolute path, else
    /// `~/.cache/ocibuild`.
    #[arg(long, global = true, value_name = "DIR", env = "OCIBUILD_CACHE_DIR")]
    cache_dir: Option<PathBuf>,

    /// Work with this many threads; images are the same with any number [default: one a processor]
    #[arg(long, global = true, value_name = "NUMBER", value_parser = parse::threads, env = "OCIBUILD_THREADS")]
    threads: Option<usize>,

    /// Take any certificate of this registry, or plain http
    ///
    /// It is tried by https first. Registries on this machine are reached by http anyway, unless there
    /// are certificates for them. Repeat it for more, or part them by commas; all of them before the
    /// command, or all behind it.
    #[arg(long, global = true, value_name = "HOST[:PORT]", value_delimiter = ',', env = "OCIBUILD_INSECURE")]
    pub(crate) insecure: Vec<String>,

    /// Trust the CA certificates in this file, in PEM form, besides the machine's
    ///
    /// Those for one registry alone belong into `~/.config/containers/certs.d/HOST[:PORT]`, as
    /// `ca.crt`; beside it, a client's certificate as `client.cert` and its key as `client.key`.
    #[arg(long, global = true, value_name = "FILE", value_delimiter = ',', env = "OCIBUILD_CA")]
    pub(crate) ca: Vec<PathBuf>,

    /// Look for images of a registry at a mirror first; nothing is pushed there
    ///
    /// `MIRROR` is a registry, with a path if its repositories lie under one. What it doesn't have, or
    /// doesn't give, comes from the registry itself. All is verified by digest; what a tag means is
    /// what the mirror says.
    #[arg(
        long,
        global = true,
        value_name = "HOST=MIRROR",
        value_delimiter = ',',
        value_parser = parse::mirror,
        env = "OCIBUILD_MIRROR"
    )]
    pub(crate) mirror: Vec<Mirror>,

    /// Whether a run leaves the cache as it is; a flag of the build's own says so.
    #[arg(skip)]
    pub(crate) cache_read_only: bool,
}

/// A form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, else lines
    Auto,
    /// Bars with bytes and rate
    Tty,
    /// A line for each thing that is done
    Plain,
    /// A JSON object a line, for programs
    Json,
    /// Nothing but the summary and warnings
    None,
}

impl Options {
    /// The cache directory: the flag's, else the variable's, else the user's.
    ///
    /// # Errors
    /// [`Failure::Usage`] if none is named anywhere.
    pub(crate) fn cache_directory(&self) -> Result<PathBuf, Failure> {
        self.cache_dir.clone().or_else(environment::user_cache).ok_or_else(|| {
            Failure::usage("there is no place for the cache: neither `HOME` nor `XDG_CACHE_HOME` is set")
                .with_hint("name one: `--cache-dir DIR`, or `OCIBUILD_CACHE_DIR`")
        })
    }

    /// The number of threads; 0 is one a processor.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_default()
    }

    /// Lets a flag beat the variable of its opposite.
    ///
    /// # Errors
    /// [`Failure::Usage`] if both are given in the same place.
    pub(crate) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        if !self.quiet || self.verbose == 0 {
            return Ok(());
        }
        let is_flag = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        match (is_flag("quiet"), is_flag("verbose")) {
            (true, false) => self.verbose = 0,
            (false, true) => self.quiet = false,
            (true, true) => return Err(opposites("`--quiet`", "`--verbose`", "leave one of them out")),
            (false, false) => return Err(opposites("`OCIBUILD_QUIET`", "`OCIBUILD_VERBOSE`", "unset one")),
        }
        Ok(())
    }
}

fn opposites(one: &str, other: &str, hint: &str) -> Failure {
    Failure::usage(format!("{one} and {other} can't both be meant")).with_hint(hint)
}

/// Takes away the variables that are set and empty, so that nothing is parsed for them.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(without_empty_variables)
}

/// Has an error of clap name the variable at fault, where it isn't the flag that is.
pub(crate) fn blame_variable(mut error: clap::Error, command: Command, words: &[OsString]) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    let Some(long) = shown.strip_prefix("--").and_then(|rest| rest.split([' ', '=', '.']).next()) else {
        return error;
    };
    let Some(variable) = variable_of(&command, long) else { return error };
    // Without the variable it is no fault, or another's: then it was the variable's.
    let without = without_variable(command, &variable);
    let is_same = without.try_get_matches_from(words).is_err_and(|other| {
        other.kind() == error.kind()
            && other.get(ContextKind::InvalidArg) == error.get(ContextKind::InvalidArg)
            && other.get(ContextKind::InvalidValue) == error.get(ContextKind::InvalidValue)
    });
    if !is_same {
        let name = format!("{} (like --{long})", variable.display());
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    }
    error
}

fn variable_of(command: &Command, long: &str) -> Option<OsString> {
    let own = command.get_arguments().find(|argument| argument.get_long() == Some(long));
    let own = own.and_then(|argument| argument.get_env()).map(OsStr::to_owned);
    own.or_else(|| command.get_subcommands().find_map(|below| variable_of(below, long)))
}

fn without_variable(command: Command, name: &OsStr) -> Command {
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(known) if known == name => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(|below| without_variable(below, name))
}

/// What counts before the command line is understood, as it says how it is told that it isn't.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Early {
    /// The form of messages.
    pub(crate) progress: ProgressMode,
    /// Their colours.
    pub(crate) colour: ColourChoice,
}

impl Early {
    /// Looks for the two, in the command line and else in the environment, and passes over
    /// whatever is wrong.
    pub(crate) fn of(words: &[OsString]) -> Self {
        Self {
            progress: find(words, "--progress", "OCIBUILD_PROGRESS").unwrap_or(ProgressMode::Auto),
            colour: find(words, "--color", "OCIBUILD_COLOR").unwrap_or(ColourChoice::Auto),
        }
    }
}

fn find<T: ValueEnum>(words: &[OsString], flag: &str, variable: &str) -> Option<T> {
    let parse = |value: &str| T::from_str(value, false).ok();
    let texts: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let texts = texts.split(|text| *text == "--").next().unwrap_or_default();
    let given = texts.iter().enumerate().rev().find_map(|(index, text)| {
        let rest = text.strip_prefix(flag)?;
        match rest.strip_prefix('=') {
            Some(value) => parse(value),
            None if rest.is_empty() => parse(texts.get(index + 1)?),
            None => None,
        }
    });
    given.or_else(|| parse(environment::variable(variable)?.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_messages_is_found_before_anything_is_understood() {
        let early = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let Early { progress, colour } = Early::of(&words);
            (progress, colour)
        };
        let auto = (ProgressMode::Auto, ColourChoice::Auto);
        assert_eq!(early(&["ocibuild", "--nope"]), auto);
        assert_eq!(
            early(&["ocibuild", "--progress", "json", "build", "--color=never"]),
            (ProgressMode::Json, ColourChoice::Never)
        );
        assert_eq!(early(&["ocibuild", "build", "--progress", "nonsense", "--color"]), auto);
        assert_eq!(early(&["ocibuild", "--", "--progress", "json"]), auto);
    }
}
