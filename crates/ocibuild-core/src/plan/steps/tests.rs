//! What is planned of steps: each for whom it is needed, once, after all it needs.

use std::collections::BTreeMap;

use super::*;
use crate::plan::{self, BuiltinBase, Plan, PlanError, Surroundings, What};
use crate::spec::Sources;

struct Nowhere;

impl Surroundings for Nowhere {
    fn builtin(&self, _: &str, _: u32) -> Option<BuiltinBase> {
        None
    }

    fn base_platform(&self, _: &str) -> Option<Platform> {
        None
    }
}

fn spec(text: &str) -> Spec {
    let text = format!("version = 1\n{text}");
    Spec::parse(&text, &BTreeMap::new())
        .unwrap_or_else(|error| panic!("{}", error.render(&Sources::of("s", &text))))
}

fn planned(text: &str, images: &[&str]) -> Plan {
    let images: Vec<String> = images.iter().map(|name| (*name).to_owned()).collect();
    plan::plan(&spec(text), "test", &images, &Nowhere).unwrap()
}

fn faults(result: Result<Plan, PlanError>) -> Vec<String> {
    match result {
        Err(PlanError::Spec(error)) => error.faults.into_iter().map(|fault| fault.message).collect(),
        other => panic!("{other:?}"),
    }
}

fn said(text: &str) -> Vec<String> {
    faults(plan::plan(&spec(text), "test", &[], &Nowhere))
}

fn labels(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.label.as_str()).collect()
}

/// A layer that copies `out` of a step, and an image of it for these platforms.
fn image(step: &str, platforms: &str) -> String {
    format!(
        "[layers.l-{step}]\ncopy = [{{ step = '{step}', from = 'out', to = '/' }}]\n\
         [images.i-{step}]\nlayers = ['l-{step}']\nplatforms = [{platforms}]\n"
    )
}

const TWO: &str = "'linux/amd64', 'linux/arm64'";

const DIAMOND: &str = "\
[steps.top]
run = 'top'
needs = ['left', 'right']
outputs = ['out']
[steps.left]
run = 'left'
needs = ['bottom']
outputs = ['left']
[steps.right]
run = 'right'
needs = ['bottom']
outputs = ['right']
[steps.bottom]
run = 'bottom'
inputs = ['src']
outputs = ['bottom']
[steps.unused]
run = 'unused'
inputs = []
outputs = ['out']
";

#[test]
fn each_step_is_planned_once_after_what_it_needs_and_only_where_it_is_needed() {
    let plan = planned(&format!("{DIAMOND}{}", image("top", "'linux/amd64'")), &[]);
    assert_eq!(labels(&plan), ["bottom", "left", "right", "top"]);
    let needs: Vec<&[usize]> = plan.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(needs, [&[][..], &[0], &[0], &[1, 2]]);
    assert!(plan.steps.iter().all(|step| step.platform == Some(Platform::linux_amd64())));
    let both = format!("{DIAMOND}{}{}", image("top", "'linux/amd64'"), image("unused", "'linux/amd64'"));
    assert_eq!(labels(&planned(&both, &["i-unused"])), ["unused"]);
    assert_eq!(planned(&both, &[]).steps.len(), 5);
}

#[test]
fn a_step_runs_for_each_platform_and_one_for_any_runs_once() {
    let text = format!("{DIAMOND}{}", image("top", TWO))
        .replace("run = 'bottom'", "run = 'bottom'\nplatforms = 'any'");
    let plan = planned(&text, &[]);
    assert_eq!(
        labels(&plan),
        [
            "bottom",
            "left (linux/amd64)",
            "right (linux/amd64)",
            "top (linux/amd64)",
            "left (linux/arm64)",
            "right (linux/arm64)",
            "top (linux/arm64)",
        ]
    );
    assert_eq!(plan.steps[0].platform, None);
    assert_eq!((&plan.steps[4].needs, &plan.steps[6].needs), (&vec![0], &vec![4, 5]));
    // The same layer of other steps is another layer.
    let steps: Vec<Vec<usize>> = plan.layers.iter().map(|layer| layer.steps().collect()).collect();
    assert_eq!(steps, [[3], [6]]);
    assert!(plan.layers.iter().all(|layer| layer.reads_files() && !layer.reads_host()));
    let What::From(from) = &plan.layers[1].copies[0].what else { panic!("no files") };
    assert_eq!((from.step, from.ignore.clone()), (Some(6), plan::Ignore::Nothing));
}

#[test]
fn a_layer_of_a_step_for_any_platform_is_one() {
    let text = "[steps.a]\nrun = 'a'\nplatforms = 'any'\ninputs = []\noutputs = ['out']\n";
    let plan = planned(&format!("{text}{}", image("a", TWO)), &[]);
    assert_eq!((plan.steps.len(), plan.layers.len()), (1, 1));
    assert_eq!(plan.layers[0].platforms.len(), 2);
}

