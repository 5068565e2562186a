//! What a fresh runner costs: an empty cache directory, no `node_modules`, and the image of before in
//! a registry. What is known of it is read from the image itself, from a cache repository, or from an
//! object store.
//!
//! Dependencies are vouched for by their lockfile; one file of the application is another than in the
//! image. Requests are counted at Debian's docker-registry and before the store, bytes in the registry; that the bytes are those of the
//! changed layer, config and manifest is checked against the manifest.

use std::fs;
use std::path::Path;

use ocibuild_benches::counted::{Counted, Speech};
use ocibuild_benches::measure::median;
use ocibuild_benches::random::Random;
use ocibuild_benches::registry::{Image, Log, Registry};
use ocibuild_benches::states::copy;
use ocibuild_testkit::stores::{Redis, S3, Store};

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
    /// Where answers come from, if not from that image.
    place: Option<Place>,
    costs: Vec<Cost>,
}

/// A cache repository, or an object store.
struct Place {
    address: String,
    variables: Vec<(&'static str, String)>,
    counted: Option<Counted>,
    /// Goes with the place.
    _store: Option<Box<dyn Store>>,
}

struct Cost {
    seconds: f64,
    requests: u64,
    /// Of them at an object store.
    stored: u64,
    uploaded: u64,
    /// What must be uploaded: what of the new image isn't in the old one.
    least: u64,
    image: u64,
}

pub(crate) fn measure(bench: &Bench) -> Result<()> {
    let row = |name, split, repository| Row { name, split, repository, place: None, costs: Vec::new() };
    let mut rows = vec![
        row("`--cache-from`", false, "app"),
        row("`--cache-from`, to another repository", false, "other"),
        row("`--cache-from`, `split = \"auto\"`", true, "split"),
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
        push(bench, &registry, &developer, repository, &["--cache-dir", "cache"], &[])?;
        Ok::<_, Box<dyn std::error::Error>>(registry.image(repository, "main")?)
    });
    let [plain, parts] = before;
    write_spec(&developer, false)?;
    for (name, place) in places(&registry)? {
        // The image is there, and nothing of it has to be made: only the place is told.
        let told = ["--cache-dir", "cache", "--cache-to", &place.address];
        push(bench, &registry, &developer, "app", &told, &place.variables)?;
        rows.push(Row { place: Some(place), ..row(name, false, "app") });
    }
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
        let (known, variables) = match &self.place {
            Some(place) => (&place.address, &place.variables[..]),
            None => (&known, &[][..]),
        };
        let at_store =
            || self.place.as_ref().and_then(|place| place.counted.as_ref()).map_or(0, Counted::requests);
        let stored = at_store();
        let arguments = ["--cache-dir", "cache", "--cache-from", known];
        let seconds = push(bench, registry, runner, self.repository, &arguments, variables)?;
        let stored = at_store() - stored;
        let requests = registry.requests()? - asked + stored;
        let has = registry.blobs()?;
        let uploaded = has.iter().filter(|(blob, _)| !had.contains_key(*blob)).map(|(_, size)| size).sum();
        let image = registry.image(self.repository, "main")?;
        let (least, image) = (image.bytes() - image.shared(before), image.bytes());
        self.costs.push(Cost { seconds, requests, stored, uploaded, least, image });
        Ok(())
    }
}

fn push(
    bench: &Bench,
    registry: &Registry,
    directory: &Path,
    repository: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> Result<f64> {
    let reference = format!("{}/{repository}:main", registry.address);
    let arguments = [&["--push", "--tag", &reference], arguments].concat();
    Ok(bench.build_with(directory, &arguments, variables)?.wall)
}

/// The places that a runner may be told of beside the image. What isn't installed is left out.
fn places(registry: &Registry) -> Result<Vec<(&'static str, Place)>> {
    let address = format!("{}/cache:main", registry.address);
    let repository = Place { address, variables: Vec::new(), counted: None, _store: None };
    let mut places = vec![("a cache repository", repository)];
    match Redis::start() {
        Ok(redis) => places.push(("Redis", Place::of(Box::new(redis), Speech::Redis)?)),
        Err(missing) => eprintln!("Redis is left out, as it needs {missing}"),
    }
    match S3::start() {
        Ok(s3) => places.push(("S3 (`s3s-fs`)", Place::of(Box::new(s3), Speech::Http)?)),
        Err(missing) => eprintln!("S3 is left out, as it needs {missing}"),
    }
    Ok(places)
}

impl Place {
    /// A store whose requests are counted.
    fn of(store: Box<dyn Store>, speech: Speech) -> Result<Self> {
        const HOST: &str = "127.0.0.1:";
        let (address, variables) = (store.address("team"), store.credentials());
        let (before, rest) = address.split_once(HOST).ok_or("the store isn't on this machine")?;
        let end = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
        let (port, after) = rest.split_at(end);
        let counted = Counted::before(port.parse()?, speech)?;
        let address = format!("{before}{HOST}{}{after}", counted.port);
        Ok(Self { address, variables, counted: Some(counted), _store: Some(store) })
    }
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
        "\n| | image | median | most | requests | of them at the store | uploaded | layer, config, manifest |\n|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let last = row.costs.last().ok_or("no round was run")?;
        let seconds = || row.costs.iter().map(|cost| cost.seconds);
        println!(
            "| {} | {:.1} MB | {:.3} s | {:.3} s | {} | {} | {} B | {} B |",
            row.name,
            last.image as f64 / 1e6,
            median(seconds()),
            seconds().fold(0.0, f64::max),
            last.requests,
            last.stored,
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
