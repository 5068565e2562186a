//! What is wrong with images is found by name before they are published; and nothing in good ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use ocibuild_serve::{Recorder, Running, ServeOptions, Server};
use ocibuild_testkit::{Output, require, run, tool};
use serde_json::Value;

use crate::bench::Bench;

const CHECKS: i32 = 8;

mod loaders;

/// A spec of one layer with one directory, and what else is said.
fn spec(layer: &str, image: &str, rest: &str) -> String {
    format!(
        "version = 1\n[layers.app]\ncopy = [{{ from = \"files\", to = \"/app\", preserve = [\"mode\"] }}]\n{layer}\n\
         [images.app]\nlayers = [\"app\"]\n{image}\n{rest}\n"
    )
}

/// Compiles a C program or library to a file below the working directory.
fn compile(bench: &Bench, to: &str, source: &str, arguments: &[&str]) {
    let to = bench.path(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let file = bench.tree.join("source.c");
    fs::write(&file, source).unwrap();
    run(Command::new("gcc").current_dir(bench.path("")).arg("-o").arg(&to).arg(&file).args(arguments));
}

const MAIN: &str = "int main(void) { return 0; }";
const CALLS: &str = "int called(void); int main(void) { return called(); }";
const CALLED: &str = "int called(void) { return 0; }";

/// Makes a base in a layout, of files that are as good as a C library to who looks for one.
fn base(bench: &Bench, files: &[&str]) {
    let copies: Vec<String> =
        files.iter().map(|path| format!("{{ content = \"\", to = \"{path}\" }}")).collect();
    let spec = format!(
        "version = 1\n[layers.libc]\ncopy = [{}]\n[images.base]\nlayers = [\"libc\"]\n",
        copies.join(", ")
    );
    bench.write("base.toml", spec);
    bench.ok(&["build", "-f", "base.toml", "--output", "type=oci,dest=base"]);
}

const GLIBC: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/libc.so.6"];
const MUSL: [&str; 1] = ["/lib/ld-musl-x86_64.so.1"];
const ON_BASE: &str = "base = { layout = \"base\" }";

/// Builds, and demands that it is refused for just this, however often, and whatever is cached.
#[track_caller]
fn refused(bench: &Bench, id: &str, named: &[&str]) {
    for arguments in [&["build"][..], &["build"], &["build", "--no-cache"], &["build", "--verify-cache"]] {
        let words = [arguments, &["--checks-output", "found.json", "--checks-format", "json"]].concat();
        let output = bench.run(&words).expect_code(CHECKS);
        let said = output.errors();
        assert!(said.contains(&format!("({id})")), "{arguments:?}: {said}");
        named.iter().for_each(|name| assert!(said.contains(name), "{arguments:?}: {name}: {said}"));
        assert!(!bench.path("app.oci").exists(), "nothing is written");
        let found = errors(bench);
        assert_eq!(found, [id], "{said}");
    }
}

fn document(bench: &Bench) -> Value {
    serde_json::from_str(&fs::read_to_string(bench.path("found.json")).unwrap()).unwrap()
}

/// The ids of errors that were written.
fn errors(bench: &Bench) -> Vec<String> {
    let document = document(bench);
    let findings = document["findings"].as_array().unwrap();
    let errors = findings.iter().filter(|finding| finding["severity"] == "error");
    let mut ids: Vec<String> = errors.map(|error| error["id"].as_str().unwrap().to_owned()).collect();
    ids.dedup();
    ids
}

#[track_caller]
fn accepted(bench: &Bench) -> Output {
    bench.ok(&["build"]);
    let output = bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
    let document = document(bench);
    assert_eq!(document["sound"], true);
    let bad = |finding: &&Value| finding["severity"] != "note";
    let bad: Vec<&Value> = document["findings"].as_array().unwrap().iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    bench.valid("app.oci");
    output
}

#[test]
fn a_dynamic_program_on_scratch_is_found() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", "", ""));
    compile(&bench, "files/server", MAIN, &[]);
    refused(&bench, "elf-interpreter-missing", &["/app/server", "/lib64/ld-linux-x86-64.so.2"]);
    let said = bench.run(&["build"]).errors();
    let told = "error: ocibuild.toml:2:9: image `app`: `/app/server` can't start";
    assert!(said.contains(told), "with the layer's line: {said}");
}

