//! Remakes the binary fixtures of `testdata` from their sources, or checks that the committed bytes
//! are what the sources give.
//!
//! The bytes follow from the sources and from binutils alone; the committed ones are those of
//! binutils 2.40 (Debian 12). It doesn't know who uses the fixtures.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One build of `testdata/hello`.
struct Hello {
    /// Rust's name of the architecture, and the end of both file names.
    architecture: &'static str,
    /// What the tools' names begin with. Never the bare `as`, which means the host's architecture.
    tools: &'static str,
    /// Debian's package of these tools, for the message when they are missing.
    package: &'static str,
    /// Options of the assembler that pin what distributions set differently.
    assembler_options: &'static [&'static str],
}

const HELLOS: [Hello; 2] = [
    Hello {
        architecture: "x86_64",
        tools: "x86_64-linux-gnu-",
        package: "binutils-x86-64-linux-gnu",
        assembler_options: &["-mx86-used-note=no"],
    },
    Hello {
        architecture: "aarch64",
        tools: "aarch64-linux-gnu-",
        package: "binutils-aarch64-linux-gnu",
        assembler_options: &[],
    },
];

/// Nothing in the output but code and the headers: no build id, no symbols, no padding to a page.
const LINKER_OPTIONS: [&str; 7] =
    ["-static", "--strip-all", "--build-id=none", "-z", "noseparate-code", "-z", "noexecstack"];

/// Why the fixtures could not be remade, or are not what their sources give.
#[derive(Debug)]
pub(crate) enum Error {
    /// A tool could not be started.
    Start { program: String, package: &'static str, source: io::Error },
    /// A tool ended with a failure; `stderr` is what it had to say.
    Tool { program: String, stderr: String },
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// A committed fixture has other bytes than its source gives, or isn't executable.
    Differs { path: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Start { program, package, .. } => {
                write!(formatter, "cannot start `{program}` (of Debian's package `{package}`)")
            }
            Error::Tool { program, stderr } => {
                write!(formatter, "`{program}` failed: {}", stderr.trim())
            }
            Error::File { path, .. } => {
                write!(formatter, "cannot read or write `{}`", path.display())
            }
            Error::Differs { path } => write!(
                formatter,
                "`{}` is not what its source gives with this machine's binutils",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Start { source, .. } | Error::File { source, .. } => Some(source),
            Error::Tool { .. } | Error::Differs { .. } => None,
        }
    }
}

/// Makes each fixture anew below `root`, the root of the repository.
///
/// With `check`, the committed files stay as they are, and the first that differs is the error.
/// Work files go to `target/fixtures`.
pub(crate) fn remake(root: &Path, check: bool) -> Result<(), Error> {
    let work = root.join("target/fixtures");
    fs::create_dir_all(&work).map_err(file_error(&work))?;
    for hello in &HELLOS {
        let name = format!("hello-{}", hello.architecture);
        let committed = root.join("testdata/hello").join(&name);
        let made = assemble(hello, &committed.with_extension("s"), &work.join(&name))?;
        if check {
            compare(&made, &committed)?;
        } else {
            write_executable(&made, &committed)?;
        }
    }
    Ok(())
}

/// Assembles and links `source` to `output`, and returns the bytes of the program.
fn assemble(hello: &Hello, source: &Path, output: &Path) -> Result<Vec<u8>, Error> {
    let object = output.with_extension("o");
    let mut assembler = Command::new(format!("{}as", hello.tools));
    assembler.args(hello.assembler_options);
    run(assembler.arg("-o").arg(&object).arg(source), hello.package)?;
    let mut linker = Command::new(format!("{}ld", hello.tools));
    linker.args(LINKER_OPTIONS);
    run(linker.arg("-o").arg(output).arg(&object), hello.package)?;
    fs::read(output).map_err(file_error(output))
}

fn run(command: &mut Command, package: &'static str) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(source) => Err(Error::Start { program, package, source }),
        Ok(output) if !output.status.success() => {
            Err(Error::Tool { program, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
        }
        Ok(_) => Ok(()),
    }
}

fn compare(made: &[u8], committed: &Path) -> Result<(), Error> {
    let bytes = fs::read(committed).map_err(file_error(committed))?;
    let mode = fs::metadata(committed).map_err(file_error(committed))?.permissions().mode();
    if bytes == made && mode & 0o100 != 0 {
        Ok(())
    } else {
        Err(Error::Differs { path: committed.to_path_buf() })
    }
}

fn write_executable(made: &[u8], path: &Path) -> Result<(), Error> {
    fs::write(path, made).map_err(file_error(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { path, source }
}
