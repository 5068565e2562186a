//! What tools say of themselves, so that a step runs again with another version of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::{seal, unseal};
use crate::event::{Cancel, Cancelled, Stream};
use crate::key::{Key, KeyWriter};
use crate::own;
use crate::step::environment::path_of;
use crate::step::mask::Masker;
use crate::step::process::{Ending, Process, ProcessError, find};

/// As long as a tool may take to say which it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that a tool may say, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// What notes are called where they are sealed.
const SEALED: &str = "tool";

/// A tool can't say which it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It can't be run.
    #[error("the tool `{tool}` cannot be asked")]
    Process {
        /// The command, as the spec has it.
        tool: String,
        /// Why not.
        #[source]
        source: ProcessError,
    },
    /// It failed.
    #[error("the tool `{tool}` fails: {how}")]
    Failed {
        /// The command, as the spec has it.
        tool: String,
        /// How it ended, and what it said last.
        how: String,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Asks tools which they are, and remembers the answers for as long as their programs are the same
/// files: a file is known by device, inode, size and both times.
pub struct Tools<'a> {
    cache: PathBuf,
    path: OsString,
    cancel: &'a Cancel,
    known: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl<'a> Tools<'a> {
    /// Asks with the variables that a run was given.
    pub fn new(
        cache: &Path,
        variables: &(dyn Fn(&str) -> Option<OsString> + Sync),
        cancel: &'a Cancel,
    ) -> Self {
        Self { cache: cache.to_owned(), path: path_of(variables), cancel, known: Mutex::default() }
    }

    /// Returns what a command prints: a program's name and its arguments, between blanks.
    ///
    /// # Errors
    /// [`ToolError`] if it can't be run, or fails.
    pub fn ask(&self, tool: &str) -> Result<Vec<u8>, ToolError> {
        // Those that are asked for the same at once wait for one answer.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(tool) {
            return Ok(answer.clone());
        }
        let answer = self.recall_or_run(tool)?;
        known.insert(tool.to_owned(), answer.clone());
        Ok(answer)
    }

    fn recall_or_run(&self, tool: &str) -> Result<Vec<u8>, ToolError> {
        let failed = |source| ToolError::Process { tool: tool.to_owned(), source };
        let argv: Vec<OsString> = tool.split_whitespace().map(OsString::from).collect();
        let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
        let program = find(name, &self.path, Path::new("/")).map_err(failed)?;
        let note = identity(&program).map(|identity| self.note(&key(tool, &program, &identity)));
        if let Some(answer) =
            note.as_ref().and_then(|note| unseal(SEALED, &fs::read(note).ok()?).map(<[u8]>::to_vec))
        {
            return Ok(answer);
        }
        let answer = self.run(tool, argv)?;
        if let Some(note) = note {
            // Where it can't be kept, it is asked again.
            let _ = own::replace(&self.cache, &note, &seal(SEALED, &answer));
        }
        Ok(answer)
    }

    fn note(&self, key: &Key) -> PathBuf {
        self.cache.join("steps").join("v1").join("tools").join(key.hex())
    }

    fn run(&self, tool: &str, argv: Vec<OsString>) -> Result<Vec<u8>, ToolError> {
        let environment =
            [("PATH", self.path.clone()), ("LANG", "C.UTF-8".into()), ("HOME", "/dev/null".into())];
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let process = Process {
            argv,
            environment,
            directory: "/".into(),
            timeout: Some(PATIENCE),
            masker: Masker::default(),
        };
        let said = Mutex::new((Vec::new(), String::new()));
        let ending = process.run(self.cancel, &|stream, line| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if stream == Stream::Stderr || said.1.is_empty() {
                said.1 = String::from_utf8_lossy(line).into_owned();
            }
            // Java and others say their version there.
            if said.0.len() < MAX_ANSWER {
                said.0.extend_from_slice(line);
                said.0.push(b'\n');
            }
        });
        let (answer, last) = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        let how = match ending.map_err(|source| ToolError::Process { tool: tool.to_owned(), source })? {
            Ending::Exited(0) => return Ok(answer),
            Ending::Cancelled => return Err(Cancelled.into()),
            Ending::Exited(code) => format!("exit code {code}"),
            Ending::Signalled(signal) => format!("signal {signal}"),
            Ending::TimedOut(after) => format!("not done after {} s", after.as_secs()),
        };
        let how = if last.is_empty() { how } else { format!("{how}: {last}") };
        Err(ToolError::Failed { tool: tool.to_owned(), how })
    }
}

/// What a program's file is known by, past all links.
fn identity(program: &Path) -> Option<[i128; 6]> {
    let seen = program.metadata().ok()?;
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    Some([
        seen.dev().into(),
        seen.ino().into(),
        seen.size().into(),
        time(seen.mtime(), seen.mtime_nsec()),
        time(seen.ctime(), seen.ctime_nsec()),
        seen.mode().into(),
    ])
}

fn key(tool: &str, program: &Path, identity: &[i128; 6]) -> Key {
    let mut key = KeyWriter::new("tool", 1);
    key.field("command", tool).field("program", program.as_os_str().as_encoded_bytes());
    for part in identity {
        key.field("identity", part.to_le_bytes());
    }
    key.finish()
}
