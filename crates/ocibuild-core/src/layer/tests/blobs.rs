//! What is found in a layer's blobs is what was found as it was made.

use super::*;
use crate::layer::inspect_blobs;

/// A key in PEM that nobody has; it isn't in the sources, where others' scanners would find it.
fn key() -> String {
    let body: String =
        (0..4).map(|n: u32| format!("{}\n", blake3::hash(&n.to_le_bytes()).to_hex())).collect();
    format!("-----BEGIN {0} KEY-----\n{body}-----END {0} KEY-----\n", "PRIVATE")
}

#[test]
fn what_is_found_in_blobs_is_what_was_found_as_they_were_made() {
    // The key lies across the border of two pieces, and a program's tables before a lot that is none of it.
    let mut large = vec![b' '; (4 << 20) - 80];
    large.extend(key().bytes());
    large.resize(9 << 20, b' ');
    let mut program = std::fs::read("/bin/sh").unwrap();
    program.resize(9 << 20, 0);
    let tree = MemoryTree::new()
        .node(b"a/server", FileKind::Regular, 0o755, program)
        .node(b"a/key.pem", FileKind::Regular, 0o666, key().into_bytes())
        .node(b"a/large", FileKind::Regular, 0o644, large)
        .node(b"a/run.sh", FileKind::Regular, 0o755, b"#!/bin/sh\nexit\n".to_vec())
        .node(b"a/plain", FileKind::Regular, 0o644, b"nothing".to_vec())
        .node(b"a/set", FileKind::Directory, 0o777, Vec::new())
        .node(b"a/bin/run", FileKind::Symlink, 0o777, b"../run.sh".to_vec());
    for text in ["", "split"] {
        let rules = layer()
            .copy("a", "/app")
            .preserve(crate::spec::Preserve { mode: true, ..crate::spec::Preserve::NOTHING });
        let rules = if text.is_empty() {
            rules
        } else {
            rules.split(crate::spec::Split::Into(2.try_into().unwrap()))
        };
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let (record, _) = build_into(&store, &tree, &planned(rules), None).unwrap();
        let mut made = record.inspection.as_ref().unwrap().unpack().unwrap();
        let mut found = inspect_blobs(&record, &store, &Cancel::new()).unwrap();
        assert_eq!((found.files.len(), found.links.len(), found.writable.len()), (4, 1, 2), "{found:#?}");
        assert!(found.files.iter().any(|file| file.elf.is_some()) == cfg!(target_os = "linux"));
        // Parts come one after the other.
        for inspection in [&mut made, &mut found] {
            inspection.files.sort_by(|one, other| one.path.cmp(&other.path));
            inspection.writable.sort();
        }
        assert_eq!(found, made, "{text}");
        // What is damaged says nothing.
        let path = store.path(&record.layers[0].descriptor.digest);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert!(inspect_blobs(&record, &store, &Cancel::new()).is_err());
    }
}
