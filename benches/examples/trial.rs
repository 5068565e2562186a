//! One run of the trial's pipeline, or the churn of its rules.
//!
//! `trial run --tree DIR --rule entries:512:4:1024 --encoder libdeflate:3 --output FILE --verify`
//! `trial churn --tree DIR --encoder libdeflate:1 --rule offsets:1024 --rule entries:512:4:1024`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};
use ocibuild_benches::blocks::Rule;
use ocibuild_benches::churn::{Edit, Loaded};
use ocibuild_benches::encode::Encoder;
use ocibuild_benches::pipeline::{Report, Settings, run};
use ocibuild_benches::verify;

/// What to do.
#[derive(Parser)]
enum Trial {
    /// Makes one layer and says what it took.
    Run(Run),
    /// Counts the bytes of a blob that an edit changes.
    Churn(Churn),
}

/// One layer.
#[derive(Args)]
struct Run {
    /// The tree to read.
    #[arg(long)]
    tree: PathBuf,
    /// `offsets:KIB` or `entries:MIN_KIB:BITS:CHUNK_KIB[:MAX_KIB]`.
    #[arg(long, default_value = "entries:512:4:1024")]
    rule: Rule,
    /// `zlib-rs:N`, `zlib-rs+dict:N`, `libdeflate:N`, `libdeflate+join:N`, `miniz:N`, `zstd:N`.
    #[arg(long)]
    encoder: Encoder,
    /// The file to write.
    #[arg(long)]
    output: PathBuf,
    /// Threads that compress.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Mebibytes of blocks in flight.
    #[arg(long, default_value_t = 16)]
    budget: usize,
    /// Reads the output back with `gzip -t` and flate2, or `zstd -t`.
    #[arg(long)]
    verify: bool,
}

/// Edits and the blocks they change.
#[derive(Args)]
struct Churn {
    /// The tree to read.
    #[arg(long)]
    tree: PathBuf,
    /// As for `run`; may be repeated.
    #[arg(long)]
    rule: Vec<String>,
    /// As for `run`.
    #[arg(long)]
    encoder: Encoder,
    /// Edits of each kind.
    #[arg(long, default_value_t = 20)]
    draws: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    match Trial::parse() {
        Trial::Run(arguments) => run_once(&arguments),
        Trial::Churn(arguments) => churn(&arguments),
    }
}

fn run_once(arguments: &Run) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build()?;
    let settings =
        Settings { rule: arguments.rule, encoder: arguments.encoder, budget: arguments.budget << 20 };
    let begun = Instant::now();
    let report = run(&arguments.tree, settings, &pool, &arguments.output)?;
    println!("{:.3} s, {} entries, {} blocks", begun.elapsed().as_secs_f64(), report.entries, report.blocks);
    println!("tar  {:>12} bytes sha256:{}", report.tar, hex(&report.diff_id));
    println!("blob {:>12} bytes sha256:{}", report.blob, hex(&report.digest));
    if arguments.verify { check(arguments.encoder, &report, &arguments.output) } else { Ok(()) }
}

fn check(encoder: Encoder, report: &Report, output: &Path) -> Result<(), Box<dyn Error>> {
    if matches!(encoder, Encoder::Zstd { .. }) {
        verify::zstd_test(output)?;
        println!("verified: zstd -t");
        return Ok(());
    }
    verify::gzip_test(output)?;
    if encoder.one_member() {
        verify::first_member(output, &report.diff_id)?;
        println!("verified: gzip -t, and one member that holds all bytes");
    } else {
        let seen = verify::bytes_of_first_member(output)?;
        println!("verified: gzip -t; a reader that stops after one member sees {seen} bytes");
    }
    Ok(())
}

fn churn(arguments: &Churn) -> Result<(), Box<dyn Error>> {
    let tree = Loaded::read(&arguments.tree)?;
    println!(
        "| rule | blocks | blob | 1 to 16 bytes inserted | 512 to 4096 bytes inserted | one file added |"
    );
    println!("|---|---|---|---|---|---|");
    for text in &arguments.rule {
        let rule = text.parse()?;
        let baseline = tree.baseline(rule, arguments.encoder)?;
        let bytes: u64 = baseline.values().sum();
        print!("| {text} | {} | {:.1} MB |", baseline.len(), bytes as f64 / 1e6);
        for edit in [Edit::FewBytes, Edit::FewRecords, Edit::Added] {
            let lost = tree.lost(rule, &baseline, edit, arguments.draws)?;
            print!(" {:.2}% |", 100.0 * lost.iter().sum::<f64>() / lost.len() as f64);
        }
        println!();
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
