//! `ocibuild cache`: what it holds, tidied up beside builds, and damage that builds mend.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ocibuild_testkit::{run, run_any};
use serde_json::Value;

use crate::bench::{Bench, SPEC};

/// A spec whose layer is found by a lockfile.
fn locked() -> Bench {
    Bench::with_spec(&SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"hello\"]"))
}

fn cache(bench: &Bench) -> PathBuf {
    bench.tree.join("cache")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

fn set_age(path: &Path, age: Duration) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn listed(bench: &Bench) -> Value {
    bench.ok(&["cache", "ls", "--format", "json"]).json()
}

#[test]
fn the_path_is_that_of_a_build() {
    let bench = Bench::new();
    let path = |output: ocibuild_testkit::Output| String::from_utf8(output.stdout).unwrap();
    let expected = |path: PathBuf| format!("{}\n", path.display());
    assert_eq!(path(bench.ok(&["cache", "path"])), expected(cache(&bench)));
    assert_eq!(path(bench.ok(&["cache", "path", "--cache-dir", "own"])), expected(bench.path("own")));
    let mut command = bench.command(&["cache", "path"]);
    command.env("OCIBUILD_CACHE_DIR", "").env("XDG_CACHE_HOME", "/xdg");
    assert_eq!(path(run(&mut command)), "/xdg/ocibuild\n");
    command.env_remove("XDG_CACHE_HOME");
    assert_eq!(path(run(&mut command)), expected(bench.tree.join("home/.cache/ocibuild")));
    command.env_remove("HOME");
    run_any(&mut command).expect_code(2);
    assert!(!bench.path("own").exists());
}

#[test]
fn an_empty_cache_is_no_error() {
    let bench = Bench::new();
    for directory in [cache(&bench), bench.path("none")] {
        let directory = directory.to_str().unwrap();
        let ok = |words: &[&str]| bench.ok(&[words, &["--cache-dir", directory]].concat()).text();
        assert_eq!(ok(&["cache", "ls"]), "0 records, 0 blobs, 0 B");
        assert_eq!(ok(&["cache", "prune", "--all"]), "removed 0 records and 0 blobs: 0 B; 0 B left");
        assert_eq!(ok(&["cache", "verify"]), "0 records and 0 blobs are whole: 0 B read");
    }
    assert!(!bench.path("none").exists());
}

#[test]
fn what_is_there_is_listed() {
    let bench = locked();
    bench.digest(&[]);
    let value = listed(&bench);
    let records = value["records"].as_array().unwrap();
    // By its lockfile, by its content, and what the last build came to.
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record["complete"], true);
        assert_eq!(record["layers"].as_array().unwrap().len(), 1);
    }
    let by = |record: &Value| match record["kind"].as_str().unwrap() {
        "trace" => "last build".to_owned(),
        _ => record["materials"][0]["name"].as_str().unwrap_or("content").to_owned(),
    };
    let all: BTreeSet<String> = records.iter().map(by).collect();
    assert_eq!(all, ["content", "hello", "last build"].map(str::to_owned).into());
    assert_eq!(
        (&value["totals"]["blobs"]["count"], &value["totals"]["unnamed_blobs"]["count"]),
        (&2.into(), &0.into())
    );
    let text = bench.ok(&["cache", "ls"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    let headings: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(headings, ["USED", "KEY", "OF", "FILES", "SIZE", "TAR", "BY"]);
    let layer = &records[0]["layers"][0]["descriptor"]["digest"].as_str().unwrap()["sha256:".len()..][..12];
    for (line, record) in lines[1..].iter().zip(records) {
        let by = by(record);
        let short = &record["key"].as_str().unwrap()[..12];
        assert!(
            line.contains(&format!(" {short}  {layer} ")) && line.ends_with(&format!("  {by}")),
            "{text}"
        );
    }
    let shown = bench.ok(&["inspect", "app.oci"]).text();
    for record in records {
        let found = format!("by {} ({})", by(record), &record["key"].as_str().unwrap()[..12]);
        assert_eq!(shown.contains(&found), record["kind"] == "layer", "`{found}` in\n{shown}");
    }
    assert!(lines[4].starts_with("3 records, 2 blobs, "), "{text}");
    fs::remove_file(&files(&cache(&bench).join("blobs"))[0]).unwrap();
    assert!(bench.ok(&["cache", "ls"]).text().contains("hello (incomplete)\n"));
}

#[test]
fn a_hit_is_a_use() {
    let bench = locked();
    bench.digest(&[]);
    let old =
        |age: Duration| files(&cache(&bench).join("records")).iter().for_each(|file| set_age(file, age));
    old(9 * DAY);
    let prune = ["cache", "prune", "--max-age", "7d"];
    assert!(
        bench
            .ok(&[&prune[..], &["--dry-run"]].concat())
            .text()
            .starts_with("would remove 3 records and 2 blobs: ")
    );
    assert!(bench.ok(&["build"]).errors().contains("reused"));
    assert!(bench.ok(&prune).text().starts_with("removed 0 records and 0 blobs: 0 B; "));
    old(9 * DAY);
    let value = bench.ok(&[&prune[..], &["--format", "json"]].concat()).json();
    assert_eq!((&value["records"]["count"], &value["left"]["bytes"]), (&3.into(), &0.into()));
    assert!(files(&cache(&bench).join("blobs")).is_empty());
}

#[test]
fn what_is_no_cache_is_refused_and_not_touched() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[]);
    let before = files(&bench.path(""));
    for (directory, entry) in [("app.oci", "index.json"), (".", "app.oci")] {
        for words in [&["prune", "--all"][..], &["verify", "--remove"], &["ls"]] {
            let said =
                bench.run(&[&["cache", "--cache-dir", directory], words].concat()).expect_code(6).errors();
            assert!(said.contains("is not a cache that this version knows"), "{said}");
            assert!(
                said.contains(&format!("`{entry}`")) && said.contains("hint: nothing in it was touched"),
                "{said}"
            );
        }
    }
    assert_eq!(files(&bench.path("")), before);
    bench.valid("app.oci");
    let said = bench.run(&["cache", "ls", "--cache-dir", "hello"]).expect_code(6).errors();
    assert!(said.starts_with("error: cannot read `hello`\n"), "{said}");
}

