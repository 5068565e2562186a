//! What a stranger gets wrong at first: each is told with its place, and what to write instead.

use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;

use ocibuild_testkit::run_any;
use snapbox::{Data, assert_data_eq};

use crate::bench::{Bench, SPEC};

/// Demands that it fails with this code, and says what the snapshot of this name holds.
#[track_caller]
fn told(bench: &Bench, arguments: &[&str], code: i32, name: &str) {
    let output = bench.run(arguments).expect_code(code);
    assert_eq!(output.text(), "", "nothing but results on standard output");
    let said = bench.said(&output);
    assert!(said.contains("hint: "), "it doesn't say what to do:\n{said}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/snapshots/mistakes/{name}.txt"));
    assert_data_eq!(said, Data::read_from(&path, None).raw());
}

/// The usual spec with something else in the place of one part of it.
#[track_caller]
fn with(part: &str, other: &str) -> Bench {
    assert!(SPEC.contains(part), "{part}");
    Bench::with_spec(&SPEC.replace(part, other))
}

#[test]
fn mistakes_in_a_spec() {
    let image = "layers = [\"app\"]\n";
    let in_image = |line: &str| format!("{image}{line}\n");
    let cases = [
        ("tag-with-capitals", image, in_image("tags = [\"registry.example.com/App:1\"]")),
        ("unknown-key", "entrypoint", "entypoint".to_owned()),
        ("port-without-number", image, in_image("expose = [\"tcp\"]")),
        ("windows-from", "\"hello\"", r"'C:\app\dist'".to_owned()),
        ("backslash-from", "\"hello\"", r"'dist\app'".to_owned()),
        ("escaped-from", "\"hello\"", r#""C:\app\dist""#.to_owned()),
        ("windows-to", "\"/app/hello\" }", r"'C:\app' }".to_owned()),
        ("relative-to", "\"/app/hello\" }", "\"app/hello\" }".to_owned()),
        ("from-above", "\"hello\"", "\"../dist\"".to_owned()),
        ("entrypoint-string", "[\"/app/hello\"]", "\"/app/hello\"".to_owned()),
        ("mode-number", "\"/app/hello\" }", "\"/app/hello\", mode = 755 }".to_owned()),
        ("base-with-capitals", image, in_image("base = \"registry.example.com/Node:22\"")),
        ("base-with-scheme", image, in_image("base = \"https://registry.example.com/node:22\"")),
        ("base-unknown", image, in_image("base = { builtin = \"static@2\" }")),
        ("healthcheck-string", image, in_image("healthcheck = \"curl localhost\"")),
    ];
    for (name, part, other) in cases {
        told(&with(part, &other), &["build"], 2, name);
    }
}

#[test]
fn mistakes_in_the_graph_of_steps() {
    let spec = |steps: &str| {
        format!(
            "version = 1\n{steps}\n[layers.app]\ncopy = [{{ step = \"compile\", from = \"dist\", to = \"/app\" }}]\n\n\
             [images.app]\nlayers = [\"app\"]\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n"
        )
    };
    let install = "[steps.install]\nrun = [\"npm\", \"ci\"]\ninputs = [\"package.json\"]\noutputs = [\"node_modules\"]\n";
    let compile = "[steps.compile]\nrun = \"npx tsc\"\nneeds = [\"install\"]\noutputs = [\"dist\"]\n";
    let cases = [
        ("steps-cycle", format!("{install}needs = [\"compile\"]\n\n{compile}")),
        ("steps-unknown", format!("{install}\n{compile}").replace("[\"install\"]", "[\"instal\"]")),
        ("steps-output", format!("{install}\n{compile}").replace("[\"dist\"]", "[\"build\"]")),
        ("steps-platform", format!("{install}platforms = [\"linux/amd64\"]\n\n{compile}")),
    ];
    for (name, steps) in cases {
        told(&Bench::with_spec(&spec(&steps)), &["build"], 2, name);
    }
}

#[test]
fn a_source_that_is_not_there() {
    let bench = with("\"hello\"", "\"target/relase/app\"");
    bench.write("target/release/app", "");
    told(&bench, &["build"], 3, "missing-close");
    told(&bench, &["build", "--copy", "target/relase/app:/app"], 3, "missing-close-flags");
    let bench = with("\"hello\"", "\"dist/server\"");
    bench.write("dist/client.js", "");
    bench.write("dist/index.html", "");
    told(&bench, &["build"], 3, "missing-listed");
}

#[test]
fn mistakes_in_flags() {
    let bench = Bench::new();
    let cases: [(&str, &[&str]); 14] = [
        ("flag-windows-from", &["--copy", r"C:\app\dist:/app"]),
        ("flag-drive-from", &["--copy", "C:/app/dist:/app"]),
        ("flag-backslash-from", &["--copy", r"dist\app:/app"]),
        ("flag-windows-to", &["--copy", r"hello:C:\app"]),
        ("flag-relative-to", &["--copy", "hello:app"]),
        ("flag-no-to", &["--copy", "hello"]),
        ("flag-capitals", &["--copy", "hello:/x", "-t", "registry.example.com/App:1"]),
        ("flag-port", &["--copy", "hello:/x", "--expose", "tcp"]),
        ("flag-base", &["--copy", "hello:/x", "--base", "Node:22"]),
        ("flag-from-above", &["--copy", "../dist:/x"]),
        ("flag-user", &["--copy", "hello:/x", "--user", "a b"]),
        ("flag-workdir", &["--copy", "hello:/x", "--workdir", "app"]),
        ("flag-label", &["--copy", "hello:/x", "--label", "x"]),
        ("flag-threads", &["--copy", "hello:/x", "--threads", "many"]),
    ];
    for (name, flags) in cases {
        told(&bench, &[&["build"], flags].concat(), 2, name);
    }
}

#[test]
fn a_base_that_nobody_may_ask_for() {
    let flags = ["build", "--copy", "hello:/x", "--base", "registry.example.com/node:22"];
    told(&Bench::new(), &[&flags[..], &["--locked"]].concat(), 2, "base-not-locked");
    told(&Bench::new(), &[&flags[..], &["--offline"]].concat(), 4, "base-offline");
    let pinned = flags.map(|word| match word {
        "registry.example.com/node:22" => {
            "registry.example.com/node@sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        }
        word => word,
    });
    told(&Bench::new(), &[&pinned[..], &["--offline"]].concat(), 4, "base-not-in-the-cache");
    let bench = with("layers = [\"app\"]\n", "layers = [\"app\"]\nbase = \"registry.example.com/node:22\"\n");
    bench.write("ocibuild.lock", "version = 1\n\n[[base]]\nreference = \"registry.example.com/node\"\n");
    told(&bench, &["build"], 2, "faulty-lock");
    bench.write("ocibuild.lock", "version = 1\n");
    told(&bench, &["build", "--locked"], 2, "base-not-locked-in-spec");
    told(&bench, &["check", "--locked"], 2, "base-not-locked-in-check");
    told(&bench, &["lock", "--update", "nope"], 2, "lock-unknown");
}

#[test]
fn a_lock_is_never_taken_for_input() {
    let bench = Bench::with_spec(&SPEC.replace("from = \"hello\"", "from = \".\""));
    bench.write("hello", "");
    bench.write("ocibuild.lock", "version = 1\n");
    bench.digest(&[]);
    let listed = run_any(&mut bench.command(&["ls", "app.oci"])).expect_code(0).text();
    assert!(listed.contains("ocibuild.toml") && !listed.contains("ocibuild.lock"), "{listed}");
    // Nothing to lock leaves no file, and what is there is kept as it should be.
    run_any(&mut bench.command(&["lock"])).expect_code(0);
    run_any(&mut bench.command(&["lock", "--check"])).expect_code(0);
}

#[test]
fn what_other_builders_take_there() {
    let bench = Bench::with_spec(SPEC);
    for (words, tip) in [
        (&["build", "--load"][..], "docker load"),
        (&["build", "-o", "x"], "type=oci-archive"),
        (&["ls", "--json", "app.oci"], "--format json"),
        (&["publish", "app"], "ocibuild build --push"),
        (&["build", "--platfrom", "x"], "'--platform'"),
    ] {
        let said = bench.run(words).expect_code(2).errors();
        assert!(said.contains(tip) && !said.contains("-- -"), "{words:?} says:\n{said}");
        assert_eq!(said.matches("tip: ").count(), 1, "{words:?} says:\n{said}");
    }
    told(&bench, &["build", "."], 2, "context");
    bench.write("dist/x", "");
    told(&bench, &["inspect", "dist"], 3, "no-layout");
}

#[test]
fn a_registry_of_this_machine_without_its_port() {
    // Whoever runs a web server here can't see it.
    if TcpStream::connect(("localhost", 80)).is_ok() {
        return;
    }
    let bench = Bench::with_spec(SPEC);
    told(&bench, &["build", "-q", "--push", "-t", "localhost/app:1"], 4, "localhost-without-port");
}

#[test]
fn what_is_wrong_with_a_copys_files_shows_its_line() {
    let bench = with("[images.app]", "[images.app]\nplatforms = [\"linux/arm64\"]");
    told(&bench, &["build"], 3, "foreign");

    let bench = with("\"hello\"", "\"out/hello\"");
    symlink("/usr", bench.path("out")).unwrap();
    told(&bench, &["build"], 3, "link-out-of-root");

    let bench = with("\"hello\"", "\"a/x\"");
    symlink("b", bench.path("a")).unwrap();
    symlink("a", bench.path("b")).unwrap();
    told(&bench, &["build"], 3, "links-in-a-circle");
}
