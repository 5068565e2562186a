//! `cargo xtask fuzz`: inputs nobody thought of, found by the coverage they reach.
//!
//! The targets are built as `cargo fuzz` builds them, but by the stable compiler: coverage is a
//! pass of LLVM that any compiler has, and what needs a nightly one (the address sanitizer) has
//! nothing to find in code without `unsafe`.

use crate::Result;
use crate::interrupt::Interrupt;
use crate::parts;
use crate::programs::{cargo, run};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// What is given to each target where nothing else is asked for.
const SECONDS: u64 = 600;

/// The compiler's flags: edges are counted, and compared values are told to the fuzzer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bounds for each input: seconds, MiB of memory, bytes.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"];

/// How long to search, and from where.
#[derive(Clone, Copy)]
pub(crate) enum Search {
    /// Goes on from the inputs kept by earlier runs, for some seconds a target.
    On(u64),
    /// Starts from the seeds and the same random number each time, so that a run is like the one
    /// before as far as it goes.
    Same(u64),
}

/// Runs the targets that are named, or all, for some seconds each.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let (names, seconds) = arguments_of(arguments)?;
    targets(root, &names, Search::On(seconds), &Interrupt::listen()?)?;
    Ok(ExitCode::SUCCESS)
}

fn arguments_of(arguments: &[String]) -> Result<(Vec<String>, u64)> {
    let (mut names, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => seconds = rest.next().ok_or("`--seconds` needs a number")?.parse()?,
            option if option.starts_with('-') => {
                return Err("usage: cargo xtask fuzz [TARGET…] [--seconds N]".into());
            }
            name => names.push(name.to_owned()),
        }
    }
    Ok((names, seconds))
}

/// Builds and runs targets one after the other; one with a finding doesn't stop the others.
pub(crate) fn targets(root: &Path, names: &[String], search: Search, interrupt: &Interrupt) -> Result<()> {
    let known = known(root)?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no target `{unknown}`, only {}", known.join(", ")).into());
    }
    parts::install_compiler()?;
    let host = host(root)?;
    let work = root.join("target/fuzz");
    let mut build = cargo(root);
    build.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
    // With a target of its own, build scripts and macros are made without these flags.
    run(build.args(["--target", &host, "--target-dir"]).arg(&work).env("RUSTFLAGS", FLAGS))?;
    let programs = work.join(host).join("release");
    let mut found = Vec::new();
    for name in known.iter().filter(|name| names.is_empty() || names.contains(name)) {
        match target(root, &work, &programs, name, search, interrupt) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                interrupt.check()?;
                println!("{name}: {error}");
                found.push(name.as_str());
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(format!("something was found by {}", found.join(", ")).into()) }
}

/// The targets' names: one file each.
fn known(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("fuzz/targets"))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The platform that the compiler makes programs for.
fn host(root: &Path) -> Result<String> {
    let output = Command::new("rustc").arg("-vV").current_dir(root).output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("`rustc -vV` tells no host")?.to_owned())
}

/// Runs one target; returns a line about it, or what is to be done about its finding.
fn target(
    root: &Path,
    work: &Path,
    programs: &Path,
    name: &str,
    search: Search,
    interrupt: &Interrupt,
) -> Result<String> {
    let (corpus, seed, seconds) = match search {
        Search::On(seconds) => (work.join("corpus").join(name), 0, seconds),
        Search::Same(seconds) => (work.join("fresh").join(name), 1, seconds),
    };
    let findings = work.join("findings").join(name);
    if matches!(search, Search::Same(_)) && corpus.exists() {
        fs::remove_dir_all(&corpus)?;
    }
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let log = work.join(format!("{name}.log"));
    let program = programs.join(name);
    let mut command = Command::new(&program);
    command.arg(&corpus).arg(root.join("fuzz/seeds").join(name)).args(LIMITS);
    command.arg(format!("-artifact_prefix={}/", findings.display()));
    command.args([format!("-max_total_time={seconds}"), format!("-seed={seed}")]);
    command.arg("-print_final_stats=1");
    let dictionary = root.join("fuzz/dictionaries").join(format!("{name}.dict"));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let output = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = wait(command.spawn()?, interrupt)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() { summary(name, &text) } else { Err(advice(&program, &log, &text).into()) }
}

fn wait(mut child: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.asked() {
            child.kill()?;
            child.wait()?;
            interrupt.check()?;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Reads `#N DONE cov: N ft: N corp: N/NKb …`.
fn summary(name: &str, log: &str) -> Result<String> {
    let last = log.lines().rfind(|line| line.starts_with('#') && line.contains(" cov: "));
    let words: Vec<&str> =
        last.ok_or("it tells of no coverage: it wasn't built for it")?.split_whitespace().collect();
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1)?.split('/').next()
    };
    let executions = words.first().map_or("?", |word| word.trim_start_matches('#'));
    let [edges, inputs] = ["cov:", "corp:"].map(|key| after(key).unwrap_or("?"));
    Ok(format!("{name}: nothing found in {executions} executions; {edges} edges, {inputs} inputs kept"))
}

fn advice(program: &Path, log: &Path, text: &str) -> String {
    let artifact = text.lines().find_map(|line| line.split_once("Test unit written to "));
    let program = program.display();
    let log = log.display();
    match artifact.map(|(_, path)| PathBuf::from(path.trim())) {
        Some(path) => {
            let bytes = fs::read(&path).map(|bytes| hex(&bytes)).unwrap_or_default();
            let path = path.display();
            format!(
                "FOUND {path}\n  what happened: {log}\n  again:         {program} {path}\n  \
                 smaller:       {program} -minimize_crash=1 -max_total_time=60 {path}\n  \
                 for `xxd -r -p`:{bytes}"
            )
        }
        None => format!("it ended without a finding; see {log}"),
    }
}

/// The bytes of a finding, for where a log is all that is left of it.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(48) {
        text += "\n    ";
        line.iter().for_each(|byte| text += &format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_read() {
        let log =
            "#2\tINITED cov: 9 ft: 9 corp: 1/1b\n#77\tDONE   cov: 12 ft: 13 corp: 3/12Kb lim: 4\nDone\n";
        let expected = "x: nothing found in 77 executions; 12 edges, 3 inputs kept";
        assert_eq!(summary("x", log).unwrap(), expected);
        assert!(summary("x", "Done 77 runs\n").is_err());
        let log = "==1== ERROR\nartifact_prefix='a/'; Test unit written to /dev/null\nBase64: aA==\n";
        let advice = advice(Path::new("p"), Path::new("l"), log);
        assert!(advice.contains("p -minimize_crash=1 -max_total_time=60 /dev/null\n"), "{advice}");
        assert_eq!(hex(&[7; 49]), format!("\n    {}\n    07", "07".repeat(48)));
    }
}
