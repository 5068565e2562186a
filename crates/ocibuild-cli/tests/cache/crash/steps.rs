//! Steps: the run is killed while their directories are filled, while their commands run, while what they
//! made is taken over, recorded and unpacked, and while it is tidied up.

use std::fs;

use ocibuild_testkit::require;

use super::{BUILD, Case, is_right};
use crate::bench::Bench;
use crate::project::{self, Random, STEPS, cache};

/// The image is right, nothing is left behind, and what lies in the cache as made by a step is whole.
fn is_right_and_whole(bench: &Bench, digest: &str) {
    is_right(bench, digest, 2);
    bench.ok(&["run", "compile", "bundle", "-o", "made"]);
    let all = [b"version 2".to_vec(), Random::new(7).bytes(5000)].concat();
    let made = |name: &str| fs::read(bench.path("made").join(name)).unwrap();
    assert_eq!((made("dist/all"), made("dist/same")), (all.clone(), all));
    assert_eq!(made("bundle").trim_ascii(), b"5009");
}

#[test]
fn a_first_run_of_steps_is_killed() {
    let digest = project::expected_steps();
    let case = Case {
        name: "build, steps on an empty cache",
        before: &|| {
            let bench = project::bench(STEPS);
            project::write(&bench, 2);
            bench
        },
        words: &BUILD,
        after: &|bench| is_right_and_whole(bench, &digest),
        named: &[
            ("mkdir", "cache/steps/v1/shared/"),
            ("link", "cache/steps/v1/"),
            ("lock", "cache/steps/v1/"),
            ("rename", "cache/blobs/sha256/"),
            ("rename", "cache/outputs/v1/"),
            ("rename", "cache/records/v1/"),
            ("rename", "work/out/index.json"),
        ],
        is_made_anew: true,
    };
    require!(case.run());
}

#[test]
fn a_run_of_steps_is_killed() {
    let digest = project::expected_steps();
    let case = Case {
        name: "build, steps run again",
        before: &project::steps,
        words: &BUILD,
        after: &|bench| is_right_and_whole(bench, &digest),
        named: &[
            ("lock", "cache/steps/v1/"),
            ("rename", "cache/blobs/sha256/"),
            ("rename", "cache/outputs/v1/"),
            ("rename", "cache/records/v1/"),
            ("rename", "cache/steps/v1/"),
            ("unlink", "cache/steps/v1/"),
            ("write", "cache/steps/v1/"),
            ("rename", "work/out/index.json"),
        ],
        is_made_anew: true,
    };
    require!(case.run());
}

/// None of their files looks as it did, so nothing of them is believed.
#[test]
fn a_run_of_steps_in_directories_that_were_copied_is_killed() {
    let digest = project::expected_steps();
    let case = Case {
        name: "build, steps run again in copied directories",
        before: &project::steps,
        words: &BUILD,
        after: &|bench| is_right_and_whole(bench, &digest),
        named: &[("rename", "cache/outputs/v1/"), ("rename", "cache/steps/v1/")],
        is_made_anew: false,
    };
    require!(case.run());
}

/// What steps made is wanted for another layer, and only its blob is there.
#[test]
fn unpacking_what_steps_made_is_killed() {
    let other = STEPS.replace("/app/dist", "/app/other");
    let digest = project::expected_of(&other);
    let before = || {
        let bench = project::bench(STEPS);
        project::write(&bench, 2);
        bench.digest(&["--output", "type=oci,dest=out"]);
        fs::remove_dir_all(cache(&bench).join("outputs")).unwrap();
        bench.write("ocibuild.toml", &other);
        bench
    };
    let case = Case {
        name: "build, what steps made is unpacked",
        before: &before,
        words: &BUILD,
        after: &|bench| is_right_and_whole(bench, &digest),
        named: &[("write", "cache/outputs/v1/"), ("rename", "cache/outputs/v1/")],
        is_made_anew: true,
    };
    require!(case.run());
}

#[test]
fn tidying_up_after_steps_is_killed() {
    let digest = project::expected_steps();
    let before = || {
        let bench = project::steps();
        bench.digest(&["--output", "type=oci,dest=out"]);
        bench
    };
    let case = Case {
        name: "cache prune --all, steps",
        before: &before,
        words: &["cache", "prune", "--all"],
        after: &|bench| is_right_and_whole(bench, &digest),
        named: &[
            ("unlink", "cache/outputs/v1/"),
            ("unlink", "cache/records/v1/"),
            ("unlink", "cache/steps/v1/"),
        ],
        is_made_anew: true,
    };
    require!(case.run());
}
