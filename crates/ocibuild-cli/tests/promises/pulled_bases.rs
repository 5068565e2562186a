//! A real base in a real registry: its bytes stay there, a lock holds it, and what was built on it
//! runs.

use crate::access::{HTPASSWD, make_certificates};
use crate::ocibuild::{Ocibuild, amd64, digest, text};
use crate::real_application::debian;
use ocibuild_testkit::{Missing, Skopeo, TempTree, Umoci, docker, entries, require, run, run_any, tool};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A registry of the test's own, which writes down what it is asked.
struct Registry {
    host: String,
    child: Child,
    directory: TempDir,
}

impl Registry {
    fn start() -> Result<Self, Missing> {
        Self::start_with(|_| (String::new(), String::new()))
    }

    /// Starts one that wants a password, by https.
    fn start_guarded(certificates: &Path) -> Result<Self, Missing> {
        make_certificates(&tool("openssl")?, certificates);
        Self::start_with(|directory| {
            let file = directory.join("htpasswd");
            fs::write(&file, HTPASSWD).unwrap();
            let path = certificates.display();
            (
                format!(", tls: {{ certificate: \"{path}/server.pem\", key: \"{path}/server.key\" }}"),
                format!("auth: {{ htpasswd: {{ realm: test, path: \"{}\" }} }}\n", file.display()),
            )
        })
    }

