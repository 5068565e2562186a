//! The mounts that containers need and a small machine may lack.
//!
//! They are made in the namespace of a test session alone, and go with it.

use crate::Result;
use crate::programs::run;
use std::fs;
use std::path::Path;
use std::process::Command;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Makes what is missing; `home` is where the session's images and containers lie.
pub(crate) fn furnish(home: &Path) -> Result<()> {
    // No container runtime works without cgroups; without systemd nobody may have mounted them.
    if !has_cgroups(&fs::read_to_string("/proc/self/mounts")?) {
        mount_cgroups(&fs::read_to_string("/proc/self/cgroup")?)?;
    }
    let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(home).output()?;
    if kind.stdout.trim_ascii() == b"overlayfs" {
        // An overlay can't have its upper layer on another; inside a container /tmp is on one.
        mount("tmpfs", Some("mode=0755"), home)?;
    }
    Ok(())
}

fn has_cgroups(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next().is_some_and(|point| point.starts_with(CGROUPS))
            && fields.next().is_some_and(|kind| kind.starts_with("cgroup"))
    })
}

/// Mounts cgroups as the kernel has them in use: a controller that belongs to a hierarchy of
/// version 1, though that is mounted elsewhere, isn't there in version 2, and runtimes that set
/// its limits fail.
fn mount_cgroups(own: &str) -> Result<()> {
    let hierarchies = hierarchies(own);
    if hierarchies.is_empty() {
        return mount("cgroup2", None, Path::new(CGROUPS));
    }
    mount("tmpfs", Some("mode=0755"), Path::new(CGROUPS))?;
    for controllers in hierarchies {
        let point = Path::new(CGROUPS).join(controllers.trim_start_matches("name="));
        fs::create_dir(&point)?;
        let is_named = controllers.starts_with("name=");
        let options = if is_named { format!("none,{controllers}") } else { controllers.to_owned() };
        mount("cgroup", Some(&options), &point)?;
    }
    Ok(())
}

/// Reads the hierarchies of version 1, by their controllers, out of a process's own cgroups.
fn hierarchies(own: &str) -> Vec<&str> {
    let controllers = own.lines().filter_map(|line| line.split(':').nth(1));
    controllers.filter(|controllers| !controllers.is_empty()).collect()
}

fn mount(kind: &str, options: Option<&str>, point: &Path) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(["-t", kind]);
    if let Some(options) = options {
        command.args(["-o", options]);
    }
    run(command.arg("none").arg(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read() {
        let version_1 = "9:name=systemd:/\n2:cpu,cpuacct:/a\n0::/\n";
        assert_eq!(hierarchies(version_1), ["name=systemd", "cpu,cpuacct"]);
        assert!(hierarchies("0::/\n").is_empty());
    }

    #[test]
    fn cgroups_are_found_by_place_and_kind() {
        assert!(has_cgroups("none /sys/fs/cgroup cgroup2 rw 0 0\n"));
        assert!(!has_cgroups("none /sys/fs/cgroup tmpfs rw 0 0\n"));
    }
}
