//! `ocibuild logout`.

use clap::Args;
use serde::Serialize;

use crate::commands::login::{LoginFile, known};
use crate::failure::Failure;
use crate::keychain::Keychain;
use crate::parse::{self, RegistryScope};
use crate::progress::Reporter;
use crate::signals::Stop;

/// Log out of a registry
///
/// Takes back what `ocibuild login` did: the credentials are taken out of the file they are in, or
/// their helper is told to forget them. The registry is not asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogoutArgs {
    /// The registry, such as `registry.example.com`; or a path of it that the login is for
    #[arg(value_name = "REGISTRY", value_parser = parse::registry)]
    registry: RegistryScope,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild logout registry.example.com

Exit codes: 0 logged out, or there was no login; others as in `ocibuild --help`.";

/// Logs out.
///
/// # Errors
/// [`Failure`] if the login can't be taken away.
pub(crate) fn run(args: &LogoutArgs, reporter: &Reporter) -> Result<(), Failure> {
    let cancel = Stop::on_signals()?.cancel();
    let scope = &args.registry;
    let keychain = Keychain::open(&[], &cancel)?;
    let had = LoginFile::open()?.log_out(&keychain, scope)?;
    let text = if had { "logged out of" } else { "there was no login to" };
    reporter.summary(&format!("{text} {}", scope.key), &Summary { registry: &scope.key, logged_out: had });
    if let Some(credential) = known(scope) {
        reporter.warn_text(&format!("there are credentials for it still: those of {}", credential.source()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Summary<'a> {
    registry: &'a str,
    logged_out: bool,
}