#[test]
fn a_program_for_another_c_library_is_found() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", ON_BASE, ""));
    base(&bench, &MUSL);
    compile(&bench, "files/server", MAIN, &[]);
    refused(&bench, "elf-wrong-libc", &["/app/server", "glibc", "musl"]);
    let bench = Bench::with_spec(&spec("", ON_BASE, ""));
    base(&bench, &GLIBC);
    compile(&bench, "files/server", MAIN, &["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"]);
    refused(&bench, "elf-wrong-libc", &["/app/server", "glibc", "musl"]);
}

#[test]
fn a_missing_library_is_named() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", ON_BASE, ""));
    base(&bench, &GLIBC);
    compile(&bench, "lib/libcalled.so.1", CALLED, &["-shared", "-Wl,-soname,libcalled.so.1"]);
    compile(&bench, "files/bin/server", CALLS, &["lib/libcalled.so.1", "-Wl,-rpath,$ORIGIN/../lib"]);
    refused(&bench, "elf-library-missing", &["/app/bin/server", "libcalled.so.1"]);
    // With it, it is sound.
    fs::create_dir(bench.path("files/lib")).unwrap();
    fs::copy(bench.path("lib/libcalled.so.1"), bench.path("files/lib/libcalled.so.1.2")).unwrap();
    std::os::unix::fs::symlink("libcalled.so.1.2", bench.path("files/lib/libcalled.so.1")).unwrap();
    accepted(&bench);
}

#[test]
fn a_program_for_another_machine_is_found() {
    require!(tool("gcc"));
    let foreign = |bench: &Bench| {
        let mut program = fs::read(bench.path("files/server")).unwrap();
        program[18..20].copy_from_slice(&183_u16.to_le_bytes());
        fs::write(bench.path("files/server"), program).unwrap();
    };
    let bench = Bench::with_spec(&spec("", "", ""));
    compile(&bench, "files/server", MAIN, &["-static"]);
    foreign(&bench);
    let output = bench.run(&["build"]);
    assert!(output.errors().contains("/app/server") || output.errors().contains("app/server"));
    assert!(output.errors().contains("arm64"), "{}", output.errors());
    output.expect_code(3);
    // Let through, it is told that it is what is started, and who doesn't want that says so.
    let text =
        spec("", "entrypoint = [\"/app/server\"]", "[checks.severity]\nelf-wrong-architecture = \"error\"")
            .replace("preserve", "allow-foreign = true, preserve");
    bench.write("ocibuild.toml", text);
    refused(&bench, "elf-wrong-architecture", &["/app/server", "arm64"]);
}

#[test]
fn what_is_to_be_static_is() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", &format!("static = true\n{ON_BASE}"), ""));
    base(&bench, &GLIBC);
    compile(&bench, "files/server", MAIN, &[]);
    refused(&bench, "elf-not-static", &["/app/server", "ld-linux"]);
    compile(&bench, "files/server", MAIN, &["-static"]);
    accepted(&bench);
}

#[test]
fn good_programs_are_sound() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", &format!("{ON_BASE}\nuser = \"65532\""), ""));
    base(&bench, &GLIBC);
    compile(&bench, "files/server", MAIN, &[]);
    compile(&bench, "files/tool", MAIN, &["-static"]);
    let output = accepted(&bench);
    assert!(!output.errors().contains("warning"), "{}", output.errors());
}

/// A key as OpenSSL writes them, made up.
fn key() -> String {
    let line = |seed: u8| {
        let hex = ocibuild_core::Digest::of(&[seed]).to_string();
        hex.trim_start_matches("sha256:").to_owned()
    };
    let (begin, end) = ("-----BEGIN", "-----END");
    format!("{begin} PRIVATE KEY-----\n{}\n{}\n{end} PRIVATE KEY-----\n", line(1), line(2))
}