#[test]
fn a_platform_that_a_step_is_not_for_is_told_with_the_way_to_it() {
    let text = format!("{DIAMOND}{}", image("top", TWO))
        .replace("run = 'bottom'", "run = 'bottom'\nplatforms = ['linux/amd64']");
    assert_eq!(
        said(&text),
        ["step `bottom` isn't made for linux/arm64, but is needed: \
          image `i-top` → layer `l-top` → step `top` → step `left` → step `bottom`"]
    );
    let spec = spec(&text);
    let names = ["bottom".to_owned()];
    let plan = plan::plan_steps(&spec, "test", &names, &[], &Nowhere).unwrap();
    assert_eq!(plan.steps[0].platform, Some(Platform::linux_amd64()));
    let arm = check::platform("linux/arm64").unwrap();
    let found = faults(plan::plan_steps(&spec, "test", &names, &[arm], &Nowhere));
    assert_eq!(found, ["step `bottom` isn't made for linux/arm64"]);
}

#[test]
fn steps_that_are_asked_for_run_for_the_platforms_of_images_near_them() {
    let tests =
        "[steps.test]\nrun = 'test'\nneeds = ['left']\n[steps.lint]\nrun = 'lint'\ninputs = ['src']\n";
    let spec = spec(&format!("{DIAMOND}{tests}{}", image("top", "'linux/arm64'")));
    let plan = |names: &[&str], platforms: &[Platform]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        plan::plan_steps(&spec, "test", &names, platforms, &Nowhere)
    };
    let found = plan(&["test", "lint"], &[]).unwrap();
    assert_eq!(labels(&found), ["bottom", "left", "test", "lint"]);
    let platforms: Vec<String> =
        found.steps.iter().map(|step| step.platform.as_ref().unwrap().to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/arm64", "linux/arm64", "linux/amd64"]);
    assert!(found.images.is_empty() && found.layers.is_empty());
    assert_eq!(
        plan(&["test"], &[Platform::linux_amd64()]).unwrap().steps[0].platform,
        Some(Platform::linux_amd64())
    );
    assert!(matches!(plan(&["tset"], &[]), Err(PlanError::UnknownStep { known, .. }) if known.len() == 7));
}

#[test]
fn names_of_a_platform_mean_nothing_in_a_step_for_any() {
    let step = |key: &str| {
        format!(
            "[vars]\nv = '1'\n'linux/amd64' = {{ t = '2' }}\n[steps.a]\nplatforms = 'any'\ninputs = []\n{key}\n{}",
            ""
        )
    };
    let run = |key: &str| {
        let spec = spec(&step(key));
        plan::plan_steps(&spec, "test", &["a".to_owned()], &[], &Nowhere)
    };
    let plan = run("run = 'a {var.v} ${arch}'").unwrap();
    assert_eq!(plan.steps[0].run, Command::Script("a 1 ${arch}".to_owned()));
    assert_eq!(
        faults(run("run = 'a {arch}'")),
        ["the step is for any platform, so names of one mean nothing"]
    );
    assert_eq!(faults(run("run = ['a', '{var.t}']")), ["variable `t` has values only for single platforms"]);
}

#[test]
fn what_a_former_run_left_is_no_input() {
    let text = "\
[steps.need]
run = 'need'
inputs = []
outputs = ['node_modules', 'a [b]']
[steps.a]
run = 'a'
needs = ['need']
inputs = ['package.json', 'lib', '**/*.ts', '!**/*.d.ts']
outputs = ['./lib//out/', 'dist']
cache-dirs = ['target/', '~/.cargo/']
workdir = './web/'
";
    let spec = spec(text);
    let plan = plan::plan_steps(&spec, "test", &["a".to_owned()], &[], &Nowhere).unwrap();
    let step = &plan.steps[1];
    let paths = |paths: &[PlannedPath]| paths.iter().map(|path| path.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&step.outputs), ["lib/out", "dist"]);
    assert_eq!(paths(&step.cache_dirs), ["target", "~/.cargo"]);
    assert_eq!(step.workdir.as_deref(), Some("web"));
    let inputs: Vec<(&str, bool, bool)> = step
        .inputs
        .iter()
        .map(|input| (input.path.as_str(), input.glob.is_some(), input.is_excluded))
        .collect();
    assert_eq!(
        inputs,
        [
            ("package.json", false, false),
            ("lib", false, false),
            ("**/*.ts", true, false),
            ("**/*.d.ts", true, true),
            ("a \\[b\\]", true, true),
            ("dist", true, true),
            ("lib/out", true, true),
            ("node_modules", true, true),
            ("target", true, true),
        ]
    );
    assert!(step.inputs[4].glob.as_ref().unwrap().covers(b"a [b]/x.ts"));
    assert_eq!(plan.steps[0].inputs, []);
}