    /// Starts one with more in the configuration: what is said of http, and all else.
    fn start_with(more: impl FnOnce(&Path) -> (String, String)) -> Result<Self, Missing> {
        let program = tool("docker-registry")?;
        let directory = TempDir::new().unwrap();
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (http, more) = more(directory.path());
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: false }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }} }}\nhttp: {{ addr: \"{host}\"{http} }}\n{more}",
            directory.path().join("data").display()
        );
        fs::write(directory.path().join("config.yml"), config).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(directory.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let registry = Self { host, child: command.spawn().unwrap(), directory };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < until, "{}", registry.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Counts the requests by this method in whose address all of these stand, but for those that
    /// a password is asked for.
    fn count(&self, method: &str, parts: &[&str]) -> usize {
        let is_one = |line: &&str| {
            line.contains(&format!("\"{method} /v2/"))
                && !line.contains("\" 401 ")
                && parts.iter().all(|part| line.contains(part))
        };
        self.log().lines().filter(is_one).count()
    }

    /// Takes a repository away with its manifests.
    fn forget(&self, repository: &str) {
        let data = self.directory.path().join("data/docker/registry/v2/repositories");
        fs::remove_dir_all(data.join(repository)).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SPEC: &str = r#"
version = 1
[layers.app]
copy = [
  { from = "main.py", to = "/lib/app/main.py" },
  { content = "hello\n", to = "/bin/greeting", owner = "33:34" },
]
[images.app]
base = "HOST/debian/base:1"
layers = ["app"]
tags = ["HOST/team/app:1"]
entrypoint = ["/usr/bin/python3", "/usr/lib/app/main.py"]
"#;

const MAIN: &str = "\
import os
print(open('/usr/bin/greeting').read().strip(), os.stat('/bin/greeting').st_uid)
";

struct Setting {
    registry: Registry,
    tree: TempTree,
    ocibuild: Ocibuild,
    skopeo: Skopeo,
    /// How skopeo gets into the registry.
    access: Vec<String>,
    /// The digests of the base's layers.
    layers: Vec<String>,
}

impl Setting {
    fn new() -> Result<Self, Missing> {
        Self::over(Registry::start()?, Ocibuild::new(), &["--dest-tls-verify=false"])
    }

    /// A registry that wants a password, by https with a certificate of an authority that only this
    /// setting knows.
    fn guarded(certificates: &Path) -> Result<Self, Missing> {
        let registry = Registry::start_guarded(certificates)?;
        let ocibuild = Ocibuild::new();
        let known = ocibuild.home().join(".config/containers/certs.d").join(&registry.host);
        fs::create_dir_all(&known).unwrap();
        fs::copy(certificates.join("authority.pem"), known.join("ca.crt")).unwrap();
        fs::create_dir_all(ocibuild.home().join(".docker")).unwrap();
        let login = json!({ "auths": { &registry.host: { "username": "tester", "password": "hidden" } } });
        fs::write(ocibuild.home().join(".docker/config.json"), login.to_string()).unwrap();
        let access = ["--dest-creds", "tester:hidden", "--dest-cert-dir", text(&known)];
        Self::over(registry, ocibuild, &access)
    }

    fn over(registry: Registry, ocibuild: Ocibuild, access: &[&str]) -> Result<Self, Missing> {
        amd64()?;
        let (umoci, skopeo) = (Umoci::new()?, Skopeo::new()?);
        let tree =
            TempTree::new().file("main.py", MAIN).file("ocibuild.toml", SPEC.replace("HOST", &registry.host));
        debian(&umoci, &tool("mmdebstrap")?, tree.path());
        let ocibuild = ocibuild.within(tree.path());
        let access = access.iter().map(|word| (*word).to_owned()).collect();
        let mut setting = Self { registry, tree, ocibuild, skopeo, access, layers: Vec::new() };
        setting.publish(&setting.tree.join("base"), "debian");
        let base = setting.ocibuild.inspect(&format!("{}/debian/base:1", setting.registry.host));
        setting.layers = digests(&base);
        assert!(!setting.layers.is_empty(), "{base}");
        Ok(setting)
    }

    /// Gives the base's tag to an image of a layout.
    fn publish(&self, layout: &Path, name: &str) {
        let mut command = self.skopeo.command();
        command.args(["copy", "--quiet"]).args(&self.access);
        command.arg(format!("oci:{}:{name}", layout.display()));
        run(command.arg(format!("docker://{}/debian/base:1", self.registry.host)));
    }

    /// Builds with a metadata file, which it gives.
    #[track_caller]
    fn build(&self, arguments: &[&str]) -> (String, Value) {
        let file = self.tree.join("metadata.json");
        let line = self.ocibuild.build_one(&[&["--metadata-file", text(&file)], arguments].concat());
        (line, serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
    }

    fn lock(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = run_any(self.ocibuild.command().arg("lock").args(arguments));
        (output.code, format!("{}{}", output.text(), output.errors()))
    }
}

fn digests(inspected: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![inspected];
    while let Some(value) = look.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::Array(layers)) = map.get("layers") {
                    found.extend(layers.iter().filter_map(|layer| {
                        let digest = layer.get("digest").or_else(|| layer.pointer("/descriptor/digest"))?;
                        Some(digest.as_str()?.to_owned())
                    }));
                }
                look.extend(map.values());
            }
            Value::Array(items) => look.extend(items),
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The digest of a lock's first entry.
fn locked(lock: &str) -> &str {
    lock.lines().find_map(|line| line.strip_prefix("digest = ")).unwrap().trim_matches('"')
}

#[test]
fn bytes_of_a_base_stay_in_its_registry() {
    let docker = require!(docker());
    let setting = require!(Setting::new());
    let line = bytes_stay(&setting, &require!(Registry::start()));
    docker.pull(&line);
    assert_eq!(docker.run(&line, &[]).text(), "hello 33");
    docker.remove(&line);
}

#[test]
fn bytes_of_a_base_stay_in_a_registry_with_a_password_and_an_authority_of_its_own() {
    let certificates = TempTree::new();
    let setting = require!(Setting::guarded(certificates.path()));
    bytes_stay(&setting, &require!(Registry::start()));
}

/// Builds and pushes, and counts what is sent and read; gives the name of what was pushed.
#[track_caller]
fn bytes_stay(setting: &Setting, other: &Registry) -> String {
    let Setting { registry, ocibuild, layers, .. } = setting;
    assert_eq!(setting.lock(&[]).0, Some(0));
    let (line, metadata) = setting.build(&["--push"]);
    assert_eq!(metadata["mounted"]["count"], layers.len(), "{metadata}");
    let size: u64 = metadata["mounted"]["bytes"].as_u64().unwrap();
    assert!(size > 10 << 20, "a real root file system: {size}");
    assert!(metadata["uploaded"]["bytes"].as_u64().unwrap() < 1 << 20, "{metadata}");
    for layer in layers {
        let (plain, escaped) = (layer.as_str(), layer.replace(':', "%3A"));
        assert_eq!(registry.count("POST", &["team/app", "mount=", &escaped]), 1, "{}", registry.log());
        assert_eq!(registry.count("PUT", &["team/app", &escaped]), 0);
        // Once, to know what is in it.
        assert_eq!(registry.count("GET", &["debian/base/blobs", plain]), 1);
    }
    run(ocibuild.command().args(["validate", &line]));

    // What is in the base is known by a record, which is small.
    let records = ocibuild.cache().join("records");
    let files = entries(&records).into_keys().filter(|path| path.extension().is_some());
    let texts = files.map(|path| fs::read_to_string(records.join(path)).unwrap());
    let listing = texts.max_by_key(String::len).unwrap();
    let file: Value = serde_json::from_str(&listing).unwrap();
    let record = &file["record"];
    let count = record["entries"].as_u64().unwrap();
    println!("{count} files of the base are listed in a record of {} bytes", listing.len());
    assert!(count > 1000 && record["inventory"]["data"].is_string());
    assert!((listing.len() as u64) < 40 * count, "{} bytes", listing.len());

    // To another registry each layer goes once, and not by way of the disk.
    let elsewhere = format!("{}/team/app:1", other.host);
    let (there, metadata) = setting.build(&["--push", "-t", &elsewhere]);
    assert_eq!(digest(&there), digest(&line));
    assert_eq!(metadata["mounted"]["count"], 0);
    for layer in layers {
        assert_eq!(other.count("PUT", &["team/app", &layer.replace(':', "%3A")]), 1, "{}", other.log());
        assert_eq!(registry.count("GET", &["debian/base/blobs", layer]), 2);
        let hex = layer.strip_prefix("sha256:").unwrap();
        assert!(!ocibuild.cache().join("blobs/sha256").join(hex).exists());
    }
    run(ocibuild.command().args(["validate", &there]));

    // Without a spec, by the same route.
    run(ocibuild.command().args(["check", "--locked"]));
    let lock = fs::read_to_string(setting.tree.join("ocibuild.lock")).unwrap();
    let pinned = format!("{}/debian/base@{}", registry.host, locked(&lock));
    let flags = ["--base", &pinned, "--locked", "--copy", "main.py:/lib/app/main.py", "--push", "-t"];
    let fourth = format!("{}/team/fourth:1", registry.host);
    let (fourth, metadata) = setting.build(&[&flags[..], &[&fourth]].concat());
    assert_eq!(metadata["mounted"]["count"], layers.len());
    run(ocibuild.command().args(["validate", &fourth]));

    // With nothing but the records, nothing of the base's layers is read.
    fs::remove_dir_all(ocibuild.cache().join("blobs")).unwrap();
    let third = format!("{}/team/third:1", registry.host);
    let (third, _) = setting.build(&["--push", "-t", &third]);
    assert_eq!(digest(&third), digest(&line));
    for layer in layers {
        assert_eq!(registry.count("GET", &["debian/base/blobs", layer]), 2);
        assert_eq!(registry.count("PUT", &["team/third", &layer.replace(':', "%3A")]), 0);
    }
    line
}

#[test]
fn a_lock_says_what_a_tag_means() {
    let setting = require!(Setting::new());
    let Setting { registry, tree, ocibuild, .. } = &setting;
    let layout = tree.join("out.oci");
    let output = format!("type=oci,dest={}", layout.display());
    let fails = |flags: &[&str]| {
        let arguments = [&["--output", output.as_str()], flags].concat();
        let output = ocibuild.build_any(&arguments);
        (output.code, output.errors())
    };
    // Without a lock: a warning, and an error where one is demanded.
    let (code, errors) = fails(&["--locked"]);
    assert!(code == Some(2) && errors.contains("ocibuild lock"), "{errors}");
    assert_eq!(setting.lock(&["--check"]).0, Some(1));
    let warned = run(ocibuild.command().args(["build", "--output", &output])).errors();
    assert!(warned.contains("warning") && warned.contains("`ocibuild lock`"), "{warned}");

    let (code, said) = setting.lock(&[]);
    assert!(code == Some(0) && said.contains("added"), "{said}");
    let file = tree.join("ocibuild.lock");
    let first = fs::read_to_string(&file).unwrap();
    assert!(first.contains("diff-ids") && first.contains("platform = \"linux/amd64\""), "{first}");
    assert_eq!(setting.lock(&[]), (Some(0), "ocibuild.lock: nothing changed".to_owned()));
    assert_eq!(setting.lock(&["--check"]), (Some(0), String::new()));
    let (line, _) = setting.build(&["--locked", "--output", &output]);

    // The tag moves.
    let old = locked(&first);
    setting.publish(&layout, "1");
    let new = digest(&line);
    let (code, errors) = fails(&["--locked"]);
    assert!(code == Some(2) && errors.contains(old) && errors.contains(new), "{errors}");
    assert!(errors.contains("lock --update"), "{errors}");
    let (code, said) = setting.lock(&["--check"]);
    assert!(code == Some(1) && said.contains(old) && said.contains(new), "{said}");
    assert_eq!(setting.build(&["--output", &output]).0, line, "the lock holds");
    assert_eq!(setting.build(&["--offline", "--output", &output]).0, line);
    assert_eq!(setting.lock(&[]).1, "ocibuild.lock: nothing changed");
    let (code, said) = setting.lock(&["--update", "app"]);
    assert!(code == Some(0) && said.contains(&format!("{old} -> {new}")), "{said}");
    assert!(fs::read_to_string(&file).unwrap().contains(new));
    assert_eq!(setting.lock(&["--check"]).0, Some(0));

    // The base vanishes: what the cache has is enough, and what it hasn't is named.
    fs::write(&file, &first).unwrap();
    registry.forget("debian/base");
    assert_eq!(setting.build(&["--offline", "--output", &output]).0, line);
    let empty = ["--offline", "--cache-dir", text(&tree.join("empty"))].map(str::to_owned);
    let (code, errors) = fails(&[&empty[0], &empty[1], &empty[2]]);
    assert!(code == Some(4) && errors.contains(old) && errors.contains("--offline"), "{errors}");
    let (code, errors) = fails(&["--cache-dir", &empty[2]]);
    assert!(code == Some(4) && errors.contains(old) && errors.contains("lock --update"), "{errors}");
    assert!(errors.contains("debian/base:1") && errors.contains("layout"), "{errors}");

    // A faulty lock is told with its line.
    let merged = first.replacen("size = ", "<<<<<<< HEAD\nsize = ", 1);
    fs::write(&file, merged).unwrap();
    let (code, errors) = fails(&[]);
    let number = first.lines().position(|line| line.starts_with("size")).unwrap() + 1;
    assert!(code == Some(2) && errors.contains(&format!("ocibuild.lock:{number}:")), "{errors}");
}

#[test]
fn a_moved_image_runs_on_its_new_base() {
    let docker = require!(docker());
    let setting = require!(Setting::new());
    let Setting { registry, tree, ocibuild, layers, .. } = &setting;
    let name = |path: &str| format!("{}/{path}", registry.host);
    let (old, new, app, moved) =
        (name("debian/base:1"), name("debian/base:2"), name("team/app:1"), name("team/moved:1"));
    setting.build(&["--push"]);
    // The base of tomorrow, and one whose `/lib` is no link.
    let push = |base: &str, files: &str, tag: &str| {
        let flags = ["build", "--base", base, "--copy", files, "--env", "UPDATED=1", "-t", tag, "--push"];
        run(ocibuild.command().args(flags));
    };
    tree.write("updated", "1\n");
    push(&old, "updated:/etc/updated", &new);
    push("scratch", "updated:/lib/updated", &name("debian/base:3"));

    let to = |onto: &str| -> Vec<String> {
        ["rebase", &app, "--onto", onto, "-t", &moved, "--push"].map(str::to_owned).to_vec()
    };
    let line = run(ocibuild.command().args(to(&new))).text();
    for layer in layers {
        let escaped = layer.replace(':', "%3A");
        assert_eq!(registry.count("POST", &["team/moved", "mount=", &escaped]), 1, "{}", registry.log());
        assert_eq!(registry.count("PUT", &["team/moved", &escaped]), 0);
    }
    // The image's own layer, and what the base has more.
    assert_eq!(registry.count("POST", &["team/moved", "mount="]), layers.len() + 2);
    run(ocibuild.command().args(["validate", &line]));
    tree.write(
        "ocibuild.toml",
        SPEC.replace("HOST", &registry.host).replace("debian/base:1", "debian/base:2"),
    );
    let built = setting.build(&["--push", "-t", &name("team/built:1")]).0;
    assert_eq!(digest(&line), digest(&built));
    docker.pull(&line);
    assert_eq!(docker.run(&line, &[]).text(), "hello 33");
    docker.remove(&line);

    let refused = run_any(ocibuild.command().args(to(&name("debian/base:3"))));
    let errors = refused.errors();
    assert_eq!(refused.code, Some(1), "{errors}");
    for (link, is) in [("/lib", "a directory"), ("/bin", "nothing")] {
        let told = format!("`{link}`: led to `/usr{link}` in the old base, is {is} in the new one");
        assert!(errors.contains(&told), "{errors}");
    }
    assert_eq!(ocibuild.inspect(&moved)["descriptor"]["digest"], digest(&line), "the tag didn't move");

    registry.forget("debian/base");
    let (third, empty) = (name("team/third:1"), tree.join("empty"));
    let words = ["rebase", &app, "--onto", &moved, "-t", &third, "--push", "--cache-dir", text(&empty)];
    let gone = run_any(ocibuild.command().args(words));
    let errors = gone.errors();
    assert!(gone.code == Some(4) && errors.contains("debian/base@sha256:"), "{errors}");
    assert!(errors.contains("--from BASE"), "{errors}");
}
