//! What pushing costs beside what `curl` takes to send the same bytes: `push PROGRAM [RUNS]`.
//!
//! An image of four layers of 64 MiB goes from a layout to a registry on this machine: one by
//! `PROGRAM serve`, and Debian's docker-registry where that is installed. Each run is into a
//! repository of its own, in turn with `curl`, which sends the blobs one after the other, and then
//! all at once.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ocibuild_benches::registry::{Log, Registry};

const LAYERS: usize = 4;
const LAYER: u64 = 64 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = fs::canonicalize(arguments.next().ok_or("usage: push PROGRAM [RUNS]")?)?;
    let runs = arguments.next().map_or(Ok(9), |runs| runs.parse::<usize>())?;
    let directory = tempfile::tempdir()?;
    let source = Source::make(&program, directory.path())?;
    println!(
        "| registry | ocibuild | curl, one by one | curl, all at once | to curl one by one | to all at once |"
    );
    println!("|---|---|---|---|---|---|");
    let ours = Running::ours(&program, directory.path())?;
    source.compare("serve", &ours.address, runs)?;
    drop(ours);
    if Registry::is_installed() {
        let theirs = Registry::start(&directory.path().join("registry"), Log::Nothing)?;
        source.compare("docker-registry", &theirs.address, runs)?;
    }
    Ok(())
}

/// Our registry; it ends with this value.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn ours(program: &Path, directory: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg(directory.join("served.oci")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no address")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim_end().to_owned() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A layout with an image, and the files of what is no manifest.
struct Source {
    program: PathBuf,
    directory: PathBuf,
    blobs: Vec<PathBuf>,
}

impl Source {
    fn make(program: &Path, directory: &Path) -> Result<Self> {
        let mut spec = "version = 1\n".to_owned();
        let mut random = File::open("/dev/urandom")?;
        for number in 0..LAYERS {
            let mut file = File::create(directory.join(format!("f{number}")))?;
            std::io::copy(&mut random.by_ref().take(LAYER), &mut file)?;
            spec += &format!(
                "[layers.l{number}]\ncompression = \"none\"\ncopy = [{{ from = \"f{number}\", to = \"/\" }}]\n"
            );
        }
        let names: Vec<_> = (0..LAYERS).map(|number| format!("\"l{number}\"")).collect();
        spec += &format!("[images.app]\nlayers = [{}]\n", names.join(", "));
        fs::write(directory.join("ocibuild.toml"), spec)?;
        let mut command = Command::new(program);
        command.args(["build", "--cache-dir", "built", "--output", "type=oci,dest=app.oci"]);
        succeeds(command.current_dir(directory))?;
        let mut blobs = Vec::new();
        for entry in fs::read_dir(directory.join("app.oci/blobs/sha256"))? {
            let entry = entry?;
            if entry.metadata()?.len() >= LAYER {
                blobs.push(entry.path());
            }
        }
        Ok(Self { program: program.to_owned(), directory: directory.to_owned(), blobs })
    }

    /// Prints the medians.
    fn compare(&self, name: &str, address: &str, runs: usize) -> Result<()> {
        let (mut own, mut single, mut together) = (Vec::new(), Vec::new(), Vec::new());
        // The first of each shows what is cold.
        for run in 0..=runs {
            own.push(self.push(address, &format!("own{run}"))?);
            single.push(self.curl(address, &format!("single{run}"), false)?);
            together.push(self.curl(address, &format!("together{run}"), true)?);
        }
        let [own, single, together] = [own, single, together].map(|times| median(times.into_iter().skip(1)));
        println!(
            "| {name} | {own:.2} s | {single:.2} s | {together:.2} s | {:.2} | {:.2} |",
            own / single,
            own / together
        );
        Ok(())
    }

    fn push(&self, address: &str, repository: &str) -> Result<f64> {
        let target = format!("{address}/bench/{repository}:1");
        let mut command = Command::new(&self.program);
        // A cache of its own: nothing is known of other repositories.
        command.env("OCIBUILD_CACHE_DIR", self.directory.join("caches").join(repository));
        command.args(["push", "app.oci", &target]).current_dir(&self.directory);
        let begun = Instant::now();
        succeeds(&mut command)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn curl(&self, address: &str, repository: &str, at_once: bool) -> Result<f64> {
        let uploads = format!("http://{address}/v2/bench/{repository}/blobs/uploads/");
        let begun = Instant::now();
        let mut children = Vec::new();
        for blob in &self.blobs {
            let child = send(&uploads, address, blob)?;
            children.push(child);
            if !at_once {
                finish(&mut children)?;
            }
        }
        finish(&mut children)?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Begins an upload, and then sends the bytes.
fn send(uploads: &str, address: &str, blob: &Path) -> Result<Child> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--output", "/dev/null", "--write-out", "%header{location}"]);
    let output = command.args(["--request", "POST", uploads]).output()?;
    let location = String::from_utf8(output.stdout)?;
    let location = if location.starts_with('/') { format!("http://{address}{location}") } else { location };
    let digest = blob.file_name().and_then(|name| name.to_str()).ok_or("a blob without a name")?;
    let separator = if location.contains('?') { '&' } else { '?' };
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--output", "/dev/null", "--upload-file"]).arg(blob);
    command.args(["--header", "Content-Type: application/octet-stream", "--header", "Expect:"]);
    Ok(command.arg(format!("{location}{separator}digest=sha256:{digest}")).spawn()?)
}

fn finish(children: &mut Vec<Child>) -> Result<()> {
    for mut child in children.drain(..) {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("curl failed: {status}").into());
        }
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
