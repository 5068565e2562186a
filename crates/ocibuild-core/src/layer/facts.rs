//! What of a file's content matters beside its digest, and how it is noted in the stat cache.

use crate::files::{Entry, FileTree, Learned, Metadata, StatCache};
use crate::inspect;
use crate::layer::inspect::Look;
use crate::layer::inventory::ContentDigest;
use crate::layer::{machine, pyc};

/// What a file's first bytes say, whatever image they come into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The machine that it is a program for.
    pub(super) machine: Option<&'static str>,
    /// The source's time, if it is compiled Python that is checked by it.
    pub(super) pyc: Option<pyc::SourceTime>,
    /// Whether it was looked at for programs and secrets.
    pub(super) look: Look,
}

/// Notes: a machine's number, bits, a source's time.
const IS_CHECKED: u8 = 1;
const HAS_TIME: u8 = 2;
const HAS_NO_CAPABILITY: u8 = 4;
const IS_TELLING: u8 = 8;
/// The version of what it was looked at for; 0 if it wasn't.
const LOOK_SHIFT: u32 = 4;
const LOOK: u8 = 7;
/// Of what is telling, that it is a script and nothing else.
const IS_SCRIPT: u8 = 1 << 7;

/// Versions have three bits, and 0 is none.
const _: () = assert!(inspect::VERSION >= 1 && inspect::VERSION <= LOOK);

impl Facts {
    /// Looks at a file's first bytes.
    pub(super) fn of(first: &[u8]) -> Self {
        Self { machine: machine::of(first), pyc: pyc::checked(first), look: Look::Unknown }
    }

    /// Tells whether there is anything to say.
    pub(super) fn is_any(self) -> bool {
        self != Self::default()
    }

    fn from_notes([machine, bits, time @ ..]: [u8; 6]) -> Self {
        let time = (bits & HAS_TIME != 0).then(|| u32::from_le_bytes(time));
        let look = match (bits >> LOOK_SHIFT & LOOK == inspect::VERSION, bits & IS_TELLING != 0) {
            (false, _) => Look::Unknown,
            (true, false) => Look::Plain,
            (true, true) if bits & IS_SCRIPT != 0 => Look::Script,
            (true, true) => Look::Telling,
        };
        Self { machine: machine::numbered(machine), pyc: (bits & IS_CHECKED != 0).then_some(time), look }
    }

    fn notes(self, bits: u8) -> [u8; 6] {
        let machine = self.machine.and_then(machine::number).unwrap_or_default();
        let time = self.pyc.flatten();
        let is_checked = if self.pyc.is_some() { IS_CHECKED } else { 0 };
        let has_time = if time.is_some() { HAS_TIME } else { 0 };
        let look = match self.look {
            Look::Unknown => 0,
            Look::Plain => inspect::VERSION << LOOK_SHIFT,
            Look::Script => inspect::VERSION << LOOK_SHIFT | IS_TELLING | IS_SCRIPT,
            Look::Telling => inspect::VERSION << LOOK_SHIFT | IS_TELLING,
        };
        let [a, b, c, d] = time.unwrap_or_default().to_le_bytes();
        [machine, bits | is_checked | has_time | look, a, b, c, d]
    }
}

/// Returns the digest of a file's content and what else matters of it, if it is known.
pub(super) fn known(stat: &StatCache, path: &[u8], seen: &Metadata) -> Option<(ContentDigest, Facts)> {
    let learned = stat.get(path, seen)?;
    Some((ContentDigest(learned.content), Facts::from_notes(learned.notes)))
}

/// Tells whether a file is known to have no capabilities. They can't come without a change of its
/// ctime.
pub(super) fn is_plain(stat: &StatCache, path: &[u8], seen: &Metadata) -> bool {
    stat.get(path, seen).is_some_and(|learned| learned.notes[1] & HAS_NO_CAPABILITY != 0)
}

/// Notes what was learned by reading the file of an entry.
pub(super) fn learn(
    (stat, tree): (&StatCache, &dyn FileTree),
    (path, seen): (&[u8], &Metadata),
    entry: &Entry,
    (content, facts): (ContentDigest, Facts),
) {
    if !tree.has_our_clock(seen.id.device) {
        return;
    }
    // Capabilities are looked for before a file is read, where one may have any.
    let is_plain = seen.mode & 0o111 != 0 && entry.xattrs.is_none();
    let notes = facts.notes(if is_plain { HAS_NO_CAPABILITY } else { 0 });
    stat.learn(path, seen, Learned { content: content.0, notes });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_written() {
        let machines = [None, Some("amd64"), Some("mips64le")];
        let times = [None, Some(None), Some(Some(0)), Some(Some(u32::MAX))];
        for machine in machines {
            for pyc in times {
                for bits in [0, HAS_NO_CAPABILITY] {
                    for look in [Look::Unknown, Look::Plain, Look::Script, Look::Telling] {
                        let facts = Facts { machine, pyc, look };
                        assert_eq!(Facts::from_notes(facts.notes(bits)), facts);
                        assert_eq!(facts.notes(bits)[1] & HAS_NO_CAPABILITY, bits);
                    }
                }
            }
        }
    }
}
