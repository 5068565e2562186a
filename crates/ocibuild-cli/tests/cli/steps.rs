//! Steps as users meet them: what is shown of them, how they fail, and what is known of them ahead.

mod again;
mod fail;
mod graph;
mod output;
mod run;
mod watch;

use ocibuild_testkit::Output;

use crate::bench::Bench;

/// Dependencies, a program made with them, its tests, and what fails by itself.
pub(crate) const SPEC: &str = r#"version = 1
name = "service"

[steps.install]
run = "echo installing; mkdir -p modules; cp lock modules/list; echo x >> ${COUNT:-/dev/null}"
inputs = ["lock"]
outputs = ["modules"]
pass-env = [{ name = "COUNT", unkeyed = true }]

[steps.compile]
run = "echo compiling; cat src/* modules/list > program"
inputs = ["src/**"]
outputs = ["program"]
needs = ["install"]

[steps.test]
run = "grep -q hello program || { echo no greeting >&2; exit 3; }"
needs = ["compile"]
inputs = []

[layers.app]
copy = [{ step = "compile", from = "program", to = "/app/program" }]

[images.service]
layers = ["app"]
entrypoint = ["/app/program"]
"#;

/// A project with that spec.
pub(crate) fn project() -> Bench {
    let bench = Bench::with_spec(SPEC);
    bench.write("lock", "one\n");
    bench.write("src/main", "hello\n");
    bench
}

/// What was said, without times.
pub(crate) fn said(output: &Output) -> String {
    let mut text = String::new();
    for word in output.errors().split_inclusive([' ', '\n', ';']) {
        let bare = word.trim_end_matches([' ', '\n', ';']);
        let is_number =
            !bare.is_empty() && bare.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
        match is_number && text.ends_with([' ']) {
            true => text.push_str(&word.replacen(bare, "N", 1)),
            false => text.push_str(word),
        }
    }
    text.replace("N ms", "TIME").replace("N s", "TIME")
}
