//! What a manifest hit costs as a whole process: `hit PROGRAM [RUNS]`.
//!
//! For 1,000 and for 100,000 files, an image is built once into a layout; then its files are taken
//! away, all but the lockfile, and the same build is run again and again.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = fs::canonicalize(arguments.next().ok_or("usage: hit PROGRAM [RUNS]")?)?;
    let runs = arguments.next().map_or(Ok(100), |runs| runs.parse::<usize>())?;
    println!("| files | least | median | 95% | most |");
    println!("|---|---|---|---|---|");
    for files in [1_000, 100_000] {
        let directory = tempfile::tempdir()?;
        prepare(directory.path(), files)?;
        build(&program, directory.path())?;
        fs::remove_dir_all(directory.path().join("node_modules"))?;
        let mut times =
            (0..runs).map(|_| build(&program, directory.path())).collect::<Result<Vec<_>, _>>()?;
        times.sort();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!("| {files} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |", at(0), at(50), at(95), at(100));
    }
    Ok(())
}

fn prepare(directory: &Path, files: usize) -> Result<(), Box<dyn Error>> {
    for file in 0..files {
        let package = directory.join(format!("node_modules/package-{}", file / 100));
        fs::create_dir_all(&package)?;
        fs::write(package.join(format!("{file}.js")), format!("module.exports = {file};\n"))?;
    }
    fs::write(directory.join("package-lock.json"), "{}")?;
    let spec = "version = 1\n[layers.dependencies]\nmanifests = [\"package-lock.json\"]\n\
        copy = [{ from = \"node_modules\", to = \"/app/node_modules\" }]\n\
        [images.app]\nlayers = [\"dependencies\"]\n";
    Ok(fs::write(directory.join("ocibuild.toml"), spec)?)
}

/// Builds, and says how long the process took.
fn build(program: &Path, directory: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(["build", "--cache-dir", "cache"]).current_dir(directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() { Ok(elapsed) } else { Err(format!("the build failed: {status}").into()) }
}
