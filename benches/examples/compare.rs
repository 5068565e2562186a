//! Whole processes side by side: the references, the floor, rows of the trial, and the product.
//!
//! `compare --tree DIR [--tree DIR] [--rounds 5] [--trial libdeflate:3@entries:512:4:1024]
//! [--ocibuild PROGRAM] [--product 'COMMAND with {tree} and {output}'] [--only zstd]`. All rows of a
//! round run one after the other before the next round begins; a ratio is the median over the rounds
//! of the ratio within one.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use ocibuild_benches::measure::{Usage, median, shell};
use ocibuild_benches::verify;

/// What to compare.
#[derive(Parser)]
struct Compare {
    /// A tree to make a layer of; may be repeated.
    #[arg(long, required = true)]
    tree: Vec<PathBuf>,
    /// How often each row is run.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A row of the trial, `ENCODER@RULE`; may be repeated.
    #[arg(long)]
    trial: Vec<String>,
    /// The product's program: rows that build an image of the tree, cold, into a layout, by gzip
    /// and by zstd.
    #[arg(long)]
    ocibuild: Option<PathBuf>,
    /// A shell command that writes the layer of `{tree}` into a file or directory `{output}`; may
    /// be repeated.
    #[arg(long)]
    product: Vec<String>,
    /// Runs those rows only that have this in their name.
    #[arg(long)]
    only: Option<String>,
    /// Leaves out pigz, zstd, umoci and the floor.
    #[arg(long)]
    no_references: bool,
    /// Where outputs go; must not hold anything of value.
    #[arg(long, default_value = "target/compare")]
    work: PathBuf,
}

/// The reference of zstd, by the program with a thread for each processor.
const ZSTD: &str = "tar, zstd -3 -T0";

/// One thing that is measured.
struct Row {
    name: String,
    /// Run before each measurement, and not measured.
    prepare: Option<String>,
    command: String,
}

/// All measurements of one row on one tree.
struct Measured {
    name: String,
    usages: Vec<Usage>,
    bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Compare::parse();
    let rows = rows(&arguments)?;
    fs::create_dir_all(&arguments.work)?;
    let work = arguments.work.canonicalize()?;
    let mut tables: Vec<Vec<Measured>> = Vec::new();
    for tree in &arguments.tree {
        let tree = tree.canonicalize()?;
        let mut table = Vec::new();
        for row in &rows {
            table.push(Measured { name: row.name.clone(), usages: Vec::new(), bytes: 0 });
            // Also brings the files into memory, so that no measured run is the first.
            table.last_mut().ok_or("no row")?.bytes = checked(row, &tree, &work)?;
        }
        tables.push(table);
    }
    for round in 1..=arguments.rounds {
        for (tree, table) in arguments.tree.iter().zip(&mut tables) {
            let tree = tree.canonicalize()?;
            for (row, measured) in rows.iter().zip(table) {
                measured.usages.push(once(row, &tree, &work)?);
            }
        }
        eprintln!("round {round} of {}", arguments.rounds);
    }
    for (tree, table) in arguments.tree.iter().zip(&tables) {
        print(tree, table);
    }
    Ok(())
}

fn rows(arguments: &Compare) -> Result<Vec<Row>, Box<dyn Error>> {
    let examples = std::env::current_exe()?.parent().ok_or("no directory of examples")?.to_path_buf();
    let (trial, floor) = (examples.join("trial"), examples.join("floor"));
    let row = |name: &str, command: String| Row { name: name.to_owned(), prepare: None, command };
    let mut rows = Vec::new();
    if !arguments.no_references {
        rows.push(row("tar, pigz -6", "tar -C {tree} -cf - . | pigz -6 > {output}".to_owned()));
        rows.push(row(ZSTD, "tar -C {tree} -cf - . | zstd -q -3 -T0 > {output}".to_owned()));
        rows.push(Row {
            name: "umoci insert".to_owned(),
            prepare: Some("umoci init --layout {output} && umoci new --image {output}:t".to_owned()),
            command: "umoci insert --image {output}:t {tree} /app".to_owned(),
        });
        for level in [1, 3] {
            let command = format!("{} {{tree}} {{output}} {level}", floor.display());
            rows.push(row(&format!("floor, libdeflate:{level}"), command));
        }
    }
    for text in &arguments.trial {
        let (encoder, rule) = text.split_once('@').ok_or("--trial takes ENCODER@RULE")?;
        let trial = trial.display();
        let command =
            format!("{trial} run --tree {{tree}} --encoder {encoder} --rule {rule} --output {{output}}");
        rows.push(row(&format!("{encoder} {rule}"), command));
    }
    if let Some(program) = &arguments.ocibuild {
        let program = program.canonicalize()?;
        rows.push(ocibuild(&program, "ocibuild", ""));
        rows.push(ocibuild(&program, "ocibuild, zstd:3", "--compression zstd:3"));
    }
    rows.extend(arguments.product.iter().map(|command| row("product", command.clone())));
    if let Some(only) = &arguments.only {
        rows.retain(|row| row.name.contains(only));
    }
    Ok(rows)
}

