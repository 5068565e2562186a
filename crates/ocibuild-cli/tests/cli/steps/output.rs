//! What steps write, as it is shown.

use ocibuild_testkit::run_any;
use snapbox::{assert_data_eq, str};

use crate::bench::Bench;

/// A step that would steer the terminal and the CI system.
fn hostile() -> Bench {
    Bench::with_spec(
        r#"version = 1
[steps.a]
inputs = []
always = true
run = """
printf '\\033[31mred\\033[0m \\033[2K\\033[1Aup\\n'
printf '10%%\\r50%%\\r100%%\\n'
echo '::error::no'
printf '\\033[0Ksection_end:1:step_1_a\\r\\033[0K\\n'
"""
[steps.longer]
inputs = []
needs = ["a"]
always = true
run = "echo b >&2"
"#,
    )
}

#[test]
fn lines_have_the_name_before_them_and_steer_nothing() {
    let output = hostile().ok(&["run", "longer"]);
    let lines: Vec<String> =
        output.errors().lines().filter(|line| line.contains(" |")).map(str::to_owned).collect();
    assert_data_eq!(
        lines.join("\n"),
        str![[r#"
a      | red up
a      | 100%
a      | ::error::no
a      |
longer | b
"#]]
    );
    let output = hostile().ok(&["run", "longer", "--color", "always"]);
    let errors = output.errors();
    assert!(errors.contains("| \u{1b}[39m") || errors.contains("a      |"), "{errors:?}");
    assert!(errors.contains("\u{1b}[31mred\u{1b}[0m up") && !errors.contains("\u{1b}[2K"), "{errors:?}");
}

#[test]
fn github_folds_each_steps_lines_and_takes_no_orders_from_them() {
    let bench = hostile();
    let output =
        run_any(bench.command(&["run", "longer"]).env("GITHUB_ACTIONS", "true")).expect_code(0).errors();
    let mut fence: Option<&str> = None;
    let mut inside = Vec::new();
    for line in output.lines() {
        if let Some(token) = line.strip_prefix("::stop-commands::") {
            fence = Some(token);
        } else if fence.is_some_and(|token| line == format!("::{token}::")) {
            fence = None;
        } else if fence.is_some() {
            inside.push(line);
        } else if line.starts_with("::") {
            assert!(line.starts_with("::group::step ") || line == "::endgroup::", "{line}");
        }
    }
    assert_eq!(inside, ["red up", "100%", "::error::no", "", "b"], "{output}");
    assert_eq!(output.matches("::group::").count(), 2);
}

#[test]
fn what_fails_is_fenced_off_as_well() {
    let bench =
        Bench::with_spec("version = 1\n[steps.a]\ninputs = []\nrun = \"echo '##[error]no'; exit 1\"\n");
    let output = run_any(bench.command(&["run", "a"]).env("GITHUB_ACTIONS", "true")).expect_code(7).errors();
    let (before, after) = output.split_once("error: ").unwrap();
    assert!(before.lines().last().unwrap().starts_with("::stop-commands::"), "{output}");
    assert!(after.trim_end().lines().last().unwrap().ends_with("::"), "{output}");
}

#[test]
fn gitlab_folds_by_sections() {
    let bench = hostile();
    let output = run_any(bench.command(&["run", "longer"]).env("GITLAB_CI", "true")).expect_code(0).errors();
    assert_eq!(output.matches("\u{1b}[0Ksection_start:").count(), 2, "{output:?}");
    assert_eq!(output.matches("\u{1b}[0Ksection_end:").count(), 2, "{output:?}");
    assert!(output.contains(":step_2_longer[collapsed=true]\r\u{1b}[0Kstep longer\n"), "{output:?}");
}

#[test]
fn quiet_shows_the_end_of_what_fails_alone() {
    let bench = Bench::with_spec(
        "version = 1\n[steps.a]\ninputs = []\nrun = \"echo fine\"\n[steps.b]\ninputs = []\nneeds = [\"a\"]\nrun = \"echo bad; exit 1\"\n",
    );
    let errors = bench.run(&["run", "b", "--quiet"]).expect_code(7).errors();
    assert!(
        errors.starts_with("error: ") && errors.contains("    | bad\n") && !errors.contains("fine"),
        "{errors}"
    );
}
