//! The manual page of a command, out of what its help says.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli;

/// A page.
pub(super) struct Page {
    /// The name of its file.
    pub(super) name: String,
    /// Its source.
    pub(super) text: String,
}

impl Page {
    /// Writes the page of a command out of a tree that is built.
    pub(super) fn of(command: &Command) -> Self {
        let man = Man::new(command.clone())
            .source(concat!("ocibuild ", env!("CARGO_PKG_VERSION")))
            .manual("ocibuild manual");
        let mut bytes = Vec::new();
        render(&man, command, &mut bytes).expect("memory can be written to");
        Self { name: man.get_filename(), text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

/// Writes section by section: the generator's own page would run examples together as prose.
fn render(man: &Man, command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    synopsis(command).to_writer(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    let more = command.get_after_long_help().or_else(|| command.get_after_help());
    let more = more.map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    sections(&more, &mut roff);
    if command.get_name() != cli::NAME {
        roff.control("SH", ["SEE ALSO"]).text([roman(format!("{}(1)", cli::NAME))]);
    }
    roff.to_writer(page)
}

/// How it is called, in the words of the help: the generator lists all options.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let rest = usage.strip_prefix(name).unwrap_or(usage);
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text([bold(name), roman(rest)]);
    roff
}

/// Turns each `Heading:` at a line's beginning into a section, and keeps the lines below it as they
/// are.
fn sections(text: &str, roff: &mut Roff) {
    let mut is_kept = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // Sections have their own distance.
        if line.is_empty() && lines.peek().is_none_or(|next| !next.starts_with(' ')) {
            continue;
        }
        let heading = line.split_once(':').filter(|_| !line.starts_with(' '));
        if let Some((heading, rest)) = heading {
            if is_kept {
                roff.control("fi", []);
            }
            roff.control("SH", [heading.to_uppercase().as_str()]);
            is_kept = rest.is_empty();
            if is_kept {
                roff.control("nf", []);
            } else {
                roff.text([roman(rest.trim())]);
            }
        } else {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
    }
    if is_kept {
        roff.control("fi", []);
    }
}
