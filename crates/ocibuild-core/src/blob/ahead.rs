//! A file whose bytes go to the disk while more of them are written.
//!
//! A file that is synced once at its end leaves the disk idle before and the processors after. So
//! from some size on, a thread syncs what is there so far.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// As many bytes are written between two syncs, and before the first.
const STEP: usize = 16 << 20;

/// A file that is to be synced when all of it is written.
#[derive(Debug)]
pub(crate) struct AheadFile {
    file: Arc<File>,
    /// The bytes since the last time that syncing was asked for.
    written: usize,
    beside: Option<Beside>,
}

#[derive(Debug)]
struct Beside {
    wanted: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl AheadFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file: Arc::new(file), written: 0, beside: None }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// What that meets now, or met before: a system tells of a lost write once.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(Beside { wanted, thread }) = self.beside.take() {
            drop(wanted);
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        self.file.sync_data()
    }

    fn sync_beside(&mut self) {
        if self.beside.is_none() {
            let (wanted, asked) = sync_channel(1);
            let file = Arc::clone(&self.file);
            let sync = move || asked.into_iter().try_for_each(|()| file.sync_data());
            // Without a thread, all is synced at the end.
            let thread = thread::Builder::new().spawn(sync).ok();
            self.beside = thread.map(|thread| Beside { wanted, thread });
        }
        if let Some(beside) = &self.beside {
            // One that is at it, and has more to do after that, needs no telling; what one has met
            // that is there no longer comes out in the end.
            let _ = beside.wanted.try_send(());
        }
    }
}

impl Write for AheadFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&*self.file).write(bytes)?;
        self.written += count;
        if self.written >= STEP {
            self.written = 0;
            self.sync_beside();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_has_all_its_bytes() {
        let mut kept = tempfile::NamedTempFile::new().unwrap();
        let mut ahead = AheadFile::new(kept.reopen().unwrap());
        let bytes: Vec<u8> = (0..(1 << 20) + 3).map(|at: u32| (at / 5) as u8).collect();
        for _ in 0..40 {
            ahead.write_all(&bytes).unwrap();
        }
        assert!(ahead.beside.is_some());
        ahead.sync().unwrap();
        let mut read = Vec::new();
        io::Read::read_to_end(kept.as_file_mut(), &mut read).unwrap();
        assert!(read == bytes.repeat(40));
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_synced_is_told() {
        // A pipe takes bytes, and nobody can sync it.
        let (mut reader, writer) = io::pipe().unwrap();
        let drain = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        let mut ahead = AheadFile::new(File::from(std::os::fd::OwnedFd::from(writer)));
        ahead.write_all(&vec![0; 2 * STEP]).unwrap();
        assert!(ahead.beside.is_some());
        assert!(ahead.sync().is_err());
        drop(ahead);
        drain.join().unwrap().unwrap();
    }
}
