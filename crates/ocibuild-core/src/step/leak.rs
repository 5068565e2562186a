//! Secrets found in what a command made, before anybody else gets that.
//!
//! Only what can be no accident is looked for: whole values of some length, and those of their parts that
//! are as good as random, in all the forms in which they are hidden elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use aho_corasick::AhoCorasick;

use crate::event::Cancel;
use crate::files::{FileKind, FileTree, OpenFile};
use crate::step::mask::Masker;
use crate::step::sync::each;
use crate::step::{StepError, forms};

/// Shorter values, in bytes, are found where nobody put them.
const MIN: usize = 8;
/// Of values that are longer, in bytes, few forms are looked for: files of settings, in parts.
const LONG: usize = 4 << 10;
/// Shorter lines of a value in base64, in characters, may be of anything.
const MIN_LINE: usize = 24;
/// As many such lines are looked for.
const MOST_LINES: usize = 64;

/// What is looked for.
#[derive(Default)]
pub(super) struct Needles {
    search: Option<AhoCorasick>,
    /// The secrets' names, one for each pattern.
    ids: Vec<String>,
}

impl Needles {
    /// Prepares for secrets: their names and values.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut found = BTreeMap::new();
        for (id, value) in secrets {
            found.extend(needles(value.trim_ascii()).into_iter().map(|needle| (needle, id.to_owned())));
        }
        let (patterns, ids): (Vec<Vec<u8>>, Vec<String>) = found.into_iter().unzip();
        // As many as can be masked can be looked for.
        let search = if patterns.is_empty() { None } else { AhoCorasick::new(patterns).ok() };
        Self { search, ids }
    }

    /// Looks through files below outputs, their names, and where links point to: side by side in the pool
    /// that this is called from, if it is.
    ///
    /// # Errors
    /// [`StepError::Leak`] for a secret that is found; others if something can't be read.
    pub(super) fn search(
        &self,
        made: &dyn FileTree,
        outputs: &[&[u8]],
        masker: &Masker,
        cancel: &Cancel,
    ) -> Result<(), StepError> {
        let Some(search) = &self.search else { return Ok(()) };
        let look = |path: Vec<u8>| {
            cancel.check()?;
            let shown = || String::from_utf8_lossy(&masker.mask(&path)).into_owned();
            match look(made, &path, search, cancel) {
                Ok(Look::Found(pattern)) => {
                    Err(StepError::Leak { id: self.ids[pattern].clone(), path: shown() })
                }
                Ok(Look::Clean(below)) => Ok(below),
                Err(source) => {
                    cancel.check()?;
                    Err(StepError::Input { path: shown(), source })
                }
            }
        };
        let mut level: Vec<Vec<u8>> = outputs.iter().map(|path| path.to_vec()).collect();
        while !level.is_empty() {
            level = each(level, look)?.into_iter().flatten().collect();
        }
        Ok(())
    }
}

/// All that shows a value to whoever has it.
fn needles(value: &[u8]) -> BTreeSet<Vec<u8>> {
    if value.len() < MIN {
        return BTreeSet::new();
    }
    let mut needles = match value.len() > LONG {
        true => forms::base64_inside(value),
        false => forms::forms(value),
    };
    needles.insert(value.to_vec());
    // How a file begins says only of what kind it is.
    let is_file = value.contains(&b'\n');
    for lines in forms::base64_lines(value) {
        let telling = lines.into_iter().skip(usize::from(is_file)).filter(|line| line.len() >= MIN_LINE);
        needles.extend(telling.take(MOST_LINES));
    }
    needles.extend(forms::parts(value).into_iter().flat_map(forms::forms));
    needles.retain(|needle| needle.len() >= MIN);
    needles
}

/// What was found in a file.
enum Look {
    /// The pattern of this number.
    Found(usize),
    /// None. If it is a directory, these are below it.
    Clean(Vec<Vec<u8>>),
}

/// Looks at one file, or lists what is below it.
fn look(made: &dyn FileTree, path: &[u8], search: &AhoCorasick, cancel: &Cancel) -> io::Result<Look> {
    let found = |bytes: &[u8]| search.find(bytes).map(|found| found.pattern().as_usize());
    if let Some(found) = found(path) {
        return Ok(Look::Found(found));
    }
    let pattern = match made.metadata(path)?.kind {
        FileKind::Directory => {
            let below = |name: &[u8]| [path, b"/", name].concat();
            return Ok(Look::Clean(made.read_dir(path)?.iter().map(|(name, _)| below(name)).collect()));
        }
        FileKind::Symlink => found(&made.read_link(path)?),
        FileKind::Regular => {
            let file = Reader { file: made.open(path)?, at: 0, cancel };
            let first = search.stream_find_iter(file).next().transpose()?;
            first.map(|found| found.pattern().as_usize())
        }
        // No other kind is kept.
        _ => None,
    };
    Ok(pattern.map_or(Look::Clean(Vec::new()), Look::Found))
}

