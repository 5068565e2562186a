//! An image's config reaches those who run it, and a base's config those who build on it.

use crate::ocibuild::{Ocibuild, text};
use ocibuild_testkit::{Podman, Skopeo, TempTree, Umoci, docker, require, run};
use serde_json::{Value, json};

/// Every field that the format knows.
const SPEC: &str = r#"version = 1
[layers.app]
copy = [{ content = "x", to = "/x" }]
[images.app]
layers = ["app"]
author = "somebody"
entrypoint = ["/x", "a b"]
cmd = ["c"]
env = { A = "1=2" }
user = "65532:65532"
workdir = "/srv"
expose = ["8080", "53/udp"]
volumes = ["/data"]
labels = { "org.example.label" = "l" }
stop-signal = "SIGINT"
stop-timeout = "30s"
shell = ["/bin/bash", "-c"]
on-build = ["RUN make", "COPY . /src"]
healthcheck = { test = ["CMD", "/x"], interval = "30s", timeout = "5s", start-period = "1m", start-interval = "2s", retries = 3 }
"#;

/// The config of that spec's image.
fn config() -> Value {
    json!({
        "Entrypoint": ["/x", "a b"], "Cmd": ["c"], "Env": ["A=1=2"], "User": "65532:65532",
        "WorkingDir": "/srv", "ExposedPorts": { "8080/tcp": {}, "53/udp": {} }, "Volumes": { "/data": {} },
        "Labels": { "org.example.label": "l" }, "StopSignal": "SIGINT", "StopTimeout": 30,
        "Shell": ["/bin/bash", "-c"], "OnBuild": ["RUN make", "COPY . /src"],
        "Healthcheck": {
            "Test": ["CMD", "/x"], "Interval": 30_000_000_000_u64, "Timeout": 5_000_000_000_u64,
            "StartPeriod": 60_000_000_000_u64, "StartInterval": 2_000_000_000_u64, "Retries": 3,
        },
    })
}

fn archive(tree: &TempTree, tag: &str) -> std::path::PathBuf {
    tree.write("ocibuild.toml", SPEC);
    let archive = tree.join("app.tar");
    let output = format!("type=oci-archive,dest={}", archive.display());
    Ocibuild::new().within(tree.path()).build_one(&["-t", tag, "--output", &output]);
    archive
}

#[test]
fn every_field_reaches_docker() {
    let docker = require!(docker());
    let tree = TempTree::new();
    let name = "localhost/promises/config-docker:1";
    docker.load(&archive(&tree, name));
    let found = docker.inspect(name);
    let mut expected = config();
    // Docker before 25 doesn't know it, and leaves it out.
    if found["Config"]["Healthcheck"].get("StartInterval").is_none() {
        expected["Healthcheck"].as_object_mut().unwrap().remove("StartInterval");
    }
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&found["Config"][field], value, "{field}");
    }
    assert_eq!(found["Author"], "somebody");
    docker.remove(name);
}

#[test]
fn every_field_reaches_podman() {
    let podman = require!(Podman::new());
    let tree = TempTree::new();
    let name = "localhost/promises/config-podman:1";
    podman.load(&archive(&tree, name));
    let found = podman.inspect(name);
    // What podman takes of an OCI config; the rest it keeps as it came, as the next test finds.
    let expected = config();
    for field in
        ["Entrypoint", "Cmd", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels", "StopSignal"]
    {
        assert_eq!(found["Config"][field], expected[field], "{field}");
    }
    assert_eq!(found["Author"], "somebody");
}

#[test]
fn podman_keeps_every_field_also_what_it_does_not_know() {
    let podman = require!(Podman::new());
    let skopeo = require!(Skopeo::new());
    let tree = TempTree::new();
    let name = "localhost/promises/config-saved:1";
    podman.load(&archive(&tree, name));
    let saved = tree.join("saved");
    run(podman.command().args(["save", "--quiet", "--format", "oci-dir", "--output", text(&saved), name]));
    let found = skopeo.raw_config(&format!("oci:{}", saved.display()));
    assert_eq!(found["config"], config());
}

#[test]
fn what_umoci_says_of_a_base_is_inherited_by_the_rules() {
    let umoci = require!(Umoci::new());
    let tree = TempTree::new();
    tree.write("ocibuild.toml", SPEC);
    let ocibuild = Ocibuild::new().within(tree.path());
    let layout = tree.join("base");
    let output = format!("type=oci,dest={}", layout.display());
    ocibuild.build_one(&["-t", "base:1", "--output", &output]);
    let image = format!("{}:1", layout.display());
    let mut config = umoci.command();
    config.args(["config", "--image", &image, "--author", "the base", "--config.user", "7:7"]);
    config.args(["--config.env", "B=3", "--config.label", "base=yes", "--config.volume", "/more"]);
    config.args(["--config.exposedports", "9/tcp", "--config.workingdir", "/base"]);
    config.args(["--config.entrypoint", "/base", "--config.cmd", "serve", "--config.stopsignal", "SIGQUIT"]);
    run(&mut config);
    let own = r#"
[layers.own]
copy = [{ content = "y", to = "/y" }]
[images.own]
base = { layout = "base" }
layers = ["own"]
platforms = ["linux/amd64"]
"#;
    let build = |rest: &str| {
        tree.write("own.toml", format!("version = 1\n{own}{rest}"));
        ocibuild.build_one(&["-f", "own.toml"]);
        ocibuild.check(&tree.join("own.oci"), "own");
        ocibuild.inspect(text(&tree.join("own.oci")))["images"][0]["config"].clone()
    };
    let config =
        build("env = { A = \"own\", C = \"4\" }\nlabels = { base = \"no\" }\nexpose = [10]\nuser = \"8\"\n");
    assert_eq!(config["author"], "the base");
    let config = &config["config"];
    assert_eq!(config["Env"], json!(["A=own", "B=3", "C=4"]));
    assert_eq!(config["Labels"], json!({ "base": "no", "org.example.label": "l" }));
    assert_eq!(config["ExposedPorts"], json!({ "10/tcp": {}, "53/udp": {}, "8080/tcp": {}, "9/tcp": {} }));
    assert_eq!(config["Volumes"], json!({ "/data": {}, "/more": {} }));
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("8"), &json!("/base")));
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["/base"]), &json!(["serve"])));
    assert_eq!(config["StopSignal"], "SIGQUIT");

    let config = build("entrypoint = [\"/own\"]\ninherit = [\"env\", \"cmd\", \"workdir\"]\n");
    assert_eq!(
        config["config"],
        json!({ "Entrypoint": ["/own"], "Env": ["A=1=2", "B=3"], "WorkingDir": "/base" })
    );
}