#[test]
fn a_leaked_key_is_found_and_none_of_it_is_told() {
    let bench = Bench::with_spec(&spec("", "", ""));
    bench.write("files/tls/server.pem", key());
    bench.write("files/readme", "nothing to see");
    refused(&bench, "secret-private-key", &["/app/tls/server.pem:1"]);
    let body = key().lines().nth(1).unwrap()[..12].to_owned();
    let text = fs::read_to_string(bench.path("found.json")).unwrap();
    assert!(!text.contains(&body) && !bench.run(&["build", "-vv"]).errors().contains(&body));
    // It is told where the layer is, with the line that lets it through.
    let said = bench.run(&["build"]).errors();
    assert!(said.contains("error: ocibuild.toml:2:9: there is a private key in `/app/tls/"), "{said}");
    let line = said.split('`').find(|part| part.starts_with("allow = [")).unwrap();
    bench.write("ocibuild.toml", spec("", "", &format!("[checks]\n{line}")));
    bench.ok(&["build"]);
    // What is allowed says why.
    let allow =
        "[checks]\nallow = [{ id = \"secret-private-key\", path = \"app/tls\", reason = \"a test's\" }]";
    bench.write("ocibuild.toml", spec("", "", allow));
    bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
    let findings = document(&bench)["findings"].clone();
    assert!(
        findings.as_array().unwrap().iter().any(|finding| finding["allowed"] == "a test's"),
        "{findings}"
    );
    for off in ["[checks.severity]\nsecrets = \"off\"", "[checks]\nfail-on = \"never\""] {
        bench.write("ocibuild.toml", spec("", "", off));
        bench.ok(&["build"]);
    }
    bench.write("ocibuild.toml", spec("", "", ""));
    bench.ok(&["build", "--no-checks"]);
}

/// `--no-checks` is of one build: what others go by is found in it all the same.
#[test]
fn a_layer_made_without_checks_is_judged_by_the_builds_after_it() {
    for layer in ["", "manifests = [\"package.lock\"]"] {
        let bench = Bench::with_spec(&spec(layer, "", ""));
        bench.write("package.lock", "lock");
        bench.write("files/server.pem", key());
        bench.ok(&["build", "--no-checks"]);
        for _ in 0..2 {
            bench.run(&["build"]).expect_code(CHECKS);
        }
        bench.ok(&["build", "--no-checks"]);
    }
}

