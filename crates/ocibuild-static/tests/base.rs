//! What a user of the base relies on: its bytes, its order, and that real programs can read it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use ocibuild_static::{File, Kind, VERSIONS, files};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A change of this line is a change of what `static@1` is: it needs a new version instead.
const GOLDEN: &str = "10bcb56b95aec169771303f2107eda6dfc318701c5cdb33e3b4954643cba0d76";

fn base() -> Vec<File> {
    files(1).unwrap()
}

fn find<'a>(files: &'a [File], path: &str) -> &'a File {
    files.iter().find(|file| file.path == path).expect(path)
}

fn content<'a>(files: &'a [File], path: &str) -> &'a [u8] {
    match &find(files, path).kind {
        Kind::Regular(content) => content,
        other => panic!("{path} is {other:?}"),
    }
}

fn text<'a>(files: &'a [File], path: &str) -> &'a str {
    str::from_utf8(content(files, path)).unwrap()
}

/// Every field, and before each of variable size its length: two lists never serialise alike.
fn serialised(files: &[File]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in files {
        let (kind, content): (u8, &[u8]) = match &file.kind {
            Kind::Directory => (b'd', &[]),
            Kind::Regular(content) => (b'f', content),
            Kind::Symlink(target) => (b'l', target.as_bytes()),
        };
        bytes.push(kind);
        for number in [file.mode, file.uid, file.gid] {
            bytes.extend(number.to_le_bytes());
        }
        for field in [file.path.as_bytes(), content] {
            bytes.extend((field.len() as u64).to_le_bytes());
            bytes.extend(field);
        }
    }
    bytes
}

#[test]
fn version_1_has_its_golden_digest() {
    let digest: String =
        Sha256::digest(serialised(&base())).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, GOLDEN);
}

#[test]
fn exactly_the_listed_versions_exist() {
    assert!(VERSIONS.is_sorted());
    assert!(VERSIONS.iter().all(|&version| files(version).is_some()));
    for unknown in [0, 2, u32::MAX] {
        assert_eq!(files(unknown), None);
    }
}

#[test]
fn paths_are_clean_ordered_and_below_a_listed_directory() {
    let files = base();
    assert!(
        files.is_sorted_by(|a, b| a.path.split('/').lt(b.path.split('/'))),
        "strictly ascending, component by component"
    );
    let mut directories = HashSet::from([""]);
    for file in &files {
        let (parent, name) = file.path.rsplit_once('/').unwrap();
        assert!(directories.contains(parent), "{} has no parent", file.path);
        assert!(!["", ".", ".."].contains(&name), "{}", file.path);
        assert!(!name.starts_with(".wh."), "{}", file.path);
        assert!(file.path.is_ascii(), "{}", file.path);
        assert_eq!(file.mode & !0o7777, 0, "{}", file.path);
        if file.kind == Kind::Directory {
            directories.insert(&file.path);
        }
    }
}

#[test]
fn modes_and_owners_are_as_documented() {
    let files = base();
    let exceptions =
        BTreeMap::from([("/home/nonroot", (0o700, 65532)), ("/root", (0o700, 0)), ("/tmp", (0o1777, 0))]);
    for file in &files {
        let usual = match file.kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let expected = exceptions.get(file.path.as_str()).copied();
        let expected = expected.unwrap_or((usual, 0));
        assert_eq!((file.mode, file.uid), expected, "{}", file.path);
        assert_eq!(file.uid, file.gid, "{}", file.path);
    }
}

#[test]
fn links_lead_to_files() {
    let files = base();
    for file in &files {
        if let Kind::Symlink(target) = &file.kind {
            let (directory, _) = file.path.rsplit_once('/').unwrap();
            content(&files, &format!("{directory}/{target}"));
        }
    }
}

