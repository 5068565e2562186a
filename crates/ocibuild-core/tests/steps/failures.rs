//! Steps that fail, hang and are killed: what is told, what goes on, and what is left.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ocibuild_core::build::{BuildError, StepFailures, StepFault};
use ocibuild_core::event::{Cancel, Event};
use ocibuild_core::{Builder, Built, Error};

use crate::project::{Project, parse};

/// A step that is told what to do, one that needs it, one that needs that, and two that need none.
fn spec(project: &Project, run: &str, more: &str) -> String {
    let ran = project.log().display().to_string();
    format!(
        "version = 1\n[steps.bad]\nrun = '''echo bad >> {ran}; {run}'''\noutputs = [\"bad\"]\n{more}\n\
         [steps.after]\nneeds = [\"bad\"]\nrun = \"echo after >> {ran}; cp bad after\"\noutputs = [\"after\"]\n\
         [steps.last]\nneeds = [\"after\"]\nrun = \"echo last >> {ran}; cp after last\"\noutputs = [\"last\"]\n\
         [steps.good]\nrun = \"sleep 0.3; echo good >> {ran}; echo good > good\"\noutputs = [\"good\"]\n\
         [steps.fine]\nneeds = [\"good\"]\nrun = \"echo fine >> {ran}; cp good fine\"\noutputs = [\"fine\"]\n\
         [layers.all]\ncopy = [{{ step = \"last\", from = \"last\", to = \"/\" }}, {{ step = \"fine\", from = \"fine\", to = \"/\" }}]\n\
         [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
    )
}

fn failures(builder: &Builder<'_>, spec: &str) -> StepFailures {
    match builder.build_spec(&parse(spec)).map(drop) {
        Err(Error::Build(BuildError::Steps(failures))) => *failures,
        other => panic!("{other:?}"),
    }
}

/// How many records, blobs and trees of outputs a cache has.
fn kept(cache: &Path) -> [usize; 3] {
    ["records", "blobs", "outputs"].map(|name| files(&cache.join(name), name == "outputs"))
}

fn files(directory: &Path, is_tree: bool) -> usize {
    let Ok(listed) = fs::read_dir(directory) else { return 0 };
    listed
        .map(|entry| {
            let path = entry.unwrap().path();
            match path.is_dir() && !(is_tree && path.join("list").exists()) {
                true => files(&path, is_tree),
                false => 1,
            }
        })
        .sum()
}

/// Tells whether a fault is the one that is meant.
type Is = fn(&StepFault) -> bool;

#[test]
fn a_failed_step_leaves_nothing_and_what_needs_it_is_skipped() {
    let ends: [(&str, &str, Is); 4] = [
        ("echo some > bad; echo so it goes >&2; exit 7", "", |fault| matches!(fault, StepFault::Exit(7))),
        ("echo some > bad; echo so it goes; sleep 60", "timeout = \"400ms\"", |fault| {
            matches!(fault, StepFault::TimedOut(_))
        }),
        ("echo some > bad; echo so it goes; sleep 60 & kill -9 $$", "", |fault| {
            matches!(fault, StepFault::Signal(9))
        }),
        ("echo so it goes", "", |fault| matches!(fault, StepFault::NoOutput { .. })),
    ];
    for (run, more, is_it) in ends {
        let project = Project::empty();
        let spec = spec(&project, run, more);
        let failed = failures(&project.builder().jobs(1), &spec);
        assert!(is_it(&failed.failed[0].fault), "{failed:?}");
        assert_eq!(failed.failed[0].step, "bad");
        assert_eq!(failed.failed[0].tail, ["so it goes"]);
        let log = failed.failed[0].log.as_ref().unwrap();
        assert_eq!(fs::read_to_string(log).unwrap(), "so it goes\n");
        let way = failed.failed[0].way.join(" > ");
        assert_eq!(way, "image `app` > layer `all` > step `last` > step `after` > step `bad`");
        let skipped: Vec<_> =
            failed.skipped.iter().map(|one| (one.step.as_str(), one.because.as_str())).collect();
        assert_eq!(skipped, [("after", "bad"), ("last", "bad")]);
        assert_eq!(project.ran(), ["bad"], "one at a time, and nothing after it");
        assert_eq!(kept(project.cache.path()), [0; 3], "{run}");
        // It is run again, and so is what waited.
        let _ = failures(&project.builder().jobs(1), &spec);
        assert_eq!(project.ran(), ["bad"]);
    }
}

#[test]
fn others_finish_where_all_is_to_go_on() {
    let project = Project::empty();
    let spec = spec(&project, "sleep 0.1; echo oh no; exit 1", "");
    let failed = failures(&project.builder().jobs(2).keep_going(true), &spec);
    assert_eq!((failed.failed.len(), failed.skipped.len()), (1, 2));
    assert_eq!(project.ran(), ["bad", "fine", "good"]);
    let [_, _, outputs] = kept(project.cache.path());
    assert_eq!(outputs, 2);
    // What was done is done.
    let good = spec.replace("exit 1", "echo > bad");
    project.builder().build_spec(&parse(&good)).unwrap();
    assert_eq!(project.ran(), ["after", "bad", "last"]);
    // Without that, the other is stopped, and nothing of it is left.
    let project = Project::empty();
    let _ = failures(&project.builder().jobs(2), &self::spec(&project, "sleep 0.05; exit 1", ""));
    assert_eq!((project.ran(), kept(project.cache.path())), (vec!["bad".to_owned()], [0; 3]));
}