#[test]
fn a_stray_file_is_told_and_passed_over() {
    let bench = locked();
    bench.digest(&[]);
    let stray = cache(&bench).join("records/.DS_Store");
    fs::write(&stray, "x").unwrap();
    for words in [&["ls"][..], &["verify", "--remove"], &["prune", "--all"]] {
        let words = [&["cache"], words].concat();
        let told = bench.ok(&words).errors();
        let path = stray.display();
        assert!(
            told.contains(&format!("passed over, as none of the cache's own: `{path}`\n  hint: ")),
            "{told}"
        );
        let value = bench.ok(&[&words[..], &["--format", "json"]].concat()).json();
        assert_eq!(value["strays"], serde_json::json!([stray]));
    }
    assert!(stray.exists() && files(&cache(&bench).join("blobs")).is_empty());
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    bench.run(&["cache"]).expect_code(2);
    bench.run(&["cache", "prune", "--all", "--max-size", "1GB"]).expect_code(2);
    let said = bench.run(&["cache", "prune", "--max-size", "big"]).expect_code(2).errors();
    assert!(said.contains("`big` is no size") && said.contains("500MB"), "{said}");
    let said = bench.run(&["cache", "prune", "--max-size", "10"]).expect_code(2).errors();
    assert!(said.contains("`10` has no unit") && said.contains("`10GB`"), "{said}");
    let said = bench.run(&["cache", "prune", "--max-age", "7"]).expect_code(2).errors();
    assert!(said.contains("`7` is no duration") && said.contains("`7d`"), "{said}");
}