/// Keys as people make them, of each kind and form.
#[test]
fn keys_that_real_programs_made_are_found() {
    require!(tool("ssh-keygen"));
    require!(tool("openssl"));
    let bench = Bench::with_spec(&spec("", "", ""));
    let directory = bench.path("files");
    fs::create_dir(&directory).unwrap();
    let mut names = Vec::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        for (form, arguments) in
            [("openssh", &["-N", ""][..]), ("pem", &["-N", "", "-m", "PEM"]), ("locked", &["-N", "abcde"])]
        {
            let name = format!("{kind}-{form}");
            let mut command = Command::new("ssh-keygen");
            run(command.current_dir(&directory).args(["-q", "-t", kind, "-f", &name]).args(arguments));
            // What everybody may see is nothing to tell.
            assert!(directory.join(format!("{name}.pub")).exists());
            names.push(name);
        }
    }
    let openssl: [(&str, &[&str]); 4] = [
        ("pkcs8-rsa", &["genpkey", "-algorithm", "RSA"]),
        ("pkcs8-ed25519", &["genpkey", "-algorithm", "ED25519"]),
        ("pkcs8-ec", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("ec", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]),
    ];
    for (name, arguments) in openssl {
        run(Command::new("openssl").current_dir(&directory).args(arguments).args(["-out", name]));
        names.push(name.to_owned());
    }
    bench.run(&["build", "--checks-output", "found.json", "--checks-format", "json"]).expect_code(CHECKS);
    let document = document(&bench);
    let findings = document["findings"].as_array().unwrap();
    let keys = findings.iter().filter(|finding| finding["id"] == "secret-private-key");
    let mut found: Vec<&str> = keys.map(|finding| finding["path"].as_str().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    let mut wanted: Vec<String> = names.iter().map(|name| format!("app/{name}")).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

/// What a file is the image says, wherever it was before.
#[test]
fn files_are_judged_by_their_places_in_the_image() {
    let text = |to: &str| {
        format!(
            "version = 1\n[layers.app]\ncopy = [\n{{ from = \"vendor/e.sh\", to = \"{to}\", mode = \"755\" }},\n\
             {{ from = \"netrc.txt\", to = \"/root/.netrc\" }}]\n[images.app]\nlayers = [\"app\"]\n\
             workdir = \"/app\"\nentrypoint = [\"./e.sh\"]\n[checks]\nfail-on = \"never\"\n"
        )
    };
    let bench = Bench::with_spec(&text("/opt/node_modules/e.sh"));
    bench.write("vendor/e.sh", "#!/bin/sh\r\necho\r\n");
    bench.write("netrc.txt", "machine a.example login b password hunter22\n");
    let told = |ids: &[&str]| {
        // The clock of the file system has to go on, for files to be known.
        sleep(Duration::from_millis(250));
        for _ in 0..2 {
            let output = bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
            assert_eq!(errors(&bench), ids, "{}", output.errors());
        }
    };
    told(&["secret-netrc-password"]);
    // The same files elsewhere: what was found in them before is still known.
    bench.write("ocibuild.toml", text("/app/e.sh"));
    told(&["secret-netrc-password", "script-interpreter-missing"]);
    let said = bench.run(&["build"]).errors().to_owned();
    assert!(said.contains("CR LF") && said.contains("`/bin/sh\\r`"), "{said}");
    bench.write("ocibuild.toml", text("/app/e.sh").replace("/root/.netrc", "/root/netrc"));
    told(&["script-interpreter-missing"]);
}

#[test]
fn what_a_layer_above_replaces_is_not_judged() {
    require!(tool("gcc"));
    let text = "version = 1\n[layers.a]\ncopy = [{ from = \"p\", to = \"/app/p\" }]\n\
        [layers.b]\ncopy = [{ content = \"text\", to = \"/app/p\" }]\n[images.app]\nlayers = [\"a\", \"b\"]\n";
    let bench = Bench::with_spec(text);
    compile(&bench, "p", MAIN, &[]);
    accepted(&bench);
    fs::remove_dir_all(bench.path("app.oci")).unwrap();
    bench.write("ocibuild.toml", text.replace("\"/app/p\" }]\n[images", "\"/app/q\" }]\n[images"));
    refused(&bench, "elf-interpreter-missing", &["/app/p"]);
}

#[test]
fn packages_bring_programs_for_all_machines() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", ON_BASE, ""));
    base(&bench, &GLIBC);
    let package = "files/node_modules/argon2/prebuilds";
    for machine in [62_u16, 183] {
        let path = format!("{package}/linux-{machine}/argon2.node");
        compile(&bench, &path, CALLED, &["-shared", "-nostdlib"]);
        let mut program = fs::read(bench.path(&path)).unwrap();
        program[18..20].copy_from_slice(&machine.to_le_bytes());
        fs::write(bench.path(&path), program).unwrap();
    }
    accepted(&bench);
    fs::remove_dir_all(bench.path("app.oci")).unwrap();
    fs::remove_dir_all(bench.path(&format!("{package}/linux-62"))).unwrap();
    refused(&bench, "elf-wrong-architecture", &["argon2", "arm64", "linux/amd64"]);
}

