//! The commands there are.

use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    build, cache, check, completions, copy, diff, explain, graph, index, inspect, lock, login, logout, ls,
    man, plan, pull, push, rebase, run, save, schema, serve, tag, validate, version, watch,
};
use crate::exit;
use crate::failure::Failure;
use crate::foreign;
use crate::options::{self, Early, Options};
use crate::progress::Reporter;
use crate::style::{Palette, STYLES};
use crate::text;
use crate::verdict::Verdict;

/// The program.
pub(crate) const NAME: &str = "ocibuild";

/// Turns files into OCI images, without a daemon, without root, without a container.
///
/// Layers are made of files and go to a registry, an OCI layout or an archive. The same inputs
/// give the same digest, and what hasn't changed isn't built, compressed or sent again.
#[derive(Debug, Parser)]
#[command(name = NAME, version, styles = STYLES, after_help = EXAMPLES, after_long_help = long_help())]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    pub(crate) options: Options,

    #[arg(skip)]
    matches: Option<Box<ArgMatches>>,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild build --copy target/release/app:/app --entrypoint /app
  ocibuild inspect image.oci
  ocibuild copy image.oci registry.example.com/app:1
  ocibuild build --push";

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::HELP)
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::BuildArgs>),
    Run(Box<run::RunArgs>),
    Watch(Box<watch::WatchArgs>),
    Check(check::CheckArgs),
    Plan(Box<plan::PlanArgs>),
    Explain(Box<explain::ExplainArgs>),
    Graph(Box<graph::GraphArgs>),
    Lock(lock::LockArgs),
    Rebase(rebase::RebaseArgs),
    Inspect(inspect::InspectArgs),
    Ls(ls::LsArgs),
    Diff(diff::DiffArgs),
    Validate(validate::ValidateArgs),
    Copy(copy::CopyArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Save(save::SaveArgs),
    Tag(tag::TagArgs),
    Index(index::IndexArgs),
    Cache(cache::CacheArgs),
    Serve(serve::ServeArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Version(version::VersionArgs),
}

impl Cli {
    /// The tree of commands, whatever the environment has.
    pub(crate) fn plain_tree() -> clap::Command {
        Self::command()
    }

    /// The tree of commands, with nothing of the environment that is as good as unset.
    pub(crate) fn tree() -> clap::Command {
        options::without_empty_variables(Self::command())
    }

    /// Understands a command line.
    ///
    /// # Errors
    /// What clap says of it, which may be the help that was asked for.
    pub(crate) fn parse_words(words: &[OsString]) -> Result<Self, clap::Error> {
        let parsed = Self::tree().try_get_matches_from(words).and_then(|mut matches| {
            let kept = Box::new(matches.clone());
            Ok(Self { matches: Some(kept), ..Self::from_arg_matches_mut(&mut matches)? })
        });
        parsed.map_err(|error| {
            let error = error.format(&mut Self::tree());
            foreign::translate(options::blame_variable(error, Self::tree(), words))
        })
    }

    /// Settles what flags and variables say together.
    ///
    /// # Errors
    /// [`Failure::Usage`] if they contradict each other.
    pub(crate) fn settle(mut self) -> Result<Self, Failure> {
        if let Some(matches) = self.matches.take() {
            self.options.settle(&matches)?;
        }
        Ok(self)
    }

    /// Runs the command.
    pub(crate) fn run(self, reporter: &Reporter) -> Result<(), Failure> {
        let options = &self.options;
        match self.command {
            Command::Build(args) => build::run(*args, options, reporter),
            Command::Run(args) => run::run(*args, options, reporter),
            Command::Watch(args) => watch::run(*args, options, reporter),
            Command::Graph(args) => graph::run(*args, options, reporter),
            Command::Check(args) => check::run(args, options, reporter),
            Command::Plan(args) => plan::run(*args, options, reporter),
            Command::Explain(args) => explain::run(*args, options, reporter),
            Command::Lock(args) => lock::run(&args, options, reporter),
            Command::Rebase(args) => rebase::run(args, options, reporter),
            Command::Inspect(args) => inspect::run(&args, options, reporter),
            Command::Ls(args) => ls::run(&args, options, reporter),
            Command::Diff(args) => diff::run(&args, options, reporter),
            Command::Validate(args) => validate::run(&args, options, reporter),
            Command::Copy(args) => copy::run(&args, options, reporter),
            Command::Push(args) => push::run(&args, options, reporter),
            Command::Pull(args) => pull::run(&args, options, reporter),
            Command::Save(args) => save::run(&args, options, reporter),
            Command::Tag(args) => tag::run(&args, options, reporter),
            Command::Index(args) => index::run(&args, options, reporter),
            Command::Cache(args) => cache::run(&args, options, reporter),
            Command::Serve(args) => serve::run(&args, options, reporter),
            Command::Login(args) => login::run(args, options, reporter),
            Command::Logout(args) => logout::run(&args, reporter),
            Command::Schema(args) => schema::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Version(args) => version::run(&args),
        }
    }
}

/// Tells why a command line isn't understood, or the help that was asked for; returns the exit
/// code.
pub(crate) fn tell(error: &clap::Error, early: Early) -> u8 {
    if !error.use_stderr() {
        let help = rendered(error, Palette::of_stdout(early.colour));
        let Err(failure) = text::print(&help) else { return exit::SUCCESS };
        let verdict = crate::verdict::of(&failure);
        Reporter::early(early).fail(&verdict);
        return verdict.code;
    }
    let reporter = Reporter::early(early);
    if reporter.is_for_programs() {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        reporter.fail(&Verdict::new(exit::USAGE, message));
    } else {
        use std::io::Write as _;
        let text = rendered(error, reporter.palette());
        // Nobody is there to be told if that fails.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
    exit::USAGE
}

fn rendered(error: &clap::Error, palette: Palette) -> String {
    let text = error.render();
    if palette.is_coloured() { text.ansi().to_string() } else { text.to_string() }
}
