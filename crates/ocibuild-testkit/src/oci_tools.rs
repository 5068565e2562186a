//! `skopeo`, `umoci` and `runc`: copying, unpacking and running an image of an OCI layout.

use crate::command::{Output, run};
use crate::mounts::unmount_below;
use crate::skip::{Missing, root, tool};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Copies and inspects images between layouts, archives and registries.
#[derive(Debug, Clone)]
pub struct Skopeo {
    program: PathBuf,
}

impl Skopeo {
    /// Finds it.
    pub fn new() -> Result<Self, Missing> {
        Ok(Self { program: tool("skopeo")? })
    }

    /// Prepares a call of skopeo that trusts any image.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--insecure-policy");
        command
    }

    /// Copies an image, such as `oci:DIR:TAG` to `docker://127.0.0.1:5000/name:tag`.
    #[track_caller]
    pub fn copy(&self, from: &str, to: &str) {
        self.copy_with(&[], from, to);
    }

    /// Copies an image with more options of `skopeo copy`, such as `["--all"]`.
    #[track_caller]
    pub fn copy_with(&self, options: &[&str], from: &str, to: &str) {
        let mut command = self.command();
        command.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        run(command.args(options).args([from, to]));
    }

    /// Gives the bytes of an image's manifest or index as they are.
    #[track_caller]
    pub fn raw_manifest(&self, image: &str) -> Vec<u8> {
        run(self.command().args(["inspect", "--tls-verify=false", "--raw", image])).stdout
    }

    /// Gives an image's config as it is, with what skopeo doesn't know.
    #[track_caller]
    pub fn raw_config(&self, image: &str) -> Value {
        run(self.command().args(["inspect", "--tls-verify=false", "--config", "--raw", image])).json()
    }

    /// Gives an image's config, as far as skopeo knows it.
    #[track_caller]
    pub fn config(&self, image: &str) -> Value {
        run(self.command().args(["inspect", "--tls-verify=false", "--config", image])).json()
    }
}

/// Unpacks images of OCI layouts.
#[derive(Debug, Clone)]
pub struct Umoci {
    program: PathBuf,
}

impl Umoci {
    /// Finds it; as root, so that owners come out as they are in the image.
    pub fn new() -> Result<Self, Missing> {
        root()?;
        Ok(Self { program: tool("umoci")? })
    }

    /// Prepares a call of umoci.
    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Unpacks the image `tag` of an OCI layout into a bundle of its own.
    #[track_caller]
    pub fn unpack(&self, layout: &Path, tag: &str) -> Bundle {
        let home = TempDir::with_prefix("bundle-").expect("a temporary directory can be made");
        let image = format!("{}:{tag}", layout.display());
        let bundle = Bundle { home };
        run(self.command().args(["unpack", "--image", &image]).arg(bundle.path()));
        bundle
    }
}

/// An unpacked image: a root file system and a runtime's config; removed when dropped.
#[derive(Debug)]
pub struct Bundle {
    home: TempDir,
}

/// Makes container ids unique in the process; its own id makes them unique on the machine.
static CONTAINERS: AtomicU32 = AtomicU32::new(0);

impl Bundle {
    /// The bundle's directory.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("bundle")
    }

    /// The unpacked root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// The runtime's config, as umoci made it from the image's.
    #[track_caller]
    pub fn config(&self) -> Value {
        let bytes = fs::read(self.path().join("config.json")).expect("umoci writes a config");
        serde_json::from_slice(&bytes).expect("umoci's config is JSON")
    }

    /// Runs the image's own command with `runc`.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.run_edited(|_| {})
    }

    /// Runs other `arguments` than the image's own, with `runc`.
    #[track_caller]
    pub fn run_arguments(&self, arguments: &[&str]) -> Output {
        self.run_edited(|config| config["process"]["args"] = json!(arguments))
    }

    /// Runs with `runc` after an edit of the runtime's config.
    #[track_caller]
    pub fn run_edited(&self, edit: impl FnOnce(&mut Value)) -> Output {
        let runc = tool("runc").unwrap_or_else(|missing| panic!("a bundle needs {missing}"));
        let mut config = self.config();
        without_terminal_and_limits(&mut config);
        edit(&mut config);
        fs::write(self.path().join("config.json"), config.to_string())
            .expect("umoci's config can be written");
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let id = format!("ocibuild-test-{}-{number}", process::id());
        let mut command = Command::new(runc);
        command.arg("--root").arg(self.home.path().join("state"));
        run(command.args(["run", "--bundle"]).arg(self.path()).arg(id))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        unmount_below(self.home.path());
    }
}

/// Tests have no terminal, and the cgroups to set limits in may be absent or read-only.
fn without_terminal_and_limits(config: &mut Value) {
    config["process"]["terminal"] = json!(false);
    config["linux"]["resources"] = json!({});
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("cgroupsPath");
    }
}
