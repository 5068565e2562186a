//! `ocibuild schema`.

use clap::Args;
use ocibuild_core::spec::SCHEMA;

use crate::failure::Failure;
use crate::text;

/// Print the JSON schema of spec files, for editors
///
/// Editors that know it complete keys, explain them and mark faults while a spec is written. A file
/// whose first line is `#:schema ./ocibuild.schema.json` names it to Taplo and to what is built on
/// it, such as Even Better TOML for VS Code.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SchemaArgs {}

const EXAMPLES: &str = "\
Examples:
  ocibuild schema > ocibuild.schema.json
  ocibuild schema | jq '.properties | keys'";

/// Prints the schema.
///
/// # Errors
/// [`Failure::Stdout`].
pub(crate) fn run(_: &SchemaArgs) -> Result<(), Failure> {
    text::print(SCHEMA)
}