/// A file that is read from its beginning to its end, unless that is cancelled.
struct Reader<'a> {
    file: Box<dyn OpenFile>,
    at: u64,
    cancel: &'a Cancel,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;
    use crate::files::MemoryTree;

    const VALUE: &[u8] = b"canary-5up3r-s3cret";

    fn search(tree: &MemoryTree, cancel: &Cancel) -> Result<(), StepError> {
        let needles = Needles::new([("npm", VALUE)].into_iter());
        needles.search(tree, &[b"out"], &Masker::new([VALUE]).unwrap(), cancel)
    }

    #[test]
    fn a_secret_is_found_in_contents_and_names_in_a_pool_and_without() {
        let value = String::from_utf8(VALUE.to_vec()).unwrap();
        let many =
            || (0..50).fold(MemoryTree::new(), |tree, n| tree.file(format!("out/{n}/a/file"), "clean"));
        let long = [vec![b'x'; 300_000], VALUE.to_vec()].concat();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (tree, place) in [
            (many(), None),
            (many().file("out/7/long", long), Some("out/7/long")),
            (many().file(format!("out/8/{value}"), ""), Some("out/8/***")),
        ] {
            let both = [search(&tree, &Cancel::new()), pool.install(|| search(&tree, &Cancel::new()))];
            for found in both {
                let found = match found {
                    Ok(()) => None,
                    Err(StepError::Leak { path, .. }) => Some(path),
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(found.as_deref(), place);
            }
        }
    }

    /// Tells whether a value is found in what was made of it.
    fn is_found(value: &str, made: impl AsRef<[u8]>) -> bool {
        let needles = Needles::new([("key", value.as_bytes())].into_iter());
        let tree = MemoryTree::new().file("out", [b"some ", made.as_ref(), b" more"].concat());
        let found = needles.search(&tree, &[b"out"], &Masker::new([value]).unwrap(), &Cancel::new());
        assert!(matches!(found, Ok(()) | Err(StepError::Leak { .. })), "{found:?}");
        found.is_err()
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let value = "super/secret+to\"ken";
        for before in ["", "u", "us", "user:"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let made = engine.encode(format!("{before}{value}\n"));
                assert!(is_found(value, &made), "{made}");
            }
        }
        for made in [
            "super%2Fsecret%2Bto%22ken",
            "super%2fsecret%2bto%22ken",
            r#"{"token":"super\/secret+to\"ken"}"#,
            r#"{"token":"super/secret+to\"ken"}"#,
            "super/secret+to&quot;ken",
            "73757065722f7365637265742b746f226b656e",
        ] {
            assert!(is_found(value, made), "{made}");
        }
        assert!(!is_found(value, "super/secret+to"));
        let token: String = (0..20).map(|n| format!("t0K{n:02}")).collect();
        let wrapped = STANDARD.encode(&token);
        let wrapped: Vec<&[u8]> = wrapped.as_bytes().chunks(76).collect();
        assert!(is_found(&token, wrapped.join(&b'\n')));
    }

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4pVu1Vb3fLq0Tn2r\n\
        Zs9H1cXkW5dJm7oYgE8uRi6BtAaPQyN3ChvDl4FzKMSjxw0OUeIpGT2b1rVqZ8nX\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_is_found_in_parts() {
        let without_first: String = KEY.lines().skip(2).collect();
        let base64 = STANDARD.encode(KEY);
        let base64: Vec<&[u8]> = base64.as_bytes().chunks(64).skip(1).collect();
        for made in [
            KEY.replace('\n', "\\n"),
            KEY.replace('\n', ""),
            KEY.replace('\n', "\r\n  "),
            without_first,
            String::from_utf8(base64.join(&b'\n')).unwrap(),
            STANDARD.encode(format!("{{\"key\":\"{}\"}}", KEY.replace('\n', "\\n"))),
        ] {
            assert!(is_found(KEY, &made), "{made}");
        }
        for made in
            ["-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----", "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49"]
        {
            assert!(!is_found(KEY, made), "{made}");
        }
        let settings =
            "registry=https://registry.example.org/\nalways-auth=true\n_authToken=npm_4bCdEfGh1jKlMn0pQrS\n";
        assert!(!is_found(settings, "registry=https://registry.example.org/\nalways-auth=true\n"));
        assert!(is_found(settings, "npm_4bCdEfGh1jKlMn0pQrS"));
    }

    #[test]
    fn few_bytes_and_many_are_looked_for_at_a_bounded_cost() {
        assert!(needles(b"seven77").is_empty());
        let lines: String = (0..900).map(|n| format!("{:064}\n", n * 7919)).collect();
        let key = (0..900).map(|n| format!("aB{n:03}{}\n", "xYz0123456".repeat(6))).collect::<String>();
        for value in [lines, key] {
            let size: usize = needles(value.as_bytes()).iter().map(Vec::len).sum();
            assert!(size < 1 << 20, "{size}");
        }
    }

    #[test]
    fn reading_a_file_ends_when_it_is_cancelled() {
        let cancel = Cancel::new();
        let tree = MemoryTree::new().file("out", "clean");
        let mut reader = Reader { file: tree.open(b"out").unwrap(), at: 0, cancel: &cancel };
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 2);
        cancel.cancel();
        assert!(reader.read(&mut [0; 2]).is_err());
        assert!(matches!(search(&tree, &cancel), Err(StepError::Cancelled(_))));
    }
}