#[test]
fn damage_is_told_and_removed() {
    let bench = locked();
    let digest = bench.digest(&[]);
    let said = bench.ok(&["cache", "verify"]).text();
    assert!(said.starts_with("3 records and 2 blobs are whole: "), "{said}");
    let blob = files(&cache(&bench).join("blobs"))[0].clone();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[9] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let output = bench.run(&["cache", "verify"]).expect_code(6);
    let name = blob.file_name().unwrap().to_str().unwrap();
    assert!(output.text().starts_with(&format!("sha256:{name}: ")), "{output}");
    assert!(output.errors().starts_with("error: something in the cache is damaged\n  hint: "), "{output}");
    let value = bench.run(&["cache", "verify", "--format", "json"]).expect_code(6).json();
    assert_eq!(value["damages"][0]["kind"], "blob");
    assert_eq!(value["damages"][0]["digest"], format!("sha256:{name}"));
    let output = bench.ok(&["cache", "verify", "--remove"]);
    assert!(output.text().contains("\nremoved 4 files: "), "{output}");
    assert!(bench.ok(&["cache", "verify"]).text().starts_with("0 records and 1 blob are whole: "));
    assert_eq!(bench.digest(&[]), digest);
    bench.ok(&["cache", "verify"]);
}

/// Builds once, does something to the cache, and builds again: the digest must be the same, and the
/// image valid.
fn builds_right_after(damage: impl Fn(&Path)) -> String {
    let bench = locked();
    let digest = bench.digest(&[]);
    damage(&cache(&bench));
    bench.tree.remove("work/app.oci");
    let output = bench.ok(&["build"]);
    assert_eq!(output.text(), digest);
    bench.valid("app.oci");
    bench.ok(&["cache", "verify"]);
    output.errors()
}

#[test]
fn a_build_mends_whatever_happened_to_the_cache() {
    let blobs = |cache: &Path| files(&cache.join("blobs"));
    let each = |cache: &Path, change: &dyn Fn(&Path)| blobs(cache).iter().for_each(|blob| change(blob));
    let said = builds_right_after(|cache| each(cache, &|blob| fs::remove_file(blob).unwrap()));
    assert!(said.contains("layer app: built"), "{said}");
    let said = builds_right_after(|cache| {
        each(cache, &|blob| File::options().write(true).open(blob).unwrap().set_len(10).unwrap());
    });
    assert!(said.contains("layer app: built"), "{said}");
    builds_right_after(|cache| {
        // The inventory isn't read by this build: its damage is for `verify` to find.
        let largest = blobs(cache).into_iter().max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
        let mut bytes = fs::read(&largest).unwrap();
        bytes[20] ^= 1;
        fs::write(&largest, bytes).unwrap();
    });
    for garbage in ["", "{}", "\0\0\0", "[1,2"] {
        let said = builds_right_after(|cache| {
            files(&cache.join("records")).iter().for_each(|record| fs::write(record, garbage).unwrap());
        });
        assert!(said.contains("layer app: built"), "{said}");
    }
    builds_right_after(|cache| fs::remove_dir_all(cache.join("records")).unwrap());
    builds_right_after(|cache| fs::remove_dir_all(cache.join("blobs")).unwrap());
}

/// Whoever removes files of a cache without asking who uses it does worse than `prune` ever may.
#[test]
fn a_blob_that_goes_beneath_a_build_is_made_anew_in_the_same_run() {
    let layer = |name: &str| {
        format!(
            "[layers.{name}]\nmanifests = [\"hello\"]\ncopy = [{{ from = \"hello\", to = \"/{name}\" }}]\n"
        )
    };
    let image = "[images.app]\nlayers = [\"a\", \"b\", \"c\", \"d\"]\n";
    let all: String = ["a", "b", "c", "d"].map(layer).concat();
    let bench = Bench::with_spec(&format!("version = 1\n{all}{image}"));
    let digest = bench.digest(&[]);
    let done = AtomicBool::new(false);
    let mended = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(blob) = files(&cache(&bench).join("blobs")).first() {
                    let _ = fs::remove_file(blob);
                }
                thread::sleep(Duration::from_millis(7));
            }
        });
        let start = Instant::now();
        let mut mended = 0;
        while start.elapsed() < Duration::from_secs(3) {
            let _ = fs::remove_dir_all(bench.path("out"));
            let output = bench.run(&["build", "--output", "type=oci,dest=out"]);
            if output.errors().contains("is gone; it is made anew") {
                mended += 1;
            }
            // One that is robbed of a blob twice may give up, but must not be wrong.
            if output.code == Some(0) {
                assert_eq!(output.text(), digest);
            } else {
                assert!(matches!(output.code, Some(6)), "{output}");
            }
        }
        done.store(true, Ordering::Relaxed);
        mended
    });
    println!("{mended} builds mended what they lost");
    let _ = fs::remove_dir_all(bench.path("out"));
    assert_eq!(bench.digest(&["--output", "type=oci,dest=out"]), digest);
    bench.valid("out");
}

