//! Layouts and archives, as the tools that people use take them. A tool that isn't there is told
//! and passed over, unless `OCIBUILD_TEST_ALL=1`.
#![expect(clippy::disallowed_methods, reason = "tests may look around in the environment")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::explicit_write, reason = "what `eprintln!` says is kept back where a test passes")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::archive::{ArchiveImage, ArchiveWriter};
use ocibuild_core::blob::{Memory, Target as _};
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::digest::{DiffId, Digest};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{
    Config, Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, RootFs, to_json,
};

/// Tells whether all of these tools are there.
fn has(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &str| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let absent: Vec<&str> = tools.iter().copied().filter(|tool| !is_there(tool)).collect();
    absent.is_empty() || skip(&format!("`{}` is missing", absent.join("`, `")))
}

fn skip(reason: &str) -> bool {
    assert!(std::env::var_os("OCIBUILD_TEST_ALL").is_none_or(|all| all != "1"), "{reason}");
    writeln!(std::io::stderr(), "SKIPPED: {reason}").unwrap();
    false
}

/// Runs a command, which should do well, and returns what it says.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn skopeo(arguments: &[&str]) -> String {
    run(Command::new("skopeo").arg("--insecure-policy").args(arguments))
}

fn layer(memory: &Memory, files: &[(&str, &[u8])]) -> (Descriptor, DiffId) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let diff_id = DiffId(Digest::of(&tar));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    (memory.insert(MediaType::LAYER_GZIP, gzip.finish().unwrap()), diff_id)
}

fn image(memory: &Memory, platform: &Platform, text: &str) -> Descriptor {
    let shared = layer(memory, &[("shared", b"the same in all")]);
    let own = layer(memory, &[("hello", text.as_bytes())]);
    let mut config = ImageConfig::new(platform.os.clone(), platform.architecture.clone());
    let mut inner = Config::default();
    inner.cmd = Some(vec!["/hello".to_owned()]);
    config.config = Some(inner);
    config.rootfs = RootFs::new(vec![shared.1, own.1]);
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, vec![shared.0, own.0])))
}

fn index(memory: &Memory) -> Descriptor {
    let platforms = [Platform::linux_amd64(), Platform::linux_arm64()];
    let of = |platform: Platform| image(memory, &platform, &platform.architecture).with_platform(platform);
    memory.insert(MediaType::INDEX, to_json(&Index::new(platforms.map(of).to_vec())))
}

fn put(layout: &Layout, memory: &Memory, root: &Descriptor, name: &str) {
    copy(std::slice::from_ref(root), memory, layout, &CopyOptions::new()).unwrap();
    layout.tag(root, name).unwrap();
}

/// An archive of three images: one with two names, one that is an index, one without a reference.
fn archive(path: &Path) -> (Descriptor, Descriptor) {
    let memory = Memory::new();
    let (one, two) = (image(&memory, &Platform::linux_amd64(), "one"), index(&memory));
    let three = image(&memory, &Platform::linux_amd64(), "three");
    let images = [
        ArchiveImage::new(one.clone(), "one")
            .reference("r.example.com/team/one:1".parse().unwrap())
            .reference("one:latest".parse().unwrap()),
        ArchiveImage::new(two.clone(), "two").reference("r.example.com/team/two:2".parse().unwrap()),
        ArchiveImage::new(three.clone(), "three"),
    ];
    let writer = ArchiveWriter::to_file(path).unwrap();
    copy(&[one.clone(), two.clone(), three], &memory, &writer, &CopyOptions::new()).unwrap();
    writer.finish(&images).unwrap();
    (one, two)
}

