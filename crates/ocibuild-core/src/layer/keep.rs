//! What a copy keeps of the host's metadata.

use crate::files::{CAPABILITY, FileError, FileKind, Metadata, Xattrs, display};
use crate::layer::draft::Sources;
use crate::layer::{LayerError, facts};
use crate::plan::PlannedCopy;
use crate::spec::Preserve;
use crate::tar;

/// What else may stand in the header of a file with attributes, in bytes: a path and a link's
/// target, each as long as Linux allows, and numbers.
const ROOM: u64 = 16 << 10;

/// What of a source's metadata reaches its entry; what isn't given follows the rules of copies
/// that keep nothing.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Option<Box<Xattrs>>,
}

impl Kept {
    /// Looks up what a copy keeps of something found at a path of the tree. No time is later than
    /// the latest.
    pub(super) fn of(
        copy: &PlannedCopy,
        sources: Sources<'_>,
        path: &[u8],
        metadata: &Metadata,
    ) -> Result<Self, LayerError> {
        let latest = sources.latest;
        let Preserve { mode, mtime, owner, xattrs, .. } = copy.preserve;
        let time = metadata.mtime.seconds;
        Ok(Self {
            mode: mode.then_some(metadata.mode),
            owner: owner.then_some((metadata.uid, metadata.gid)),
            mtime: mtime.then(|| latest.map_or(time, |latest| time.min(latest))),
            xattrs: attributes(sources, path, metadata, xattrs)?,
        })
    }
}

/// Tells whether a copy says something of its directories.
pub(super) fn speaks_of_directories(preserve: Preserve) -> bool {
    preserve.mode || preserve.owner || preserve.mtime || preserve.xattrs
}

/// Reads the attributes that stay: a program's capabilities always, all others on request.
fn attributes(
    Sources { tree, stat, .. }: Sources<'_>,
    path: &[u8],
    metadata: &Metadata,
    all: bool,
) -> Result<Option<Box<Xattrs>>, LayerError> {
    let is_program = metadata.kind == FileKind::Regular && metadata.mode & 0o111 != 0;
    let fault = |error| LayerError::walked(FileError::io("read the attributes of", path, error));
    let found = match metadata.kind {
        FileKind::Regular | FileKind::Directory if all => tree.xattrs(path).map_err(fault)?,
        _ if is_program && stat.is_some_and(|stat| facts::is_plain(stat, path, metadata)) => return Ok(None),
        _ if is_program => {
            let capability = tree.capability(path).map_err(fault)?;
            capability.map(|value| (CAPABILITY.to_vec(), value)).into_iter().collect()
        }
        _ => return Ok(None),
    };
    let kept: Vec<_> = found.into_iter().filter(|(name, _)| Xattrs::travels(name)).collect();
    if let Some((name, _)) =
        kept.iter().find(|(name, _)| name.iter().any(|byte| matches!(byte, b'=' | b'\n')))
    {
        let (path, name) = (display(path), display(name));
        return Err(LayerError::Attribute { path, name, span: None });
    }
    check_size(path, &kept)?;
    Ok(Xattrs::new(kept))
}

/// Makes sure that readers take the header in which the attributes stand: most refuse, or pass
/// over, one of more than a mebibyte.
fn check_size(path: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), LayerError> {
    let length = |(name, value): &(Vec<u8>, Vec<u8>)| tar::xattr_len(name, value);
    let size: u64 = xattrs.iter().map(length).sum();
    let limit = tar::MAX_EXTENSION - ROOM;
    let Some((name, _)) = xattrs.iter().max_by_key(|xattr| length(xattr)).filter(|_| size > limit) else {
        return Ok(());
    };
    let (path, name) = (display(path), display(name));
    Err(LayerError::Attributes { path, name, size, limit, span: None })
}