#[test]
fn accounts_have_a_group_and_a_home() {
    let files = base();
    let groups: BTreeMap<&str, &str> = text(&files, "/etc/group")
        .lines()
        .map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            [name, "x", gid, ""] => (gid, name),
            _ => panic!("bad group: {line}"),
        })
        .collect();
    let mut accounts = Vec::new();
    for line in text(&files, "/etc/passwd").lines() {
        let [name, "x", uid, gid, _, home, "/sbin/nologin"] = line.split(':').collect::<Vec<_>>()[..] else {
            panic!("bad account: {line}");
        };
        assert_eq!(groups.get(gid), Some(&name), "{line}");
        if name != "nobody" {
            assert_eq!(find(&files, home).uid.to_string(), uid, "{line}");
        }
        accounts.push((name, uid.parse::<u32>().unwrap()));
    }
    assert_eq!(accounts, [("root", 0), ("nobody", 65534), ("nonroot", 65532)]);
}

#[test]
fn os_release_is_assignments_that_name_us() {
    let files = base();
    let fields: BTreeMap<&str, &str> =
        text(&files, "/etc/os-release").lines().map(|line| line.split_once('=').expect(line)).collect();
    assert_eq!(fields["ID"], "ocibuild-static");
    assert_eq!(fields["VERSION_ID"], "1");
    assert_eq!(fields["PRETTY_NAME"], "\"ocibuild static 1\"");
}

/// Returns what `program` prints on success; `None`, loudly, if it isn't installed.
fn output_of(program: &str, arguments: &[&str], path: &Path) -> Option<String> {
    let output = match Command::new(program).args(arguments).arg(path).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not `eprintln!`, which the test runner hides while the test passes.
            let message = format!("SKIPPED: `{program}` is not installed\n");
            std::io::stderr().write_all(message.as_bytes()).unwrap();
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{program}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Writes what lies below `prefix` into a new directory.
fn unpacked(files: &[File], prefix: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        let Some(name) = file.path.strip_prefix(prefix) else {
            continue;
        };
        let path = directory.path().join(name);
        match &file.kind {
            Kind::Directory => std::fs::create_dir(path).unwrap(),
            Kind::Regular(content) => std::fs::write(path, content).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    directory
}

fn number_of_certificates() -> usize {
    text(&base(), BUNDLE).matches("-----BEGIN CERTIFICATE-----").count()
}

#[test]
fn openssl_reads_every_certificate() {
    let directory = unpacked(&base(), "/etc/ssl/certs/");
    let bundle = directory.path().join("ca-certificates.crt");
    if let Some(output) = output_of("openssl", &["storeutl", "-noout", "-certs"], &bundle) {
        let expected = format!("Total found: {}", number_of_certificates());
        assert!(output.lines().any(|line| line == expected), "{output}");
    }
}

#[test]
fn python_trusts_every_certificate() {
    let script = "import ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
print(context.cert_store_stats()['x509_ca'])";
    let directory = unpacked(&base(), "/etc/ssl/certs/");
    let bundle = directory.path().join("ca-certificates.crt");
    if let Some(output) = output_of("python3", &["-c", script], &bundle) {
        assert_eq!(output, number_of_certificates().to_string());
    }
}

#[test]
fn python_computes_with_every_zone() {
    let script = "import datetime, os, sys, zoneinfo
offsets = {}
for directory, _, names in os.walk(sys.argv[1]):
    for path in (os.path.join(directory, name) for name in names if name != '+VERSION'):
        with open(path, 'rb') as file:
            zone = zoneinfo.ZoneInfo.from_file(file)
        summer = datetime.datetime(2050, 7, 1, tzinfo=zone)
        offsets[os.path.relpath(path, sys.argv[1])] = summer.utcoffset()
print(len(offsets), offsets['UTC'], offsets['Europe/Berlin'], offsets['Asia/Kolkata'])";
    let directory = unpacked(&base(), "/usr/share/zoneinfo/");
    if let Some(output) = output_of("python3", &["-c", script], directory.path()) {
        let zones = base()
            .iter()
            .filter(|file| matches!(&file.kind, Kind::Regular(c) if c.starts_with(b"TZif")))
            .count();
        assert_eq!(output, format!("{zones} 0:00:00 2:00:00 5:30:00"));
    }
}