#[test]
fn skopeo_and_umoci_take_a_layout() {
    if !has(&["skopeo", "umoci"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layout");
    let at = path.to_str().unwrap();
    let memory = Memory::new();
    let one = image(&memory, &Platform::linux_amd64(), "one");
    put(&Layout::open_or_create(&path).unwrap(), &memory, &one, "one");
    put(&Layout::open_or_create(&path).unwrap(), &memory, &index(&memory), "two");
    let inspect = |name: &str| skopeo(&["inspect", "--format", "{{.Digest}}", &format!("oci:{at}:{name}")]);
    assert_eq!(inspect("one").trim(), one.digest.to_string());
    skopeo(&["inspect", &format!("oci:{at}:two")]);
    let copied = directory.path().join("copied");
    let to = format!("oci:{}:two", copied.display());
    skopeo(&["copy", "--all", &format!("oci:{at}:two"), &to]);
    assert_eq!(Layout::open(&copied).unwrap().resolve("two").unwrap().digest, index(&memory).digest);

    let bundle = directory.path().join("bundle");
    let mut unpack = Command::new("umoci");
    run(unpack.args(["unpack", "--rootless", "--image", &format!("{at}:one")]).arg(&bundle));
    assert_eq!(fs::read(bundle.join("rootfs/hello")).unwrap(), b"one");
}

#[test]
fn other_tools_and_ours_write_into_one_layout() {
    if !has(&["skopeo", "umoci"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let memory = Memory::new();
    let (one, two) =
        (image(&memory, &Platform::linux_amd64(), "one"), image(&memory, &Platform::linux_amd64(), "two"));
    let layout = Layout::open_or_create(&ours).unwrap();
    put(&layout, &memory, &one, "one");
    let at = |path: &Path, name: &str| format!("oci:{}:{name}", path.display());
    skopeo(&["copy", &at(&ours, "one"), &at(&ours, "theirs")]);
    skopeo(&["copy", &at(&ours, "one"), &at(&theirs, "one")]);
    let image = format!("{}:one", ours.display());
    run(Command::new("umoci").args(["config", "--image", &image, "--tag", "umoci", "--config.user", "1"]));
    put(&layout, &memory, &two, "two");
    assert_eq!(layout.names().unwrap(), ["one", "theirs", "umoci", "two"]);
    assert_eq!(layout.resolve("theirs").unwrap().digest, one.digest);
    run(Command::new("umoci").args(["gc", "--layout"]).arg(&ours));
    for name in layout.names().unwrap() {
        copy(&[layout.resolve(&name).unwrap()], &layout, &Memory::new(), &CopyOptions::new()).unwrap();
    }

    let layout = Layout::open_or_create(&theirs).unwrap();
    assert_eq!(layout.resolve("one").unwrap().digest, one.digest);
    put(&layout, &memory, &two, "two");
    skopeo(&["inspect", &at(&theirs, "one")]);
    skopeo(&["inspect", &at(&theirs, "two")]);
}

#[test]
fn skopeo_takes_an_archive_both_ways() {
    if !has(&["skopeo"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("images.tar");
    let (one, two) = archive(&path);
    let at = path.display();
    let digest = |from: &str| skopeo(&["inspect", "--format", "{{.Digest}}", from]).trim().to_owned();
    assert_eq!(digest(&format!("oci-archive:{at}:1")), one.digest.to_string());
    digest(&format!("oci-archive:{at}:three"));
    let copied = directory.path().join("copied");
    let to = format!("oci:{}:x", copied.display());
    skopeo(&["copy", "--all", &format!("oci-archive:{at}:2"), &to]);
    assert_eq!(Layout::open(&copied).unwrap().sole().unwrap().digest, two.digest);
    for name in ["r.example.com/team/one:1", "one:latest", "r.example.com/team/two:2"] {
        skopeo(&["inspect", &format!("docker-archive:{at}:{name}")]);
        let to = format!("dir:{}", directory.path().join("dir").display());
        skopeo(&["copy", &format!("docker-archive:{at}:{name}"), &to]);
    }
}

#[test]
fn podman_loads_an_archive() {
    if !has(&["podman"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("images.tar");
    archive(&path);
    let podman = |arguments: &[&str]| {
        let root = directory.path().join("root");
        let runroot = directory.path().join("runroot");
        let mut command = Command::new("podman");
        command.arg("--root").arg(root).arg("--runroot").arg(runroot);
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none", "--storage-driver=vfs"]);
        run(command.args(arguments))
    };
    podman(&["load", "--quiet", "--input", path.to_str().unwrap()]);
    for name in ["r.example.com/team/one:1", "docker.io/library/one:latest", "r.example.com/team/two:2"] {
        let command = podman(&["image", "inspect", "--format", "{{.Architecture}} {{.Config.Cmd}}", name]);
        assert_eq!(command.trim(), "amd64 [/hello]");
    }
}

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Starts a daemon and waits until it answers; it may be that it can't run here.
fn start(command: &mut Command, answers: impl Fn() -> bool) -> Option<Daemon> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Daemon(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers() {
        if daemon.0.try_wait().unwrap().is_some() || Instant::now() > deadline {
            skip(&format!("{command:?} does not start here"));
            return None;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Some(daemon)
}

#[test]
fn docker_loads_an_archive() {
    if !has(&["dockerd", "docker"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let host = format!("unix://{}", at("socket").display());
    let docker = || {
        let mut command = Command::new("docker");
        command.args(["--host", &host]).env("DOCKER_CONFIG", at("config"));
        command
    };
    let mut daemon = Command::new("dockerd");
    daemon.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
    daemon.arg("--pidfile").arg(at("pid")).args(["--host", &host]);
    daemon.args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"]);
    let answers = || docker().arg("version").output().is_ok_and(|output| output.status.success());
    let Some(_daemon) = start(&mut daemon, answers) else { return };
    let path = at("images.tar");
    archive(&path);
    run(docker().args(["load", "--quiet", "--input"]).arg(&path));
    for name in ["r.example.com/team/one:1", "one:latest", "r.example.com/team/two:2"] {
        let format = "{{.Architecture}} {{.Config.Cmd}}";
        let command = run(docker().args(["image", "inspect", "--format", format, name]));
        assert_eq!(command.trim(), "amd64 [/hello]");
    }
}

#[test]
fn containerd_imports_an_archive() {
    if !has(&["containerd", "ctr"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        at("root"),
        at("state"),
        at("socket"),
    );
    fs::write(at("config.toml"), config).unwrap();
    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(at("socket")).args(arguments);
        command
    };
    let mut daemon = Command::new("containerd");
    daemon.arg("--config").arg(at("config.toml"));
    let answers = || ctr(&["version"]).output().is_ok_and(|output| output.status.success());
    let Some(_daemon) = start(&mut daemon, answers) else { return };
    let path = at("images.tar");
    let (one, two) = archive(&path);
    run(&mut ctr(&["images", "import", "--no-unpack", path.to_str().unwrap()]));
    let listed = run(&mut ctr(&["images", "list"]));
    let digest = |name: &str| {
        let line = listed.lines().find(|line| line.starts_with(&format!("{name} "))).expect(&listed);
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(digest("r.example.com/team/one:1"), one.digest.to_string());
    assert_eq!(digest("docker.io/library/one:latest"), one.digest.to_string());
    assert_eq!(digest("r.example.com/team/two:2"), two.digest.to_string());
}