#[test]
fn builds_are_right_while_others_prune() {
    let bench = locked();
    let digest = bench.digest(&[]);
    let done = AtomicBool::new(false);
    let (built, pruned) = thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut removed = 0;
            for words in [&["--all"][..], &["--max-size", "1kB"], &["--max-age", "0s"]].iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return removed;
                }
                let words = [&["cache", "prune", "--format", "json"], *words].concat();
                removed += bench.ok(&words).json()["blobs"]["count"].as_u64().unwrap();
            }
            removed
        });
        let builders = ["one", "two"].map(|name| {
            let (bench, digest, done) = (&bench, &digest, &done);
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    let output = format!("type=oci,dest={name}");
                    assert_eq!(bench.digest(&["--output", &output]), *digest);
                    bench.valid(name);
                    bench.tree.remove(format!("work/{name}"));
                    count += 1;
                }
                count
            })
        });
        thread::sleep(Duration::from_secs(4));
        done.store(true, Ordering::Relaxed);
        let built: u64 = builders.map(|builder| builder.join().unwrap()).iter().sum();
        (built, pruner.join().unwrap())
    });
    println!("{built} builds were right while {pruned} blobs were removed");
    assert!(built > 2 && pruned > 0);
    bench.ok(&["cache", "verify"]);
}

#[test]
fn inspect_shows_the_keys_that_the_cache_has() {
    let bench = locked();
    bench.digest(&[]);
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let layer = &shown["images"][0]["layers"][0];
    let keys: Vec<&Value> = layer["keys"].as_array().unwrap().iter().collect();
    let listed = listed(&bench);
    let answering = listed["records"].as_array().unwrap().iter().filter(|record| record["kind"] == "layer");
    let mut expected: Vec<&Value> = answering.map(|record| &record["key"]).collect();
    expected.sort_by_key(|key| key.as_str());
    assert_eq!(keys, expected);
    assert_eq!(layer["tar_size"], listed["records"][0]["tar_size"]);
    // A cache that can't be read, or isn't one, is no failure.
    for directory in ["none", "hello", "app.oci"] {
        let shown = bench.ok(&["inspect", "--format", "json", "app.oci", "--cache-dir", directory]).json();
        let layer = &shown["images"][0]["layers"][0];
        assert_eq!((&layer["keys"], &layer["tar_size"]), (&Value::Array(Vec::new()), &Value::Null));
    }
    bench.digest(&["--compression", "none"]);
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci", "--cache-dir", "none"]).json();
    let layer = &shown["images"][0]["layers"][0];
    assert_eq!(layer["tar_size"], layer["size"]);
}

#[cfg(not(feature = "object-stores"))]
#[test]
fn a_program_without_object_stores_says_how_to_come_by_one() {
    let bench = Bench::with_spec(SPEC);
    for flag in ["--cache-from", "--cache-to"] {
        let said = bench.run(&["build", flag, "s3://bucket/prefix"]).expect_code(2).errors();
        assert!(said.contains("built without caches in object stores, such as `s3://`"), "{said}");
        assert!(said.contains("--features object-stores"), "{said}");
    }
    // A spec is for many programs: this one does without.
    bench.write("ocibuild.toml", format!("{SPEC}\n[cache]\nfrom = [\"redis://127.0.0.1:1/a\"]\n"));
    let said = bench.ok(&["build"]).errors();
    let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("warning:")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("`redis://`") && said.contains("--features object-stores"), "{said}");
}

