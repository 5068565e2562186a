//! What runs side by side, and what doesn't.

use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ocibuild_core::event::Event;
use ocibuild_core::plan::plan_steps;

use crate::project::{Project, parse};

/// Steps that each note when they begin and end, and one that needs them all.
fn wide(count: usize) -> String {
    let mut spec = String::from("version = 1\n");
    let names: Vec<String> = (0..count).map(|index| format!("step-{index}")).collect();
    for name in &names {
        write!(
            spec,
            "[steps.{name}]\nrun = \"echo begin >> $RAN; sleep 0.15; echo end >> $RAN; echo {name} > {name}\"\n\
             outputs = [\"{name}\"]\npass-env = [{{ name = \"RAN\", unkeyed = true }}]\n"
        )
        .unwrap();
    }
    let copies: Vec<String> =
        names.iter().map(|name| format!("{{ step = \"{name}\", from = \"{name}\", to = \"/\" }}")).collect();
    write!(
        spec,
        "[layers.all]\ncopy = [{}]\n[images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n",
        copies.join(", ")
    )
    .unwrap();
    spec
}

/// The most that had begun and not ended.
fn peak(project: &Project) -> usize {
    let text = fs::read_to_string(project.log()).unwrap();
    let _ = project.ran();
    let (mut now, mut peak) = (0_usize, 0);
    for line in text.lines() {
        now = if line == "begin" { now + 1 } else { now - 1 };
        peak = peak.max(now);
    }
    assert_eq!(now, 0);
    peak
}

#[test]
fn steps_overlap_and_never_more_than_there_are_jobs() {
    let spec = parse(&wide(6));
    let mut roots = Vec::new();
    for jobs in [1, 2, 4] {
        let project = Project::empty();
        let built = project.builder().jobs(jobs).build_spec(&spec).unwrap();
        assert_eq!(peak(&project), jobs, "of {jobs} jobs");
        roots.push(built.images[0].root.digest);
    }
    assert_eq!(roots, [roots[0]; 3], "in whichever order they end");
}

#[test]
fn two_steps_that_wait_for_each_other_meet() {
    let project = Project::empty();
    let meet = |me: &str, other: &str| {
        format!(
            "[steps.{me}]\nrun = \"touch $RAN.{me}; until test -e $RAN.{other}; do sleep 0.02; done\"\n\
             timeout = \"20s\"\npass-env = [{{ name = \"RAN\", unkeyed = true }}]\n"
        )
    };
    let spec = format!("version = 1\n{}{}", meet("one", "other"), meet("other", "one"));
    let names = ["one".to_owned(), "other".to_owned()];
    let builder = project.builder().jobs(2);
    let plan = plan_steps(&parse(&spec), "test", &names, &[], &builder).unwrap();
    let wanted: Vec<usize> = (0..plan.steps.len()).collect();
    assert_eq!(builder.run_steps(&plan, &wanted).unwrap().steps.len(), 2);
}

/// Counts steps and layers at work, by what is told of them.
#[derive(Default)]
struct AtWork {
    now: AtomicUsize,
    peak: AtomicUsize,
    told: Mutex<Vec<String>>,
}

impl ocibuild_core::Observer for AtWork {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { .. } | Event::LayerStarted { .. } => {
                self.peak.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            Event::StepFinished { .. } | Event::LayerFinished { .. } => {
                self.now.fetch_sub(1, Ordering::SeqCst);
            }
            _ => return,
        }
        self.told.lock().unwrap().push(format!("{event:?}"));
    }
}

#[test]
fn layers_are_jobs_as_steps_are() {
    let project = Project::empty();
    let mut spec = String::from("version = 1\n");
    let mut names = Vec::new();
    for index in 0..4 {
        project.write(&format!("files/{index}/data"), &"x".repeat(1 << 20));
        write!(
            spec,
            "[steps.step-{index}]\nrun = \"sleep 0.05; echo {index} > made-{index}\"\noutputs = [\"made-{index}\"]\n\
             [layers.of-{index}]\ncopy = [{{ step = \"step-{index}\", from = \"made-{index}\", to = \"/{index}\" }}]\n\
             [layers.files-{index}]\ncopy = [{{ from = \"files/{index}\", to = \"/files/{index}\" }}]\n"
        )
        .unwrap();
        names.extend([format!("\"of-{index}\""), format!("\"files-{index}\"")]);
    }
    write!(spec, "[images.app]\nbase = \"scratch\"\nlayers = [{}]\n", names.join(", ")).unwrap();
    for jobs in [1, 2] {
        let (cache, at_work) = (tempfile::tempdir().unwrap(), AtWork::default());
        project
            .builder_with(cache.path())
            .threads(4)
            .jobs(jobs)
            .observer(&at_work)
            .build_spec(&parse(&spec))
            .unwrap();
        assert_eq!(at_work.now.into_inner(), 0);
        assert_eq!(at_work.peak.into_inner(), jobs, "{:#?}", at_work.told.into_inner().unwrap());
    }
}

/// A spec of so many steps that need each other in a row, and as many that all need the first.
fn long_and_wide(count: usize) -> String {
    let mut spec = String::from("version = 1\n");
    let mut copies = Vec::new();
    for index in 0..count {
        let needs = if index == 0 { String::new() } else { format!("needs = [\"chain-{}\"]\n", index - 1) };
        write!(
            spec,
            "[steps.chain-{index}]\nrun = \"echo {index} > chain-{index}\"\noutputs = [\"chain-{index}\"]\n\
             inputs = [\"packages/{index}/*.txt\"]\n{needs}\
             [steps.fan-{index}]\nrun = \"echo {index} > fan-{index}\"\noutputs = [\"fan-{index}\"]\n\
             inputs = [\"packages/{index}/*.txt\"]\nneeds = [\"chain-0\"]\n"
        )
        .unwrap();
        copies.push(format!("{{ step = \"fan-{index}\", from = \"fan-{index}\", to = \"/fan/\" }}"));
    }
    copies.push(format!("{{ step = \"chain-{0}\", from = \"chain-{0}\", to = \"/chain/\" }}", count - 1));
    write!(spec, "[layers.all]\ncopy = [{}]\n", copies.join(",\n")).unwrap();
    spec.push_str("[images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n");
    spec
}

/// How long it takes is measured by `cargo xtask bench steps`; here it is enough that nothing is done.
#[test]
fn a_chain_and_a_fan_are_answered_without_a_run() {
    let project = Project::empty();
    let count = 30;
    (0..count).for_each(|index| project.write(&format!("packages/{index}/in.txt"), &index.to_string()));
    let spec = parse(&long_and_wide(count));
    let plan = project.builder().plan(&spec).unwrap();
    let wanted: Vec<usize> = (0..2 * count).collect();
    let ran = |observer: &AtWork| {
        let told = observer.told.lock().unwrap();
        told.iter().filter(|event| event.starts_with("StepStarted")).count()
    };
    let (first, again) = (AtWork::default(), AtWork::default());
    project.builder().observer(&first).run_steps(&plan, &wanted).unwrap();
    assert_eq!(ran(&first), 2 * count);
    assert_eq!(project.builder().observer(&again).run_steps(&plan, &wanted).unwrap().steps.len(), 2 * count);
    assert_eq!(ran(&again), 0);
}
