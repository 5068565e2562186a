//! Uploads under way: each a directory with the bytes so far and the name of its repository, so that
//! it is gone on with after a restart.
//!
//! Two requests for one upload don't mix: the later takes over, as the earlier may be a connection
//! that is dead without anybody knowing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ocibuild_core::Digest;
use ocibuild_core::digest::Sha256Hasher;

use crate::storage::lock;

const ID_LENGTH: usize = 32;
const DATA: &str = "data";
const REPOSITORY: &str = "repository";

/// How often old uploads are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Uploads {
    directory: PathBuf,
    lifetime: Duration,
    known: Mutex<HashMap<String, Arc<Upload>>>,
    swept: Mutex<Option<Instant>>,
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) repository: String,
    directory: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    hasher: Sha256Hasher,
    size: u64,
    /// Which request writes; an earlier one finds that it is another.
    claim: u64,
    is_over: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("size", &self.size).field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// Why bytes can't be added.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Another request took over, or the upload has ended.
    Superseded,
    File(io::Error),
}

/// A request's right to add bytes.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) upload: Arc<Upload>,
    number: u64,
    /// Bytes that were there when the request came.
    pub(crate) start: u64,
}

impl Uploads {
    pub(crate) fn new(own: &Path, lifetime: Duration) -> Self {
        let directory = own.join("uploads");
        Self { directory, lifetime, known: Mutex::default(), swept: Mutex::default() }
    }

    /// Begins an upload.
    pub(crate) fn begin(&self, repository: &str) -> io::Result<Arc<Upload>> {
        self.sweep();
        fs::create_dir_all(&self.directory)?;
        let made = tempfile::Builder::new().prefix("").rand_bytes(ID_LENGTH).tempdir_in(&self.directory)?;
        fs::write(made.path().join(REPOSITORY), repository)?;
        let file = File::options().append(true).create_new(true).open(made.path().join(DATA))?;
        let directory = made.keep();
        let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let state = State { file, hasher: Sha256Hasher::new(), size: 0, claim: 0, is_over: false };
        let upload = Upload { id, repository: repository.to_owned(), directory, state: Mutex::new(state) };
        let upload = Arc::new(upload);
        lock(&self.known).insert(upload.id.clone(), Arc::clone(&upload));
        Ok(upload)
    }

    /// Ends an upload when the value is dropped, with whatever request it belongs to.
    pub(crate) fn ending<'a>(&'a self, upload: &'a Upload) -> impl Drop + 'a {
        struct Ending<'a>(&'a Uploads, &'a Upload);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.end(self.1);
            }
        }
        Ending(self, upload)
    }

    /// Finds an upload of a repository.
    pub(crate) fn find(&self, repository: &str, id: &str) -> io::Result<Option<Arc<Upload>>> {
        if id.len() != ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let mut known = lock(&self.known);
        let upload = match known.get(id) {
            Some(upload) => Arc::clone(upload),
            None => match resume(&self.directory.join(id), id)? {
                Some(upload) => Arc::clone(known.entry(id.to_owned()).or_insert(Arc::new(upload))),
                None => return Ok(None),
            },
        };
        Ok((upload.repository == repository).then_some(upload))
    }

    /// Ends an upload; what is left of it is dropped.
    pub(crate) fn end(&self, upload: &Upload) {
        lock(&self.known).remove(&upload.id);
        lock(&upload.state).is_over = true;
        // What can't be removed now is swept later.
        let _ = fs::remove_dir_all(&upload.directory);
    }

    /// Ends all uploads, as a registry does that forgets them.
    pub(crate) fn forget(&self) {
        let all: Vec<Arc<Upload>> = lock(&self.known).values().cloned().collect();
        all.iter().for_each(|upload| self.end(upload));
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Drops what nobody went on with for long.
    pub(crate) fn sweep(&self) {
        let mut swept = lock(&self.swept);
        if swept.is_some_and(|swept| swept.elapsed() < SWEEP_INTERVAL) {
            return;
        }
        *swept = Some(Instant::now());
        let now = SystemTime::now();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let time = fs::metadata(path.join(DATA)).or_else(|_| entry.metadata());
            let age = time.and_then(|it| it.modified()).ok().and_then(|time| now.duration_since(time).ok());
            if age.is_some_and(|age| age > self.lifetime) {
                lock(&self.known).remove(&*entry.file_name().to_string_lossy());
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// Takes up what an earlier server left, by reading it through.
fn resume(directory: &Path, id: &str) -> io::Result<Option<Upload>> {
    let read = fs::read_to_string(directory.join(REPOSITORY)).and_then(|repository| {
        let file = File::options().read(true).append(true).open(directory.join(DATA))?;
        Ok((repository, file))
    });
    let (repository, mut file) = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let mut hasher = Sha256Hasher::new();
    let (mut size, mut buffer) = (0, vec![0; 256 << 10]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    let state = Mutex::new(State { file, hasher, size, claim: 0, is_over: false });
    Ok(Some(Upload { id: id.to_owned(), repository, directory: directory.to_owned(), state }))
}

impl Upload {
    /// Tells how many bytes have come.
    pub(crate) fn size(&self) -> u64 {
        lock(&self.state).size
    }

    /// Takes the upload over from whatever request had it.
    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        let mut state = lock(&self.state);
        state.claim += 1;
        Claim { upload: Arc::clone(self), number: state.claim, start: state.size }
    }
}

impl Claim {
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, Stopped> {
        let state = lock(&self.upload.state);
        match state.is_over || state.claim != self.number {
            true => Err(Stopped::Superseded),
            false => Ok(state),
        }
    }

    /// Adds bytes.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Stopped> {
        let mut state = self.state()?;
        if let Err(error) = state.file.write_all(bytes) {
            // Part of it may have been written; what counts is what the hash is over.
            let _ = state.file.set_len(state.size);
            return Err(Stopped::File(error));
        }
        state.hasher.update(bytes);
        state.size += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file of all that came, synced, if it has this digest; otherwise the digest it has.
    /// From then on nobody adds to the file.
    pub(crate) fn finish(&self, digest: &Digest) -> Result<Result<PathBuf, Digest>, Stopped> {
        let mut state = self.state()?;
        let found = state.hasher.clone().finish().0;
        if found != *digest {
            return Ok(Err(found));
        }
        state.file.sync_data().map_err(Stopped::File)?;
        state.is_over = true;
        Ok(Ok(self.upload.directory.join(DATA)))
    }
}
