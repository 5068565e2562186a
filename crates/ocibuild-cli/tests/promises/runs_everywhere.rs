//! An image runs wherever users run images: through a registry and from an archive, in docker,
//! podman, containerd and runc, as its user, with what its base brings.

use crate::ocibuild::{Ocibuild, amd64, digest, repository, text};
use ocibuild_testkit::{
    AuthRegistry, Containerd, Podman, Skopeo, TempTree, Umoci, auth_registry, docker, registry, require, run,
    run_any, tool,
};
use std::fs;
use std::path::PathBuf;

/// What the quickstart's program says as its user.
const GREETING: &str = "hello from ocibuild, uid 65532";
/// Has that program look for the CA bundle and the time zones, too.
const CHECK: &str = "--check";

fn spec() -> PathBuf {
    repository().join("examples/quickstart/ocibuild.toml")
}

/// Builds the quickstart with other arguments.
#[track_caller]
fn build(ocibuild: &Ocibuild, arguments: &[&str]) -> String {
    ocibuild.build_one(&[&["-f", text(&spec())], arguments].concat())
}

/// Builds the quickstart as an archive.
#[track_caller]
fn archive(ocibuild: &Ocibuild, tree: &TempTree, tag: &str) -> PathBuf {
    let archive = tree.join("quickstart.tar");
    let output = format!("type=oci-archive,dest={}", archive.display());
    build(ocibuild, &["-t", tag, "--output", &output]);
    archive
}

#[test]
fn quickstart_becomes_a_layout_beside_its_spec() {
    let ocibuild = Ocibuild::new();
    let tree =
        TempTree::new().file("examples/quickstart/ocibuild.toml", fs::read(spec()).unwrap()).file_with_mode(
            "testdata/hello/hello-x86_64",
            fs::read(repository().join("testdata/hello/hello-x86_64")).unwrap(),
            0o755,
        );
    let file = tree.join("examples/quickstart/ocibuild.toml");
    let line = ocibuild.build_one(&["-f", text(&file)]);
    let layout = tree.join("examples/quickstart/quickstart.oci");
    assert_eq!(crate::ocibuild::names(&layout), [("quickstart".to_owned(), line.clone())]);
    ocibuild.check(&layout, "quickstart");
    assert_eq!(ocibuild.build_one(&["-f", text(&file)]), line, "what it wrote is not its input");
}

#[test]
fn pushed_image_is_copied_unpacked_and_run() {
    require!(amd64());
    let registry = require!(registry());
    let skopeo = require!(Skopeo::new());
    let umoci = require!(Umoci::new());
    require!(tool("runc"));
    let ocibuild = Ocibuild::new();
    let tag = format!("{registry}/promises/quickstart:copied");
    let line = build(&ocibuild, &["-t", &tag, "--push"]);
    let repository = format!("{registry}/promises/quickstart");
    assert_eq!(line, format!("{repository}@{}", digest(&line)));
    run(ocibuild.command().args(["validate", &tag]));

    let tree = TempTree::new();
    let layout = tree.join("layout");
    skopeo.copy(&format!("docker://{line}"), &format!("oci:{}:copy", layout.display()));
    assert_eq!(crate::ocibuild::names(&layout)[0].1, digest(&line), "no byte is changed on the way");
    let tagged = skopeo.raw_manifest(&format!("docker://{tag}"));
    assert_eq!(tagged, skopeo.raw_manifest(&format!("docker://{line}")), "the tag names the digest");
    ocibuild.check(&layout, "copy");

    let bundle = umoci.unpack(&layout, "copy");
    for file in ["etc/ssl/certs/ca-certificates.crt", "usr/share/zoneinfo/Asia/Tokyo"] {
        assert!(bundle.rootfs().join(file).metadata().unwrap().len() > 100, "{file}");
    }
    assert_eq!(bundle.run().text(), GREETING);
    assert_eq!(bundle.run_arguments(&["/app/hello", CHECK]).text(), GREETING);
}