#[test]
fn what_shows_only_with_values_is_found_when_they_are_known() {
    let text = format!(
        "[vars]\nout = 'dist'\n[steps.a]\nrun = 'a'\ninputs = ['dist/x']\noutputs = ['{{var.out}}']\n{}",
        image("a", "'linux/amd64'").replace("'out'", "'{arch}'")
    );
    assert_eq!(
        said(&text),
        ["input `dist/x` lies in output `dist`, which is removed before a run"],
        "what is copied of a step at fault is nobody's fault yet"
    );
    assert_eq!(said(&text.replace("dist/x", "x")), ["step `a` doesn't make `amd64`"]);
    assert_eq!(said(&text.replace("'dist'", "'../x'"))[0], "`../x` leads out of the root");
    let twice = format!("{DIAMOND}{}", image("top", "'linux/amd64'"))
        .replace("outputs = ['left']", "outputs = ['{os}']")
        .replace("outputs = ['right']", "outputs = ['linux']");
    assert_eq!(said(&twice), ["both `left` and `right` make `linux`, and both are needed"]);
}

#[test]
fn in_place_two_platforms_make_nothing_in_one_place() {
    let text = |output: &str| {
        let image = image("a", TWO).replace("'out'", &format!("'{output}'"));
        format!("[steps.a]\nrun = 'a'\nin-place = true\ninputs = ['src']\noutputs = ['{output}']\n{image}")
    };
    assert_eq!(said(&text("out")), ["`a` runs in place and makes `out` for linux/amd64 and linux/arm64"]);
    assert_eq!(planned(&text("out/{arch}"), &[]).steps.len(), 2);
}

#[test]
fn what_is_made_in_place_is_copied_by_its_step_alone() {
    let text = |from: &str| {
        format!(
            "[vars]\ngen = 'gen'\n\
             [steps.a]\nrun = 'a'\nin-place = true\ninputs = ['src']\noutputs = ['gen/{{arch}}']\n\
             [layers.l]\ncopy = [{{ step = 'a', from = 'gen', to = '/y' }}, {{ from = {from}, to = '/x' }}]\n\
             [images.i]\nlayers = ['l']\nplatforms = [{TWO}]\n"
        )
    };
    let faults = ["`a` makes `gen/amd64`, in place", "`a` makes `gen/arm64`, in place"];
    assert_eq!(said(&text("'{var.gen}/{arch}'")), faults);
    let holds = "`gen` takes along what is made in place: `gen/amd64`";
    assert_eq!(said(&text("'{var.gen}', exclude = ['arm64']")), [holds]);
    for fine in ["'{var.gen}', exclude = ['a{arch}', 'a*64']", "'{var.gen}/x'"] {
        assert_eq!(planned(&text(fine), &[]).steps.len(), 2);
    }
}

#[test]
fn all_of_a_step_reaches_its_plan() {
    let text = "\
[steps.a]
run = ['make', '{arch}', '{ x }', '{var.v}']
inputs = []
env = { ARCH = '{arch}' }
pass-env = ['CI', { name = 'SHA', unkeyed = true }]
secrets = [{ id = 'npm', env = 'TOKEN' }, { id = 'a-1', file = 'x', optional = true }, { id = 'b', env = 'B', as = 'file', target = 'C' }]
tools = ['make --version']
timeout = '1m30s'
retries = 3
always = true
network = false
sandbox = true
[vars]
v = '{os}'
";
    let plan = plan::plan_steps(&spec(text), "test", &["a".to_owned()], &[], &Nowhere).unwrap();
    let step = &plan.steps[0];
    let words = ["make", "amd64", "{ x }", "{os}"].map(str::to_owned).to_vec();
    assert_eq!(step.run, Command::Arguments(words));
    assert_eq!(step.env, BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned())]));
    let passed: Vec<(&str, bool)> =
        step.pass_env.iter().map(|one| (one.name.as_str(), one.is_keyed)).collect();
    assert_eq!(passed, [("CI", true), ("SHA", false)]);
    let secrets: Vec<_> =
        step.secrets.iter().map(|one| (one.target.as_str(), one.form.to_string(), one.is_optional)).collect();
    assert_eq!(
        secrets,
        [
            ("TOKEN", "env".to_owned(), false),
            ("A_1", "file".to_owned(), true),
            ("C", "file".to_owned(), false)
        ]
    );
    assert_eq!((step.timeout, step.retries), (Some(std::time::Duration::from_secs(90)), 3));
    assert_eq!((step.always, step.in_place, step.network, step.sandbox), (true, false, false, true));
    assert_eq!((step.tools.as_slice(), step.workdir.as_deref()), (&["make --version".to_owned()][..], None));
}

#[test]
fn a_long_chain_is_planned_without_end_of_stack() {
    let mut text = String::from("[steps.s0]\nrun = 'x'\ninputs = []\noutputs = ['o0']\n");
    for index in 1..5000 {
        text.push_str(&format!(
            "[steps.s{index}]\nrun = 'x'\nneeds = ['s{}']\noutputs = ['o{index}']\n",
            index - 1
        ));
    }
    let plan = plan::plan_steps(&spec(&text), "test", &["s4999".to_owned()], &[], &Nowhere).unwrap();
    assert_eq!(plan.steps.len(), 5000);
    assert!(plan.steps.iter().enumerate().all(|(at, step)| step.needs.iter().all(|need| *need < at)));
}
