//! The files of ours: accounts, name service, identity of the base, and the directories that are not
//! plain parents.

use crate::File;

const NONROOT: u32 = 65532;

/// No account can log in: the shell is one that the base doesn't have.
const PASSWD: &[u8] = b"\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
";

const GROUP: &[u8] = b"\
root:x:0:
nobody:x:65534:
nonroot:x:65532:
";

/// Without this file glibc asks DNS before `/etc/hosts`.
const NSSWITCH: &[u8] = b"\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
";

pub(crate) fn files(version: u32) -> Vec<File> {
    vec![
        File::regular("/etc/passwd", PASSWD),
        File::regular("/etc/group", GROUP),
        File::regular("/etc/nsswitch.conf", NSSWITCH),
        File::regular("/etc/os-release", os_release(version)),
        File::directory("/home/nonroot", 0o700).owned_by(NONROOT),
        File::directory("/root", 0o700),
        File::directory("/tmp", 0o1777),
    ]
}

fn os_release(version: u32) -> Vec<u8> {
    format!(
        "NAME=\"ocibuild static\"\n\
         ID=ocibuild-static\n\
         VERSION_ID={version}\n\
         PRETTY_NAME=\"ocibuild static {version}\"\n"
    )
    .into_bytes()
}
