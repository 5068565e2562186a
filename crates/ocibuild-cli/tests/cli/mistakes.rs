//! What a stranger gets wrong at first: each is told with its place, and what to write instead.

use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;

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
        ("base-of-registry", image, in_image("base = \"node:22\"")),
        ("base-unknown", image, in_image("base = { builtin = \"static@2\" }")),
        ("healthcheck-string", image, in_image("healthcheck = \"curl localhost\"")),
    ];
    for (name, part, other) in cases {
        told(&with(part, &other), &["build"], 2, name);
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
        ("flag-base", &["--copy", "hello:/x", "--base", "node:22"]),
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
fn what_other_builders_take_there() {
    let bench = Bench::with_spec(SPEC);
    for (words, tip) in [
        (&["build", "--load"][..], "docker load"),
        (&["build", "-o", "x"], "type=oci-archive"),
        (&["ls", "--json", "app.oci"], "--format json"),
        (&["push", "app"], "ocibuild build --push"),
        (&["build", "--platfrom", "x"], "'--platform'"),
    ] {
        let said = bench.run(words).expect_code(2).errors();
        assert!(said.contains(tip) && !said.contains("-- -"), "{words:?} says:\n{said}");
        assert_eq!(said.matches("tip: ").count(), 1, "{words:?} says:\n{said}");
    }
    told(&bench, &["build", "."], 2, "context");
    told(&bench, &["inspect", "docker://alpine:3"], 2, "transport-registry");
    told(&bench, &["ls", "oci-archive:app.tar"], 2, "transport-archive");
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
