//! What the tests need from Debian, and its installation.

use crate::Result;
use crate::programs::{find, is_root, list, run};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

/// A program, and the packages that bring it where it isn't in `PATH`.
///
/// Another Node or Python than Debian's is as good, hence no question for packages.
const PARTS: &[(&str, &[&str])] = &[
    ("aarch64-linux-gnu-as", &["binutils-aarch64-linux-gnu"]),
    ("ar", &["binutils"]),
    ("bsdtar", &["libarchive-tools"]),
    ("bwrap", &["bubblewrap"]),
    ("cc", &["gcc", "libc6-dev"]),
    ("chromedriver", &["chromium-driver"]),
    ("chromium", &["chromium"]),
    ("containerd", &["containerd"]),
    ("crun", &["crun"]),
    ("disorderfs", &["disorderfs"]),
    ("docker-registry", &["docker-registry"]),
    ("dockerd", &["docker.io"]),
    ("faketime", &["faketime"]),
    ("go", &["golang-go"]),
    ("groff", &["groff-base"]),
    ("jq", &["jq"]),
    ("make", &["make"]),
    ("mkfs.exfat", &["exfatprogs"]),
    ("mmdebstrap", &["mmdebstrap"]),
    ("musl-gcc", &["musl-tools"]),
    ("mount.exfat-fuse", &["exfat-fuse"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
    ("openssl", &["openssl"]),
    ("pigz", &["pigz"]),
    ("pip3", &["python3-pip", "python3-venv"]),
    ("podman", &["podman"]),
    ("python3", &["python3"]),
    ("redis-server", &["redis-server"]),
    ("runc", &["runc"]),
    ("skopeo", &["skopeo"]),
    ("ssh-keygen", &["openssh-client"]),
    ("strace", &["strace"]),
    ("time", &["time"]),
    ("umoci", &["umoci"]),
    ("zstd", &["zstd"]),
];

/// What the benches of the cache run beside the product, or push to.
const BENCHES: &[(&str, &[&str])] = &[
    ("buildah", &["buildah"]),
    ("docker-registry", &["docker-registry"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
    ("pip3", &["python3-pip", "python3-venv"]),
    ("redis-server", &["redis-server"]),
    ("skopeo", &["skopeo"]),
    ("time", &["time"]),
    ("umoci", &["umoci"]),
];

/// What the fuzzer is built with.
const COMPILER: &[(&str, &[&str])] = &[("c++", &["g++"])];

/// Installs the compiler that the fuzzer needs, where it is missing.
pub(crate) fn install_compiler() -> Result<()> {
    if install_some(COMPILER)? { Ok(()) } else { Err("the fuzzer needs a C++ compiler".into()) }
}

/// Installs what the benches of the cache need, where it is missing.
pub(crate) fn install_for_benches() -> Result<()> {
    if install_some(BENCHES)? { Ok(()) } else { Err("the benches need those programs".into()) }
}

/// Installs what is missing, where that is possible; answers whether everything is there then.
pub(crate) fn install() -> Result<bool> {
    install_some(PARTS)
}

fn install_some(parts: &[(&'static str, &[&'static str])]) -> Result<bool> {
    let packages = missing_packages(parts);
    if packages.is_empty() {
        return Ok(true);
    }
    if !is_root() || find("apt-get").is_none() {
        eprintln!("Missing, and only root on Debian can have it installed: {}", list(packages));
        return Ok(false);
    }
    eprintln!("Installing {}", list(&packages));
    let _services = KeptFromStarting::new()?;
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    let packages = missing_packages(parts);
    if packages.is_empty() {
        return Ok(true);
    }
    Err(format!("still missing after their installation: {}", list(packages)).into())
}

fn missing_packages(parts: &[(&'static str, &[&'static str])]) -> Vec<&'static str> {
    let missing = parts.iter().filter(|(program, _)| find(program).is_none());
    missing.flat_map(|(_, packages)| packages.iter().copied()).collect()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--quiet"]).args([
        "--option=DPkg::Lock::Timeout=300",
        "--option=Acquire::Retries=3",
        "--option=Dpkg::Use-Pty=0",
    ]);
    command
}

/// While it lives, packages don't start their services: the tests start their own.
struct KeptFromStarting {
    is_ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl KeptFromStarting {
    /// An administrator's policy stays as it is.
    fn new() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { is_ours: false });
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY)?;
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(Self { is_ours: true })
    }
}

impl Drop for KeptFromStarting {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
