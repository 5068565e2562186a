//! Any graph of steps, edited in any way, on any runner: images are those of a clean build, and what runs
//! is what a model of it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use proptest::prelude::*;

use crate::project::{Project, parse};

/// A graph: of each step the inputs and the steps before it that it needs.
#[derive(Debug, Clone)]
struct Graph {
    steps: Vec<(BTreeSet<usize>, BTreeSet<usize>)>,
    /// Those that a layer copies from.
    copied: BTreeSet<usize>,
}

const FILES: usize = 4;

fn graph() -> impl Strategy<Value = Graph> {
    let step = (prop::collection::btree_set(0..FILES, 0..3), prop::collection::btree_set(0_usize..100, 0..3));
    let steps = prop::collection::vec(step, 1..7);
    (steps, prop::collection::btree_set(0_usize..100, 1..3)).prop_map(|(mut steps, copied)| {
        for (index, (_, needs)) in steps.iter_mut().enumerate() {
            *needs = match index {
                0 => BTreeSet::new(),
                _ => needs.iter().map(|need| need % index).collect(),
            };
        }
        let copied = copied.iter().map(|step| step % steps.len()).collect();
        Graph { steps, copied }
    })
}

/// What happens before the next build.
#[derive(Debug, Clone)]
enum Change {
    /// A file's text is another; those that differ only in blanks come out the same.
    Edit(usize, usize),
    /// The cache is gone.
    Forget,
    /// Only what steps made is gone, as files; and their private directories.
    Unpacked,
    /// So many jobs from now on.
    Jobs(usize),
}

const TEXTS: [&str; 4] = ["a b", "ab", "c", "c "];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => (0..FILES, 0..TEXTS.len()).prop_map(|(file, text)| Change::Edit(file, text)),
        1 => Just(Change::Forget),
        2 => Just(Change::Unpacked),
        1 => (1_usize..=4).prop_map(Change::Jobs),
    ]
}

impl Graph {
    fn spec(&self, project: &Project) -> String {
        let ran = project.log().display().to_string();
        let mut spec = String::from("version = 1\n");
        for (index, (files, needs)) in self.steps.iter().enumerate() {
            let files: Vec<String> = files.iter().map(|file| format!("file-{file}")).collect();
            let made: Vec<String> = needs.iter().map(|need| format!("made-{need}")).collect();
            let quoted = |names: &[String]| format!("{names:?}");
            let steps: Vec<String> = needs.iter().map(|need| format!("step-{need}")).collect();
            let all = [&files[..], &made[..]].concat().join(" ");
            write!(
                spec,
                "[steps.step-{index}]\nrun = \"echo {index} >> {ran}; cat {all} /dev/null | tr -d ' ' > made-{index}; echo {index} >> made-{index}\"\n\
                 inputs = {}\nneeds = {}\noutputs = [\"made-{index}\"]\n",
                quoted(&files),
                quoted(&steps)
            )
            .unwrap();
        }
        let copy = |step: &usize| format!("{{ step = \"step-{step}\", from = \"made-{step}\", to = \"/\" }}");
        let copies: Vec<String> = self.copied.iter().map(copy).collect();
        let copies = copies.join(", ");
        write!(
            spec,
            "[layers.all]\ncopy = [{copies}]\n[images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
        )
        .unwrap();
        spec
    }
}

/// What a cache knows, told as plainly as it goes.
#[derive(Default)]
struct Model {
    /// What a step made of what, by its own inputs and either what it needs, or what that made.
    known: BTreeMap<String, String>,
    layers: BTreeSet<String>,
}

impl Model {
    /// Builds, and returns which steps ran.
    fn build(&mut self, graph: &Graph, files: &[&str]) -> BTreeSet<usize> {
        let declared: Vec<String> =
            graph.steps.iter().enumerate().fold(Vec::new(), |mut all, (index, step)| {
                let inputs: Vec<&str> = step.0.iter().map(|file| files[*file]).collect();
                let needs: Vec<&String> = step.1.iter().map(|need| &all[*need]).collect();
                let own = format!("declared {index} {inputs:?} {needs:?}");
                all.push(own);
                all
            });
        let layer: Vec<&String> = graph.copied.iter().map(|step| &declared[*step]).collect();
        let layer = format!("{layer:?}");
        if self.layers.contains(&layer) {
            return BTreeSet::new();
        }
        // Which have to be looked at.
        let mut next: Vec<usize> = graph.copied.iter().copied().collect();
        let mut demanded = BTreeSet::new();
        while let Some(step) = next.pop() {
            if !self.known.contains_key(&declared[step]) && demanded.insert(step) {
                next.extend(&graph.steps[step].1);
            }
        }
        let mut ran = BTreeSet::new();
        for step in demanded {
            let (inputs, needs) = &graph.steps[step];
            let inputs: Vec<&str> = inputs.iter().map(|file| files[*file]).collect();
            let needs: Vec<&String> = needs.iter().map(|need| &self.known[&declared[*need]]).collect();
            let realised = format!("realised {step} {inputs:?} {needs:?}");
            let made = match self.known.get(&realised) {
                Some(made) => made.clone(),
                None => {
                    ran.insert(step);
                    let plain: String = inputs.concat().replace(' ', "");
                    let needs: String = needs.iter().map(|made| made.as_str()).collect();
                    format!("{plain}{needs}{step}")
                }
            };
            self.known.insert(realised, made.clone());
            self.known.insert(declared[step].clone(), made);
        }
        self.layers.insert(layer);
        ran
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_are_those_of_a_clean_build_and_nothing_runs_in_vain(
        graph in graph(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let project = Project::empty();
        let mut files = [TEXTS[0]; FILES];
        (0..FILES).for_each(|file| project.write(&format!("file-{file}"), files[file]));
        let spec = parse(&graph.spec(&project));
        let (mut model, mut jobs) = (Model::default(), 2);
        for change in std::iter::once(Change::Jobs(2)).chain(changes) {
            match change {
                Change::Edit(file, text) => {
                    files[file] = TEXTS[text];
                    project.write(&format!("file-{file}"), files[file]);
                }
                Change::Forget => {
                    fs::read_dir(project.cache.path()).unwrap().for_each(|entry| {
                        let path = entry.unwrap().path();
                        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
                    });
                    model = Model::default();
                }
                Change::Unpacked => {
                    for name in ["outputs", "steps"] {
                        let _ = fs::remove_dir_all(project.cache.path().join(name));
                    }
                }
                Change::Jobs(wanted) => jobs = wanted,
            }
            let built = project.builder().jobs(jobs).build_spec(&spec).unwrap();
            let ran: Vec<String> = project.ran();
            let mut expected: Vec<String> = model.build(&graph, &files).iter().map(ToString::to_string).collect();
            expected.sort();
            prop_assert_eq!(ran, expected, "{:?}", &files);
            let clean = tempfile::tempdir().unwrap();
            let alone = project.builder_with(clean.path()).jobs(1).build_spec(&spec).unwrap();
            let _ = project.ran();
            prop_assert_eq!(&built.images[0].root, &alone.images[0].root);
        }
    }
}
