//! One way to build and push a state, and what it cost.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocibuild_benches::measure::{Usage, command};
use ocibuild_benches::registry::{Image, Log, Registry};
use ocibuild_benches::states::{Kind, directory};
use serde_json::Value;

use crate::Result;

/// Who builds.
pub(crate) enum Tool {
    /// The product.
    Ocibuild {
        program: PathBuf,
        /// Whether the dependencies are split.
        split: bool,
        /// Whether the cache directory is kept, or else empty, with `--cache-from`.
        kept: bool,
    },
    Umoci {
        /// What all modification times are set to before.
        times: Option<&'static str>,
    },
    Buildah,
    BuildahLayers {
        /// Whether buildah's storage is kept, or else empty, with a repository for a cache.
        kept: bool,
    },
}

/// A tool with a registry of its own, and all that it did.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    tool: Tool,
    home: PathBuf,
    registry: Registry,
    /// The image of the state before.
    before: Image,
    pub(crate) outcomes: Vec<(Kind, Outcome)>,
}

/// What one state cost.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) usage: Usage,
    /// Bytes that the registry has now and had not before.
    pub(crate) uploaded: u64,
    pub(crate) requests: u64,
    /// All bytes of the image.
    pub(crate) image: u64,
    /// Bytes of its layers that weren't made anew.
    pub(crate) reused: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.3} s, cpu {:.2} s, {} B of {} B reused, {} B uploaded, {} requests",
            self.usage.wall, self.usage.cpu, self.reused, self.image, self.uploaded, self.requests
        )
    }
}

impl Row {
    pub(crate) fn new(name: &'static str, tool: Tool, home: &Path) -> Result<Self> {
        let registry = Registry::start(&home.join("registry"), Log::Requests)?;
        let (home, before) = (home.to_owned(), Image::default());
        Ok(Self { name, tool, home, registry, before, outcomes: Vec::new() })
    }

    /// Builds and pushes what lies in `checkout`.
    pub(crate) fn run(&mut self, checkout: &Path, kind: Kind) -> Result<Outcome> {
        let kept = self.home.join("kept");
        let scratch = self.home.join("scratch");
        if !self.keeps() && kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        let had = self.registry.blobs()?;
        let asked = self.registry.requests()?;
        let usage = command(self.command(checkout, &kept, &scratch, kind)?.current_dir(checkout))?;
        let requests = self.registry.requests()? - asked;
        let has = self.registry.blobs()?;
        let uploaded = has.iter().filter(|(blob, _)| !had.contains_key(*blob)).map(|(_, size)| size).sum();
        let image = self.registry.image("links", "main")?;
        let reused = match &self.tool {
            Tool::Ocibuild { .. } => reused(&scratch.join("metadata.json"))?,
            _ => image.shared(&self.before),
        };
        let outcome = Outcome { usage, uploaded, requests, image: image.bytes(), reused };
        self.before = image;
        self.outcomes.push((kind, outcome));
        Ok(outcome)
    }

    fn keeps(&self) -> bool {
        matches!(self.tool, Tool::Ocibuild { kept: true, .. } | Tool::BuildahLayers { kept: true })
    }

    fn command(&self, checkout: &Path, kept: &Path, scratch: &Path, kind: Kind) -> Result<Command> {
        let reference = format!("{}/links:main", self.registry.address);
        let script = |name: &str| {
            let mut command = Command::new("sh");
            command.arg(directory().join(name)).arg(kept).arg(&reference);
            command
        };
        Ok(match &self.tool {
            Tool::Ocibuild { program, split, kept: keeps } => {
                // Beside the checkout, whose files stay as they are.
                let spec = scratch.join("ocibuild.toml");
                fs::write(&spec, specification(checkout, *split)?)?;
                let mut command = Command::new(program);
                command.args(["build", "--push", "--tag", &reference, "--file"]).arg(spec);
                command.arg("--metadata-file").arg(scratch.join("metadata.json"));
                if !*keeps && kind != Kind::First {
                    command.args(["--cache-from", &reference]);
                }
                command.arg("--cache-dir").arg(kept);
                command
            }
            Tool::Umoci { times } => {
                let mut command = script("umoci.sh");
                command.args(times);
                command
            }
            Tool::Buildah => script("buildah.sh"),
            Tool::BuildahLayers { kept } => {
                let mut command = script("buildah-layers.sh");
                if !kept {
                    command.arg(format!("{}/cache", self.registry.address));
                }
                command
            }
        })
    }
}

/// The application's own spec for the checkout, with its dependencies split or not.
fn specification(checkout: &Path, split: bool) -> Result<String> {
    let text = fs::read_to_string(checkout.join("ocibuild.toml"))?;
    let text = text.replacen('\n', &format!("\nroot = {:?}\n", checkout.display().to_string()), 1);
    let table = "[layers.dependencies]\n";
    Ok(if split { text.replacen(table, &format!("{table}split = \"auto\"\n"), 1) } else { text })
}

/// Bytes of the layers that a record answered.
fn reused(metadata: &Path) -> Result<u64> {
    let value: Value = serde_json::from_slice(&fs::read(metadata)?)?;
    Ok(value["reused"]["bytes"].as_u64().ok_or("the metadata file doesn't say what was reused")?)
}