#[test]
fn docker_runs_what_a_push_printed() {
    require!(amd64());
    let registry = require!(registry());
    let docker = require!(docker());
    let ocibuild = Ocibuild::new();
    let tag = format!("{registry}/promises/quickstart:printed");
    // `docker run $(ocibuild build --push) --check`
    let line = build(&ocibuild, &["-t", &tag, "--push"]);
    assert_eq!(docker.run(&line, &[CHECK]).text(), GREETING);
    docker.remove(&line);
}

#[test]
fn docker_loads_the_archive_and_runs_it() {
    require!(amd64());
    let docker = require!(docker());
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new();
    let name = "localhost/promises/docker:1";
    let archive = archive(&ocibuild, &tree, name);
    assert_eq!(docker.load(&archive), name);
    assert_eq!(docker.run(name, &[]).text(), GREETING);
    assert_eq!(docker.run(name, &[CHECK]).text(), GREETING);
    assert_eq!(docker.inspect(name)["Config"]["User"], "65532");
    docker.remove(name);
}

#[test]
fn podman_loads_the_archive_and_runs_it() {
    require!(amd64());
    let podman = require!(Podman::new());
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new();
    let name = "localhost/promises/podman:1";
    let archive = archive(&ocibuild, &tree, name);
    assert_eq!(podman.load(&archive), name);
    assert_eq!(podman.run(name, &[]).text(), GREETING);
    assert_eq!(podman.run(name, &[CHECK]).text(), GREETING);
}

#[test]
fn containerd_imports_the_archive_and_runs_it() {
    require!(amd64());
    let containerd = require!(Containerd::new());
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new();
    let name = "localhost/promises/containerd:1";
    let archive = archive(&ocibuild, &tree, name);
    assert_eq!(containerd.import(&archive), [name]);
    assert_eq!(containerd.run(name, &["/app/hello", CHECK]).text(), GREETING);
}

/// An image whose layers are by zstd, gzip and none, in this order: of the last, the program.
const MIXED: &str = r#"
version = 1

[layers.zstd]
compression = "zstd:9"
copy = [{ directory = "/srv" }, { content = "by zstd\n", to = "/srv/zstd" }]

[layers.gzip]
compression = "gzip:6"
copy = [{ content = "by gzip\n", to = "/srv/gzip" }]

[layers.plain]
compression = "none"
copy = [{ from = "hello", to = "/app/hello" }]

[images.mixed]
base = { builtin = "static@1" }
layers = ["zstd", "gzip", "plain"]
entrypoint = ["/app/hello"]
user = "65532"
"#;

