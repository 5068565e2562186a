//! A build that begins again, as a blob of the cache turned out to be bad.

use std::fs;
use std::path::Path;

use ocibuild_testkit::run_any;

use crate::bench::Bench;

const SPEC: &str = r#"version = 1

[steps.deploy]
run = "echo x >> $COUNT; echo x > done"
outputs = ["done"]
always = true
pass-env = [{ name = "COUNT", unkeyed = true }]

[layers.deployed]
copy = [{ step = "deploy", from = "done", to = "/" }]

[layers.installed]
manifests = ["lock"]
copy = [{ from = "lock", to = "/" }]

[images.app]
layers = ["installed", "deployed"]
"#;

/// Turns a bit of each blob of the cache.
fn damage(directory: &Path) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_step_that_runs_always_runs_once_in_a_build_that_begins_again() {
    let bench = Bench::with_spec(SPEC);
    bench.write("lock", "one\n");
    let count = bench.tree.join("count");
    let build = |flags: &[&str]| {
        let arguments = [&["build", "--output", "type=oci,dest=out"], flags].concat();
        run_any(bench.command(&arguments).env("COUNT", &count)).expect_code(0)
    };
    build(&[]);
    for (runs, flags) in [(2, &[][..]), (3, &["--cache-read-only"])] {
        damage(&bench.tree.join("cache/blobs"));
        fs::remove_dir_all(bench.path("out")).unwrap();
        let output = build(flags);
        assert!(output.errors().contains("to be made anew"), "{output}");
        assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), runs, "{flags:?}\n{output}");
        bench.valid("out");
    }
}
