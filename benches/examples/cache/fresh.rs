//! What a fresh runner costs: an empty cache directory, no `node_modules`, and the image of before in
//! a registry.
//!
//! Dependencies are vouched for by their lockfile; one file of the application is another than in the
//! image. Requests and bytes are counted at Debian's docker-registry; that the bytes are those of the
//! changed layer, config and manifest is checked against the manifest.

use std::fs;
use std::path::Path;

use ocibuild_benches::measure::median;
use ocibuild_benches::random::Random;
use ocibuild_benches::registry::{Image, Log, Registry};
use ocibuild_benches::states::copy;

use crate::edits::grow;
use crate::{Bench, Result};

/// How many files the application has of its own.
const FILES: usize = 200;

/// One way to get at the image of before.
struct Row {
    name: &'static str,
    split: bool,
    /// The repository that is pushed to; the image of before is in `app`.
    repository: &'static str,
    costs: Vec<Cost>,
}

struct Cost {
    seconds: f64,
    requests: u64,
    uploaded: u64,
    /// What must be uploaded: what of the new image isn't in the old one.
    least: u64,
    image: u64,
}

pub(crate) fn measure(bench: &Bench) -> Result<()> {
    let mut rows = [
        Row { name: "`--cache-from`", split: false, repository: "app", costs: Vec::new() },
        Row {
            name: "`--cache-from`, to another repository",
            split: false,
            repository: "other",
            costs: Vec::new(),
        },
        Row {
            name: "`--cache-from`, `split = \"auto\"`",
            split: true,
            repository: "split",
            costs: Vec::new(),
        },
    ];
    let registry = Registry::start(&bench.home.join("registry"), Log::Requests)?;
    let (developer, runner) = (bench.home.join("developer"), bench.home.join("runner"));
    fs::create_dir(&developer)?;
    application(&developer)?;
    fs::copy(bench.tree.join("package-lock.json"), developer.join("package-lock.json"))?;
    copy(&developer, &runner)?;
    fs::rename(bench.tree.join("node_modules"), developer.join("node_modules"))?;
    let before = [false, true].map(|split| {
        let repository = if split { "split" } else { "app" };
        write_spec(&developer, split)?;
        push(bench, &registry, &developer, repository, &["--cache-dir", "cache"])?;
        Ok::<_, Box<dyn std::error::Error>>(registry.image(repository, "main")?)
    });
    let [plain, parts] = before;
    let (plain, parts) = (plain?, parts?);
    let mut random = Random::new(bench.arguments.seed);
    for _ in 0..bench.arguments.rounds {
        for row in &mut rows {
            let file = random.index(FILES);
            grow(&runner.join(format!("src/{file}.js")), &mut random)?;
            let before = if row.split { &parts } else { &plain };
            row.run(bench, &registry, &runner, before)?;
        }
    }
    report(&rows)
}

impl Row {
    fn run(&mut self, bench: &Bench, registry: &Registry, runner: &Path, before: &Image) -> Result<()> {
        write_spec(runner, self.split)?;
        let cache = runner.join("cache");
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        let (had, asked) = (registry.blobs()?, registry.requests()?);
        let known = format!("{}/{}:main", registry.address, if self.split { "split" } else { "app" });
        let arguments = ["--cache-dir", "cache", "--cache-from", &known];
        let seconds = push(bench, registry, runner, self.repository, &arguments)?;
        let requests = registry.requests()? - asked;
        let has = registry.blobs()?;
        let uploaded = has.iter().filter(|(blob, _)| !had.contains_key(*blob)).map(|(_, size)| size).sum();
        let image = registry.image(self.repository, "main")?;
        let (least, image) = (image.bytes() - image.shared(before), image.bytes());
        self.costs.push(Cost { seconds, requests, uploaded, least, image });
        Ok(())
    }
}

fn push(
    bench: &Bench,
    registry: &Registry,
    directory: &Path,
    repository: &str,
    arguments: &[&str],
) -> Result<f64> {
    let reference = format!("{}/{repository}:main", registry.address);
    let arguments = [&["--push", "--tag", &reference], arguments].concat();
    Ok(bench.build(directory, &arguments)?.wall)
}

fn application(directory: &Path) -> Result<()> {
    fs::create_dir(directory.join("src"))?;
    for file in 0..FILES {
        let line = format!("export const value{file} = {file};\n");
        fs::write(directory.join(format!("src/{file}.js")), line.repeat(100))?;
    }
    Ok(())
}

fn write_spec(directory: &Path, split: bool) -> Result<()> {
    let split = if split { "split = \"auto\"\n" } else { "" };
    let spec = format!(
        "version = 1\nname = \"fresh\"\n\
         [layers.dependencies]\n{split}manifests = [\"package-lock.json\"]\n\
         copy = [{{ from = \"node_modules\", to = \"/app/node_modules\" }}]\n\
         [layers.app]\ncopy = [{{ from = \"src\", to = \"/app/src\" }}]\n\
         [images.app]\nlayers = [\"dependencies\", \"app\"]\n"
    );
    Ok(fs::write(directory.join("ocibuild.toml"), spec)?)
}

fn report(rows: &[Row]) -> Result<()> {
    println!(
        "\n| | image | median | most | requests | uploaded | layer, config, manifest |\n|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let last = row.costs.last().ok_or("no round was run")?;
        let seconds = || row.costs.iter().map(|cost| cost.seconds);
        println!(
            "| {} | {:.1} MB | {:.3} s | {:.3} s | {} | {} B | {} B |",
            row.name,
            last.image as f64 / 1e6,
            median(seconds()),
            seconds().fold(0.0, f64::max),
            last.requests,
            last.uploaded,
            last.least,
        );
    }
    match rows.iter().flat_map(|row| &row.costs).find(|cost| cost.uploaded != cost.least) {
        Some(cost) => {
            Err(format!("{} B were uploaded where {} B had to be", cost.uploaded, cost.least).into())
        }
        None => Ok(()),
    }
}