#[test]
fn what_is_known_of_trees_and_layers_goes_by_its_last_use() {
    let bench = Bench::with_spec(SPEC);
    // What was written just before a build isn't believed to stay.
    thread::sleep(Duration::from_millis(300));
    bench.digest(&[]);
    let known = || [files(&cache(&bench).join("stat")), files(&cache(&bench).join("layers"))].concat();
    assert_eq!(known().len(), 2);
    let age = || known().iter().for_each(|path| set_age(path, 10 * DAY));
    let prune = || {
        let pruned = bench.ok(&["cache", "prune", "--max-age", "7d", "--format", "json"]).json();
        ["stat_caches", "last_builds"].map(|name| pruned[name]["count"].as_u64().unwrap())
    };
    age();
    bench.digest(&[]);
    assert_eq!(prune(), [0, 0], "an unchanged build used them");
    age();
    assert_eq!(prune(), [1, 1]);
    bench.digest(&["--no-cache"]);
    assert_eq!(known().len(), 0, "nothing is noted where nothing is recorded");
    bench.digest(&[]);
    bench.ok(&["cache", "prune", "--max-size", "1B"]);
    assert_eq!(files(&cache(&bench).join("stat")), [] as [PathBuf; 0]);
}

/// The warnings of a run, in order.
fn warnings(output: &ocibuild_testkit::Output) -> Vec<String> {
    let said = output.errors();
    said.lines().filter(|line| line.starts_with("warning:")).map(str::to_owned).collect()
}

#[test]
fn however_many_parts_of_a_layer_are_damaged_they_are_mended_in_the_same_run() {
    let spec = SPEC
        .replace("[layers.app]", "[layers.app]\nmanifests = [\"hello\"]\nsplit = 8")
        .replace("from = \"hello\", to = \"/app/hello\"", "from = \"lib\", to = \"/lib\"")
        .replace("entrypoint = [\"/app/hello\"]\n", "");
    let bench = Bench::with_spec(&spec);
    for at in 0..64 {
        bench.write(&format!("lib/{at}/file"), format!("package {at}"));
    }
    let digest = bench.digest(&[]);
    let blobs = files(&cache(&bench).join("blobs"));
    assert!(blobs.len() > 8, "{blobs:?}");
    for blob in &blobs {
        let mut bytes = fs::read(blob).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(blob).unwrap();
        fs::write(blob, bytes).unwrap();
    }
    let output = bench.ok(&["build", "--output", "type=oci,dest=again.oci"]);
    bench.valid("again.oci");
    assert_eq!(output.text(), digest);
    let said = warnings(&output);
    assert!(
        said.len() >= 8 && said.iter().all(|line| line.contains("is removed, to be made anew")),
        "{said:#?}"
    );
    assert_eq!(warnings(&bench.ok(&["build", "--output", "type=oci,dest=again.oci"])), [""; 0]);
}

#[test]
fn no_command_shows_the_credentials_in_an_address() {
    let (bench, spec) = (Bench::with_spec(SPEC), SPEC);
    for address in [
        "redis://me:hidden@127.0.0.1/a",
        "s3://b?endpoint=https%3A%2F%2Fme%3Ahidden%40host",
        "Redis://me:hidden@host",
        "redis://me:hid den@host",
        "redis://me:hidden@host\\n",
        "https://me:hidden@host",
        "me:hidden@host://a",
        "redis:me:hidden@host",
    ] {
        for command in ["build", "plan", "explain"] {
            let meant = address.replace("\\n", "\n");
            let by_flag = bench.run(&[command, "--cache-from", &meant]).expect_code(2).errors();
            assert!(!by_flag.contains("hid"), "{command}: {by_flag}");
            for place in [format!("from = [\"{address}\"]"), format!("to = \"{address}\"")] {
                bench.write("ocibuild.toml", format!("{spec}\n[cache]\n{place}\n"));
                let output = bench.run(&[command]).expect_code(2);
                let said = format!("{}{}", output.errors(), String::from_utf8_lossy(&output.stdout));
                assert!(said.contains("an address has no credentials"), "{command}: {said}");
                assert!(!said.contains("hid"), "{command}: {said}");
                bench.write("ocibuild.toml", spec);
            }
        }
    }
    // Nor does what is wrong beside it.
    let places = "from = [\"redis://me:hidden@host\", \"redis://me:hidden@host\", \"https://host/a\"]";
    bench.write("ocibuild.toml", format!("{spec}\n[cache]\n{places}\n"));
    let said = bench.run(&["check"]).expect_code(2).errors();
    assert!(said.contains("listed twice") && said.contains("`https` is no kind of cache"), "{said}");
    assert!(!said.contains("hid"), "{said}");
}