/// Writes the two images into a directory: what to build for each, and how many of its layers are
/// by zstd.
fn images_by_zstd(tree: &TempTree) -> [(&'static str, Vec<String>, usize); 2] {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mixed = text(&tree.join("ocibuild.toml")).to_owned();
    [("all", words(&["-f", text(&spec()), "--compression", "zstd"]), 2), ("mixed", words(&["-f", &mixed]), 1)]
}

fn mixed_tree() -> TempTree {
    let program = fs::read(repository().join("testdata/hello/hello-x86_64")).unwrap();
    TempTree::new().file("ocibuild.toml", MIXED).file_with_mode("hello", program, 0o755)
}

/// Demands as many layers by zstd as there should be, and no word of Docker's schema.
#[track_caller]
fn check_types(manifest: &[u8], zstd: usize) {
    let manifest = std::str::from_utf8(manifest).unwrap();
    assert_eq!(manifest.matches("application/vnd.oci.image.layer.v1.tar+zstd").count(), zstd, "{manifest}");
    assert!(!manifest.contains("vnd.docker"), "{manifest}");
}

#[test]
fn layers_by_zstd_go_through_a_registry_and_run() {
    require!(amd64());
    let registry = require!(registry());
    let skopeo = require!(Skopeo::new());
    let podman = require!(Podman::new());
    let containerd = require!(Containerd::new());
    let (ocibuild, tree) = (Ocibuild::new(), mixed_tree());
    for (name, arguments, zstd) in images_by_zstd(&tree) {
        let tag = format!("{registry}/promises/zstd:{name}");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let line = ocibuild.build_one(&[&arguments[..], &["-t", &tag, "--push"]].concat());
        run(ocibuild.command().args(["validate", &tag]));
        check_types(&skopeo.raw_manifest(&format!("docker://{tag}")), zstd);

        let layout = tree.join(format!("copy-{name}"));
        // Otherwise it would compress what isn't.
        let options: &[&str] = if name == "mixed" { &["--preserve-digests"] } else { &[] };
        skopeo.copy_with(options, &format!("docker://{line}"), &format!("oci:{}:copy", layout.display()));
        assert_eq!(crate::ocibuild::names(&layout)[0].1, digest(&line), "no byte is changed on the way");
        ocibuild.check(&layout, "copy");

        podman.pull(&tag);
        assert_eq!(podman.run(&tag, &[CHECK]).text(), GREETING, "{name}");
        run(containerd.command().args(["images", "pull", "--plain-http", &tag]));
        assert_eq!(containerd.run(&tag, &["/app/hello", CHECK]).text(), GREETING, "{name}");
    }
}

#[test]
fn archive_with_zstd_is_loaded_by_podman_and_containerd() {
    require!(amd64());
    let podman = require!(Podman::new());
    let containerd = require!(Containerd::new());
    let (ocibuild, tree) = (Ocibuild::new(), mixed_tree());
    for (name, arguments, _) in images_by_zstd(&tree) {
        let (tag, archive) = (format!("localhost/promises/zstd:{name}"), tree.join(format!("{name}.tar")));
        let output = format!("type=oci-archive,dest={}", archive.display());
        let mut command = ocibuild.command();
        command.arg("build").args(&arguments).args(["-t", &tag, "--output", &output]);
        let said = run(&mut command).errors();
        assert!(said.contains("docker before 23.0 can't load"), "{said}");
        ocibuild.check_archive(&archive, name);
        assert_eq!(podman.load(&archive), tag);
        assert_eq!(podman.run(&tag, &[CHECK]).text(), GREETING);
        assert!(containerd.import(&archive).contains(&tag));
        assert_eq!(containerd.run(&tag, &["/app/hello", CHECK]).text(), GREETING);
    }
    let output = format!("type=oci-archive,dest={}", tree.join("gzip.tar").display());
    let said = run(ocibuild.command().args(["build", "-f", text(&spec()), "--output", &output])).errors();
    assert!(!said.contains("docker before"), "{said}");
}

/// What the documentation says of older readers; once one of these fails, it can say more.
#[test]
fn older_docker_and_umoci_refuse_zstd_and_say_so() {
    require!(amd64());
    let docker = require!(docker());
    let umoci = require!(Umoci::new());
    let (ocibuild, tree) = (Ocibuild::new(), TempTree::new());
    let (archive, layout) = (tree.join("zstd.tar"), tree.join("layout"));
    let outputs = [
        format!("type=oci-archive,dest={}", archive.display()),
        format!("type=oci,dest={}", layout.display()),
    ];
    let name = "localhost/promises/docker:zstd";
    build(
        &ocibuild,
        &["-t", name, "--compression", "zstd", "--output", &outputs[0], "--output", &outputs[1]],
    );
    let version = run(docker.command().args(["version", "--format", "{{.Server.Version}}"])).text();
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    if major < 23 {
        let output = run_any(docker.command().args(["load", "--input"]).arg(&archive)).expect_code(1);
        // It reads the layer as if it were a tar, and says how that ends.
        let ends = ["invalid tar header", "unexpected EOF"];
        assert!(ends.iter().any(|end| output.errors().contains(end)), "{output}");
    } else {
        assert_eq!(docker.load(&archive), name);
        docker.remove(name);
    }
    let version = run(umoci.command().arg("--version")).text();
    if version.contains("0.4.") {
        let image = format!("{}:zstd", layout.display());
        let bundle = tree.join("bundle");
        let output = run_any(umoci.command().args(["unpack", "--image", &image]).arg(bundle)).expect_code(1);
        assert!(output.errors().contains("not correct mediatype"), "{output}");
    } else {
        assert_eq!(umoci.unpack(&layout, "zstd").run().text(), GREETING);
    }
}

#[test]
fn archive_is_read_by_skopeo_and_valid() {
    let skopeo = require!(Skopeo::new());
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new();
    let archive = archive(&ocibuild, &tree, "localhost/promises/skopeo:1");
    ocibuild.check_archive(&archive, "1");
    for transport in ["oci-archive", "docker-archive"] {
        let image = format!("{transport}:{}", archive.display());
        let config = skopeo.config(&image);
        assert_eq!(config["config"]["User"], "65532", "{transport}");
        run(skopeo.command().args(["inspect", &image]));
    }
}

#[test]
fn archive_on_standard_output_is_the_archive_in_a_file() {
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new();
    let archive = archive(&ocibuild, &tree, "localhost/promises/stream:1");
    let mut command = ocibuild.command();
    command.args(["build", "-f", text(&spec()), "-t", "localhost/promises/stream:1"]);
    let output = run(command.args(["--output", "type=oci-archive,dest=-"]));
    assert!(output.stdout == fs::read(archive).unwrap(), "{}", output.errors());
    assert!(output.errors().contains("localhost/promises/stream@sha256:"), "{}", output.errors());
}

/// Writes docker's config file, as `docker login` would, and gives its directory.
#[track_caller]
fn docker_config(address: &str, credentials: &str) -> TempTree {
    let config = format!(r#"{{"auths": {{"{address}": {{"auth": "{credentials}"}}}}}}"#);
    TempTree::new().file_with_mode("config.json", config, 0o600)
}

/// `somebody:else`, as docker's config file has it.
const SOMEBODY: &str = "c29tZWJvZHk6ZWxzZQ==";

#[test]
fn credentials_come_from_dockers_config_file() {
    let registry = require!(auth_registry());
    let skopeo = require!(Skopeo::new());
    let ocibuild = Ocibuild::new();
    let config = TempTree::new();
    let mut login = skopeo.command();
    login.args(["login", "--tls-verify=false", "--authfile", text(&config.join("config.json"))]);
    run(login.args(["--username", &registry.user, "--password", &registry.password, &registry.address]));

    let tag = format!("{}/promises/quickstart:login", registry.address);
    let mut push = ocibuild.command();
    push.env("DOCKER_CONFIG", config.path()).args(["build", "-f", text(&spec()), "-t", &tag, "--push"]);
    let lines = crate::ocibuild::lines(&run(&mut push));
    let credentials = format!("--creds={}:{}", registry.user, registry.password);
    let mut inspect = skopeo.command();
    inspect.args(["inspect", "--tls-verify=false", &credentials, &format!("docker://{tag}")]);
    assert_eq!(run(&mut inspect).json()["Digest"], digest(&lines[0]));
    run(ocibuild.command().env("DOCKER_CONFIG", config.path()).args(["validate", &tag]));
}

#[test]
fn wrong_credentials_are_told_apart_from_a_broken_registry() {
    let registry = require!(auth_registry());
    let wrong = docker_config(&registry.address, SOMEBODY);
    let none = TempTree::new();
    for config in [&wrong, &none] {
        refused(&registry, config);
    }
}

/// Demands that a push with these credentials ends with the exit code for them, and says where.
#[track_caller]
fn refused(registry: &AuthRegistry, config: &TempTree) {
    let ocibuild = Ocibuild::new();
    let tag = format!("{}/promises/quickstart:refused", registry.address);
    let mut push = ocibuild.command();
    push.env("DOCKER_CONFIG", config.path()).args(["build", "-f", text(&spec()), "-t", &tag, "--push"]);
    let output = run_any(&mut push).expect_code(5);
    assert!(output.stdout.is_empty(), "{output}");
    assert!(output.errors().contains(&registry.address), "{output}");
    assert!(!output.errors().contains("else"), "a password isn't shown: {output}");
}
