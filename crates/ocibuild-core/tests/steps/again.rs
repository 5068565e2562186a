//! A build that is begun again.

use ocibuild_core::Builder;
use ocibuild_core::build::MadeSteps;

use crate::project::{Project, all, parse};

const SPEC: &str = r#"
version = 1

[steps.deploy]
run = "echo deploy >> $RAN; date +%N > now"
inputs = ["given"]
outputs = ["now"]
always = true
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.use]
needs = ["deploy"]
run = "echo use >> $RAN; cp now used"
outputs = ["used"]
pass-env = [{ name = "RAN", unkeyed = true }]

[layers.app]
copy = [{ step = "use", from = "used", to = "/" }]

[images.app]
base = "scratch"
layers = ["app"]
"#;

fn build(project: &Project, builder: &Builder<'_>) -> Vec<String> {
    builder.build_spec(&parse(SPEC)).unwrap_or_else(|error| panic!("{}", all(&error)));
    project.ran()
}

#[test]
fn a_step_that_ran_in_an_attempt_does_not_run_in_the_next_one() {
    let project = Project::empty();
    project.write("given", "1");
    for (uses_records, verifies) in [(true, false), (false, false), (true, true)] {
        let made = MadeSteps::default();
        let builder = || project.builder().use_records(uses_records).verify_cache(verifies);
        let attempt = || build(&project, &builder().made_before(&made));
        assert_eq!(attempt(), ["deploy", "use"]);
        assert!(attempt().is_empty(), "records: {uses_records}, verifies: {verifies}");
        // Another run is another matter.
        let mut ran = build(&project, &builder());
        ran.retain(|step| step == "deploy");
        assert_eq!(ran, ["deploy"]);
    }
}

#[test]
fn a_step_runs_again_if_its_inputs_changed_or_what_it_made_is_gone() {
    let project = Project::empty();
    project.write("given", "1");
    let made = MadeSteps::default();
    let attempt = || build(&project, &project.builder().made_before(&made));
    assert_eq!(attempt(), ["deploy", "use"]);
    project.write("given", "2");
    assert_eq!(attempt(), ["deploy", "use"]);
    std::fs::remove_dir_all(project.cache.path().join("blobs")).unwrap();
    assert_eq!(attempt(), ["deploy", "use"]);
    assert!(attempt().is_empty());
}
