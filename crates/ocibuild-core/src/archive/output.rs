//! Where an archive goes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::files::PART_PREFIX;

/// A file that isn't in its place yet, or a stream.
pub(super) enum Output<'a> {
    File { writer: BufWriter<NamedTempFile>, path: PathBuf },
    Stream(BufWriter<Box<dyn Write + Send + 'a>>),
}

impl<'a> Output<'a> {
    pub(super) fn stream(stream: impl Write + Send + 'a) -> Self {
        Self::Stream(BufWriter::new(Box::new(stream)))
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let path = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if metadata.is_file() => path.canonicalize()?,
            Ok(_) => return Ok(Self::stream(File::options().write(true).open(path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory)?;
        Ok(Self::File { writer: BufWriter::new(temporary(directory)?), path })
    }

    /// Puts a file in its place, whole.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::File { writer, path } => {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_data()?;
                file.persist(path).map(|_| ()).map_err(|error| error.error)
            }
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File { writer, .. } => writer,
            Self::Stream(stream) => stream,
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

/// Unlike a private temporary file, one that becomes output has the mode that the umask wants.
fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PART_PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}