/// What was found in a file is known while the file is, whatever becomes of the others: where its blocks
/// are taken from the last layer, where only its digest is, where nothing is.
#[test]
fn what_was_found_in_a_file_lasts_while_others_change() {
    for split in ["", "split = 2"] {
        let bench = Bench::with_spec(&spec(split, "", "[checks]\nfail-on = \"never\""));
        bench.write("files/zzz/server.pem", key());
        for number in 0..600_u32 {
            bench.write(&format!("files/{number:04}"), vec![number as u8; 9000]);
        }
        for turn in 0..4 {
            // The clock of the file system has to go on, for files to be known.
            sleep(Duration::from_millis(250));
            bench.write("files/0003", format!("turn {turn}"));
            bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
            assert_eq!(errors(&bench), ["secret-private-key"], "turn {turn}, {split}");
        }
        // Somewhere else in the image it is the same file.
        let moved = spec(split, "", "[checks]\nfail-on = \"never\"").replace("/app", "/opt");
        bench.write("ocibuild.toml", moved);
        bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
        assert_eq!(document(&bench)["findings"][0]["path"], "opt/zzz/server.pem");
        // And where it is gone, it is.
        fs::remove_file(bench.path("files/zzz/server.pem")).unwrap();
        bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
        assert_eq!(errors(&bench), [""; 0]);
    }
}

#[test]
fn what_is_too_large_names_its_largest_files() {
    let noise = |length: usize| -> Vec<u8> {
        (0..length / 32)
            .flat_map(|n| ocibuild_core::Digest::of(&n.to_le_bytes()).to_string().into_bytes())
            .collect()
    };
    for (layer, image, id) in
        [("max-size = \"20kB\"", "", "layer-too-large"), ("", "max-size = \"20kB\"", "image-too-large")]
    {
        let bench = Bench::with_spec(&spec(layer, image, ""));
        for number in 1..=12 {
            bench.write(&format!("files/{number}"), noise(number * 1000));
        }
        refused(&bench, id, &["/app/12", "/app/3", "20.0 kB"]);
        assert!(!bench.run(&["build"]).errors().contains("/app/2`"), "ten are named");
        bench.write("ocibuild.toml", spec(&layer.replace("kB", "MB"), &image.replace("kB", "MB"), ""));
        accepted(&bench);
    }
    let bench = Bench::with_spec(&spec("split = 3", "max-layers = 2", ""));
    for number in 0..64 {
        bench.write(&format!("files/{number}/file"), noise(3000 + number));
    }
    refused(&bench, "image-too-many-layers", &["`max-layers` of 2"]);
}

/// A registry in this process.
fn registry(bench: &Bench) -> (Recorder, String, Running) {
    let mut options = ServeOptions::default();
    let recorder = Recorder::new();
    options.recorder = Some(recorder.clone());
    options.faults = Some(Arc::new(ocibuild_serve::Script::new()));
    let server = Server::start(bench.path("served"), options).unwrap();
    (recorder, server.address().to_string(), server)
}

#[test]
fn a_layer_that_shows_it_alone_is_not_pushed_nor_is_any_manifest() {
    let text = "version = 1\n[layers.leak]\ncopy = [{ from = \"files\", to = \"/leak\" }]\n\
        [layers.good]\ncopy = [{ content = \"good\", to = \"/good\" }]\n[images.app]\nlayers = [\"good\", \"leak\"]\n";
    let bench = Bench::with_spec(text);
    bench.write("files/server.pem", key());
    let (recorder, host, _server) = registry(&bench);
    let tag = format!("{host}/team/app:1");
    for _ in 0..2 {
        bench.run(&["build", "--push", "-t", &tag]).expect_code(CHECKS);
    }
    let puts = |part: &str| recorder.count(|one| one.method == "PUT" && one.path.contains(part));
    assert_eq!(puts("/manifests/"), 0);
    // The good layer may have gone, the other one hasn't.
    let sent: u64 = recorder.exchanges().iter().map(|one| one.received).sum();
    assert!(sent < 300, "{sent}: {:#?}", recorder.lines());
    bench.ok(&["build", "--push", "-t", &tag, "--no-checks"]);
    assert!(puts("/manifests/") > 0);
}

