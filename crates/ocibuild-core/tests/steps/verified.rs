//! Steps that run though something answers for them, and must come to what that says.

use std::fs;

use ocibuild_core::Error;
use ocibuild_core::blob::{Store, read_whole};
use ocibuild_core::build::{BuildError, FinishedStep, StepFault};
use ocibuild_core::cache::{LocalRecords, RecordStore as _};
use ocibuild_core::digest::{DiffId, Digest};

use crate::project::{Project, all, kept, one, parse};

fn verified(project: &Project, spec: &str) -> Result<Vec<FinishedStep>, Error> {
    project.builder().verify_cache(true).build_spec(&parse(spec)).map(|built| built.steps)
}

#[test]
fn what_is_verified_runs_again_and_nothing_is_left_of_what_comes_out_otherwise() {
    let project = Project::empty();
    let sound = one(&project, "echo same > out", "");
    project.build(&sound);
    verified(&project, &sound).unwrap_or_else(|error| panic!("{}", all(&error)));
    assert_eq!(project.ran(), ["one"]);

    let unsound = one(&project, "echo so it goes; date +%N > out", "");
    project.build(&unsound);
    let before = kept(project.cache.path());
    let Err(Error::Build(BuildError::Steps(failures))) = verified(&project, &unsound) else {
        panic!("it made another thing")
    };
    let failed = &failures.failed[0];
    assert!(matches!(failed.fault, StepFault::Unlike { place: None }), "{failed:?}");
    assert_eq!(failed.tail, ["so it goes"]);
    assert_eq!(project.ran(), ["one"]);
    assert_eq!(kept(project.cache.path()), before);
    assert_eq!(project.build(&unsound).1, [""; 0], "what was recorded answers still");
}

#[test]
fn what_another_encoder_compressed_is_the_same() {
    let project = Project::empty();
    let spec = one(&project, "echo same > out", "");
    let (built, _) = project.build(&spec);
    let (step, cache) = (&built.steps[0], project.cache.path());
    fs::remove_dir_all(cache.join("records")).unwrap();
    // A frame of zstd that decoders skip makes another blob of the same tar; so another key of the content.
    let (store, mut other) = (Store::new(cache), step.record.clone());
    let blob = &mut other.layers[0].descriptor;
    let mut bytes = read_whole(&store, blob, 1 << 20).unwrap();
    bytes.extend([0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]);
    let mut writer = store.writer().unwrap();
    writer.write(&bytes).unwrap();
    (blob.digest, blob.size) = writer.finish().unwrap();
    other.content = Some("7".repeat(64).parse().unwrap());
    let records = LocalRecords::new(cache);
    step.keys.iter().for_each(|key| records.put(&other.under(*key)).unwrap());
    assert_eq!(project.build(&spec).1, [""; 0], "it answers");

    let steps = verified(&project, &spec).unwrap_or_else(|error| panic!("{}", all(&error)));
    assert_eq!(project.ran(), ["one"]);
    assert_eq!(steps[0].record.layers, step.record.layers, "what was made is recorded from now on");

    // One that says to hold another tar isn't the same, whatever it says of the content.
    let mut lie = step.record.clone();
    lie.layers[0].diff_id = DiffId(Digest::of(b"another tar"));
    step.keys.iter().for_each(|key| records.put(&lie.under(*key)).unwrap());
    assert!(all(&verified(&project, &spec).unwrap_err()).contains("something else than the cache has"));
}