/// A cold build: the cache is empty and stays so, the layer goes through it into a layout.
fn ocibuild(program: &Path, name: &str, arguments: &str) -> Row {
    let spec = "version = 1\nroot = \"{tree}\"\n[layers.app]\n\
        copy = [{ from = \".\", to = \"/app\", allow-foreign = true }]\n\
        [images.app]\nlayers = [\"app\"]\n";
    Row {
        name: name.to_owned(),
        prepare: Some(format!("rm -rf {{output}}-cache && cat > {{output}}.toml <<'END'\n{spec}END")),
        command: format!(
            "{} build --quiet --file {{output}}.toml --cache-dir {{output}}-cache {arguments} --output type=oci,dest={{output}}",
            program.display()
        ),
    }
}

fn once(row: &Row, tree: &Path, work: &Path) -> Result<Usage, Box<dyn Error>> {
    let output = work.join("output");
    clear(&output)?;
    let fill = |command: &str| {
        command
            .replace("{tree}", &tree.display().to_string())
            .replace("{output}", &output.display().to_string())
    };
    if let Some(prepare) = &row.prepare {
        shell(&fill(prepare), work)?;
    }
    Ok(shell(&fill(&row.command), work)?)
}

/// Runs a row once, verifies its output, and says how large it is.
fn checked(row: &Row, tree: &Path, work: &Path) -> Result<u64, Box<dyn Error>> {
    once(row, tree, work)?;
    let blob = largest(&work.join("output"))?;
    match fs::read(&blob)?.as_slice() {
        [0x1f, 0x8b, ..] => verify::gzip_test(&blob)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => verify::zstd_test(&blob)?,
        _ => {}
    }
    Ok(fs::metadata(&blob)?.len())
}

/// The output itself, or the largest file beneath it: of an image, its layer.
fn largest(output: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if output.is_file() {
        return Ok(output.to_path_buf());
    }
    let mut best: Option<(u64, PathBuf)> = None;
    for found in fs::read_dir(output)? {
        let path = largest(&found?.path())?;
        let size = fs::metadata(&path)?.len();
        if best.as_ref().is_none_or(|(most, _)| size > *most) {
            best = Some((size, path));
        }
    }
    Ok(best.map_or_else(|| output.to_path_buf(), |(_, path)| path))
}

fn clear(output: &Path) -> Result<(), Box<dyn Error>> {
    if output.is_dir() {
        fs::remove_dir_all(output)?;
    } else if output.exists() {
        fs::remove_file(output)?;
    }
    Ok(())
}

fn print(tree: &Path, table: &[Measured]) {
    let reference = |name: &str| table.iter().find(|measured| measured.name == name);
    let (pigz, umoci, zstd) = (reference("tar, pigz -6"), reference("umoci insert"), reference(ZSTD));
    println!("\n{}\n", tree.file_name().unwrap_or(tree.as_os_str()).display());
    println!(
        "| row | bytes | of umoci's | of zstd's | wall | least | cpu | pigz/wall | umoci/wall | zstd/wall | pigz/cpu | umoci/cpu | zstd/cpu | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for measured in table {
        let column = |value: fn(&Usage) -> f64| measured.usages.iter().map(value);
        let least = column(|usage| usage.wall).fold(f64::INFINITY, f64::min);
        println!(
            "| {} | {:.1} MB | {} | {} | {:.2} s | {least:.2} s | {:.2} s | {} | {} | {} | {} | {} | {} | {:.0} MB |",
            measured.name,
            measured.bytes as f64 / 1e6,
            umoci.map_or_else(String::new, |umoci| share(measured.bytes, umoci.bytes)),
            zstd.map_or_else(String::new, |zstd| share(measured.bytes, zstd.bytes)),
            median(column(|usage| usage.wall)),
            median(column(|usage| usage.cpu)),
            ratio(pigz, measured, |usage| usage.wall),
            ratio(umoci, measured, |usage| usage.wall),
            ratio(zstd, measured, |usage| usage.wall),
            ratio(pigz, measured, |usage| usage.cpu),
            ratio(umoci, measured, |usage| usage.cpu),
            ratio(zstd, measured, |usage| usage.cpu),
            median(column(|usage| usage.memory as f64)) / 1e6,
        );
    }
}

fn share(bytes: u64, reference: u64) -> String {
    format!("{:+.1}%", 100.0 * (bytes as f64 / reference as f64 - 1.0))
}

fn ratio(reference: Option<&Measured>, measured: &Measured, value: fn(&Usage) -> f64) -> String {
    let Some(reference) = reference else {
        return String::new();
    };
    let ratios =
        reference.usages.iter().zip(&measured.usages).map(|(theirs, ours)| value(theirs) / value(ours));
    format!("{:.2}", median(ratios))
}
