//! Extended attributes: which of them travel, and in which order they stand.

use std::io;

/// A program's capabilities: the one attribute that changes what a program may do anywhere.
pub const CAPABILITY: &[u8] = b"security.capability";

/// Lists of access rights, which Linux keeps among the attributes.
const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// What file systems for containers note for themselves among the user's attributes.
const NOTES: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];

/// Names and values of extended attributes, sorted by name; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattrs(Box<[(Vec<u8>, Vec<u8>)]>);

impl Xattrs {
    /// Sorts attributes by name; `None` if there are none.
    #[must_use]
    pub fn new(mut xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Option<Box<Self>> {
        xattrs.sort_unstable();
        (!xattrs.is_empty()).then(|| Box::new(Self(xattrs.into())))
    }

    /// Returns names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// Tells whether an attribute means something in another place than where it was set.
    ///
    /// These do: the user's, capabilities and POSIX access control lists. Left out are labels and
    /// measurements of the host's security modules (`security.selinux`, `security.ima`, …), what
    /// only a privileged process sees at all (`trusted.*`: the same files would be two layers),
    /// what file systems for containers note for themselves (`user.overlay.*`, …), and the names
    /// of other systems and of single file systems.
    #[must_use]
    pub fn travels(name: &[u8]) -> bool {
        let is_note = NOTES.iter().any(|note| name.starts_with(note));
        name == CAPABILITY || ACCESS_LISTS.contains(&name) || (name.starts_with(b"user.") && !is_note)
    }
}

/// Takes that a file system knows no attributes, or a file has none of a name, for an answer.
pub(crate) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::NODATA, Errno::NOTSUP]
            .iter()
            .any(|absent| error.raw_os_error() == Some(absent.raw_os_error()))
}

#[cfg(not(target_os = "linux"))]
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_elsewhere_travels() {
        for name in ["user.a", "user.", "security.capability", "system.posix_acl_default"] {
            assert!(Xattrs::travels(name.as_bytes()), "{name}");
        }
        for name in [
            "security.selinux",
            "security.ima",
            "security.evm",
            "security.capability2",
            "trusted.overlay.opaque",
            "trusted.md5",
            "user.overlay.origin",
            "user.containers.override_stat",
            "system.nfs4_acl",
            "com.apple.quarantine",
            "btrfs.compression",
        ] {
            assert!(!Xattrs::travels(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn attributes_are_sorted_and_none_is_none() {
        assert!(Xattrs::new(Vec::new()).is_none());
        let xattrs = Xattrs::new(vec![(b"b".to_vec(), vec![0]), (b"a".to_vec(), vec![])]).unwrap();
        assert_eq!(xattrs.iter().collect::<Vec<_>>(), [(&b"a"[..], &[][..]), (b"b", &[0])]);
    }
}