#[test]
fn all_that_fail_are_told_where_all_is_to_go_on() {
    let project = Project::empty();
    let spec = spec(&project, "exit 1", "").replace("echo good > good", "exit 2");
    let failed = failures(&project.builder().jobs(1).keep_going(true), &spec);
    let names: Vec<&str> = failed.failed.iter().map(|one| one.step.as_str()).collect();
    assert_eq!(names, ["bad", "good"]);
    assert_eq!(failed.to_string(), "steps `bad`, `good`");
    assert_eq!(failed.skipped.len(), 3);
}

/// How many processes have a marker in their environment.
fn marked(marker: &str) -> usize {
    let is_marked = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(is_marked).count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_stopped_takes_whole_trees_of_processes_with_it() {
    let project = Project::empty();
    let marker = format!("MARKER=stopped-{}", std::process::id());
    let tree = "trap '' TERM INT HUP; (trap '' TERM; sleep 61 & sleep 62) & (sh -c \"trap '' TERM; while :; do sleep 1; done\") & echo up; while :; do sleep 1; done";
    let more = format!("env = {{ MARKER = \"stopped-{}\" }}", std::process::id());
    let spec = spec(&project, tree, &more);
    let (cancel, up) = (Cancel::new(), AtomicBool::new(false));
    let observer = |event: &Event| {
        if matches!(event, Event::StepOutput { line, .. } if line == "up") {
            up.store(true, Ordering::SeqCst);
        }
    };
    let elapsed = std::thread::scope(|scope| {
        let builder = project.builder().jobs(2).cancel(cancel.clone()).observer(&observer);
        let run = scope.spawn(move || builder.build_spec(&parse(&spec)).map(drop));
        let until = Instant::now() + Duration::from_secs(20);
        while !up.load(Ordering::SeqCst) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(marked(&marker) >= 4, "{}", marked(&marker));
        let start = Instant::now();
        cancel.cancel();
        let ended = run.join().unwrap();
        assert!(matches!(ended, Err(Error::Build(BuildError::Cancelled(_)))), "{ended:?}");
        start.elapsed()
    });
    assert_eq!(marked(&marker), 0);
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(kept(project.cache.path())[2], 0);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_command_leaves_running_is_ended() {
    let project = Project::empty();
    let marker = format!("MARKER=left-{}", std::process::id());
    let more = format!("env = {{ MARKER = \"left-{}\" }}", std::process::id());
    let start = Instant::now();
    let spec = spec(&project, "(trap '' TERM HUP; sleep 63) & echo > bad", &more);
    project.builder().build_spec(&parse(&spec)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(marked(&marker), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_command_leaves_in_a_session_of_its_own_is_ended() {
    let project = Project::empty();
    let marker = format!("MARKER=session-{}", std::process::id());
    let more = format!("env = {{ MARKER = \"session-{}\" }}", std::process::id());
    let writes = "exec 3>>bad; echo > up; while :; do echo more >&3; sleep 0.01; done";
    let run = format!(
        "(setsid sh -c \"{writes}\" > /dev/null 2>&1 &); while ! test -e up; do sleep 0.01; done; exit $CODE"
    );
    let spec = |code: u8, home: &str| {
        let more = more.replace('}', &format!(", CODE = \"{code}\"{home} }}"));
        self::spec(&project, &run, &more)
    };
    project.builder().build_spec(&parse(&spec(0, ""))).unwrap();
    assert_eq!(marked(&marker), 0);
    // Of a command that fails nothing is left, either, nor where it has another home.
    let _ = failures(&project.builder(), &spec(1, ", HOME = \"/nonexistent\""));
    assert_eq!(marked(&marker), 0);
}

/// A step that leaves a process which nobody finds, and which writes to what was made as soon as that is
/// kept; and what reads that later than this.
#[cfg(target_os = "linux")]
fn disturbed(reads: &str) -> String {
    let writes =
        "exec 3>>made; echo > up; while test -e made; do sleep 0.01; done; sleep 0.3; echo later >&3";
    format!(
        "version = 1\n[steps.made]\noutputs = [\"made\"]\nrun = '''echo first > made; (env -i PATH=\"$PATH\" \
         setsid sh -c \"{writes}\" > /dev/null 2>&1 &); while ! test -e up; do sleep 0.01; done'''\n\
         [steps.slow]\nneeds = [\"made\"]\noutputs = [\"slow\"]\nrun = \"echo > slow; sleep 1.5\"\n{reads}\
         [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
    )
}

#[cfg(target_os = "linux")]
#[test]
fn what_changes_after_it_was_kept_fails_who_reads_it() {
    let copies = |step: &str| format!("{{ step = \"{step}\", from = \"{step}\", to = \"/\" }}");
    let reads = [
        format!(
            "[steps.all]\nneeds = [\"made\", \"slow\"]\noutputs = [\"all\"]\nrun = \"cat made slow > all\"\n\
             [layers.all]\ncopy = [{}]\n",
            copies("all")
        ),
        format!("[layers.all]\ncopy = [{}, {}]\n", copies("made"), copies("slow")),
    ];
    for reads in reads {
        let (project, calm) = (Project::empty(), Project::empty());
        let disturbed = disturbed(&reads);
        let failures = failures(&project.builder(), &disturbed);
        let [failure] = &failures.failed[..] else { panic!("{failures:?}") };
        assert!(matches!(failure.fault, StepFault::Disturbed), "{failures:?}");
        assert_eq!((failure.step.as_str(), failures.skipped.len()), ("made", 0));
        // Nothing was recorded of it, and what it was is in the cache.
        let (again, _) = project.build(&disturbed);
        let (other, _) = calm.build(&disturbed.replace("echo later", "echo -n"));
        let digest = |built: &Built| built.layers[0].record.layers[0].descriptor.digest;
        assert_eq!(digest(&again), digest(&other));
    }
}