#[test]
fn a_fault_of_the_image_alone_moves_no_tag() {
    require!(tool("gcc"));
    let bench = Bench::with_spec(&spec("", "", ""));
    compile(&bench, "files/server", MAIN, &[]);
    let (recorder, host, _server) = registry(&bench);
    bench.run(&["build", "--push", "-t", &format!("{host}/team/app:1")]).expect_code(CHECKS);
    assert_eq!(recorder.count(|one| one.method == "PUT" && one.path.contains("/manifests/")), 0);
}

/// The parts of the format that readers go by: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.
#[test]
fn findings_are_written_as_sarif() {
    let bench = Bench::with_spec(&spec("max-size = \"1B\"", "", ""));
    bench.write("files/a b.pem", key() + &key());
    bench.run(&["build", "--checks-output", "a.sarif", "--checks-format", "sarif"]).expect_code(CHECKS);
    let log: Value = serde_json::from_slice(&fs::read(bench.path("a.sarif")).unwrap()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(run["tool"]["driver"]["name"], "ocibuild");
    let results = run["results"].as_array().unwrap();
    assert!(results.len() >= 3, "{results:#?}");
    let mut prints = std::collections::BTreeSet::new();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        let print = result["partialFingerprints"]["finding/v2"].as_str().unwrap();
        assert!(print.starts_with(result["ruleId"].as_str().unwrap()) && prints.insert(print), "{print}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "ocibuild.toml");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].is_string());
    }
    let key = results.iter().find(|result| result["ruleId"] == "secret-private-key").unwrap();
    let region = &key["locations"][0]["physicalLocation"]["region"];
    assert_eq!((&region["startLine"], &region["startColumn"]), (&2.into(), &9.into()), "the layer's");
    let levels = rules.iter().map(|rule| rule["defaultConfiguration"]["level"].as_str().unwrap());
    assert!(levels.into_iter().all(|level| ["note", "warning", "error"].contains(&level)));
}

/// A warning costs a hit no look at what its layers hold: the lists of it are damaged, and nobody minds.
#[test]
fn what_was_asked_of_layers_is_kept() {
    let bench = Bench::with_spec(&spec("manifests = [\"lock\"]", "env = { PATH = \"/app\" }", ""));
    bench.write("lock", "1");
    bench.write("files/tool", "#!/usr/bin/nosuch\n");
    fs::set_permissions(bench.path("files/tool"), Permissions::from_mode(0o755)).unwrap();
    let is_told = || bench.ok(&["build"]).errors().contains("(script-interpreter-missing)");
    let records = || {
        let output = bench.ok(&["cache", "ls", "--format", "json"]);
        let listed: Value = serde_json::from_str(&output.text()).unwrap();
        listed["records"].as_array().unwrap().clone()
    };
    assert!(is_told());
    let is_lookup = |record: &&Value| record["kind"] == "lookup";
    assert_eq!(records().iter().filter(is_lookup).count(), 1);
    let cache = bench.tree.join("cache");
    for record in records().iter().filter(|record| record["kind"] == "layer") {
        let digest = record["inventory"]["digest"].as_str().unwrap().replace(':', "/");
        let path = cache.join("blobs").join(digest);
        fs::write(&path, vec![0; fs::metadata(&path).unwrap().len() as usize]).unwrap();
    }
    assert!(is_told());
    let key = records().iter().find(is_lookup).unwrap()["key"].as_str().unwrap().to_owned();
    let path = files_below(&cache).into_iter().find(|path| path.to_str().unwrap().contains(&key));
    fs::remove_file(path.unwrap()).unwrap();
    assert!(!is_told(), "nobody knows");
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn every_rule_is_in_the_documentation() {
    let text = include_str!("../../../../docs/checks.md");
    for rule in ocibuild_core::inspect::RULES.iter() {
        assert!(text.contains(&format!("`{}`", rule.id)), "{}", rule.id);
    }
}
