//! What it costs to know that nothing has to run, as a whole process: `steps PROGRAM [RUNS]`.
//!
//! Two hundred steps that each need the one before, and two hundred that all need the first, each with an
//! input of its own: all are run once, and then asked for again and again. Beside it a process that is
//! asked for a single one, so that it shows what each costs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// So many in a row, and as many side by side.
const COUNT: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = fs::canonicalize(arguments.next().ok_or("usage: steps PROGRAM [RUNS]")?)?;
    let runs = arguments.next().map_or(Ok(100), |runs| runs.parse::<usize>())?;
    let directory = tempfile::tempdir()?;
    prepare(directory.path())?;
    let names = |kind: &'static str| (0..COUNT).map(move |index| format!("{kind}-{index}"));
    let every: Vec<String> = names("chain").chain(names("fan")).collect();
    let all = |words: &[String]| [&["run".to_owned()], words].concat();
    let first = run(&program, directory.path(), &all(&every))?;
    println!("all run once: {:.1} s\n", first.as_secs_f64());
    run(&program, directory.path(), &["build".to_owned()])?;
    // Files are trusted to be as they were seen once they are some time old.
    std::thread::sleep(Duration::from_secs(3));
    println!("| asked for | least | median | 95% | most |");
    println!("|---|---|---|---|---|");
    let rows = [
        ("one step", all(&every[..1])),
        ("a chain and a fan of 200", all(&every)),
        ("an image of them", vec!["build".to_owned()]),
    ];
    for (name, words) in rows {
        let once = || run(&program, directory.path(), &words);
        once()?;
        let mut times = (0..runs).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
        times.sort();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!("| {name} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |", at(0), at(50), at(95), at(100));
    }
    Ok(())
}

fn prepare(directory: &Path) -> Result<(), Box<dyn Error>> {
    let (mut spec, mut copies) = (String::from("version = 1\n"), Vec::new());
    for index in 0..COUNT {
        let package = directory.join(format!("packages/{index}"));
        fs::create_dir_all(&package)?;
        fs::write(package.join("in.txt"), index.to_string())?;
        for kind in ["chain", "fan"] {
            let needs = match (kind, index) {
                ("chain", 0) => String::new(),
                ("chain", _) => format!("\"chain-{}\"", index - 1),
                _ => String::from("\"chain-0\""),
            };
            spec.push_str(&format!(
                "[steps.{kind}-{index}]\nrun = \"echo {index} > {kind}-{index}\"\nneeds = [{needs}]\n\
                 inputs = [\"packages/{index}/*.txt\"]\noutputs = [\"{kind}-{index}\"]\n"
            ));
            copies.push(format!("{{ step = \"{kind}-{index}\", from = \"{kind}-{index}\", to = \"/\" }}"));
        }
    }
    spec.push_str(&format!("[layers.all]\ncopy = [{}]\n", copies.join(",\n")));
    spec.push_str("[images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n");
    Ok(fs::write(directory.join("ocibuild.toml"), spec)?)
}

/// Runs the program, and says how long the process took.
fn run(program: &Path, directory: &Path, words: &[String]) -> Result<Duration, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(words).args(["--cache-dir", "cache"]).current_dir(directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() { Ok(elapsed) } else { Err(format!("the run failed: {status}").into()) }
}
