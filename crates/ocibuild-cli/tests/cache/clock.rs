//! A clock that is a day off, either way: that of the machine, of the cache's files, of the inputs.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use ocibuild_testkit::{require, run, tool};

use crate::bench::Bench;
use crate::project::{builds, cache, expected, files, is_whole_and_tidy, project, set_time};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A day from now, either way.
fn off() -> [SystemTime; 2] {
    [SystemTime::now() - DAY, SystemTime::now() + DAY]
}

fn set_times(directory: &Path, time: SystemTime) {
    files(directory).iter().for_each(|path| set_time(path, time));
}

/// Changes files, each to as many other bytes, and sets their times.
fn change(bench: &Bench, time: Option<SystemTime>) {
    for path in [bench.path("modules/m3/index.js"), bench.path("src/main"), bench.path("lock")] {
        let before = File::open(&path).unwrap().metadata().unwrap().modified().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes {
            *byte ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
        set_time(&path, time.unwrap_or(before));
    }
}

#[test]
fn times_of_files_that_are_a_day_off_make_no_other_image() {
    let same = expected(1);
    let changed = {
        let bench = project(1);
        change(&bench, None);
        bench.digest(&[])
    };
    for time in off() {
        let bench = project(1);
        // Of inputs, before they are known and after that.
        set_times(&bench.path("modules"), time);
        thread::sleep(Duration::from_millis(150));
        builds(&bench, &same);
        for other in off() {
            set_times(&bench.path("modules"), other);
            set_times(&bench.path("src"), other);
            builds(&bench, &same);
            // Of everything that the cache has.
            set_times(&cache(&bench), other);
            builds(&bench, &same);
        }
        for times in [None, Some(time)] {
            change(&bench, times);
            builds(&bench, &changed);
            change(&bench, times);
            builds(&bench, &same);
        }
        is_whole_and_tidy(&bench);
    }
}

#[test]
fn a_clock_that_is_a_day_off_makes_no_other_image() {
    let faketime = require!(tool("faketime"));
    let same = expected(1);
    let bench = project(1);
    let at = |when: &str, words: &[&str]| {
        let command = bench.command(words);
        let mut faked = Command::new(&faketime);
        faked.args(["-f", when]).arg(command.get_program()).args(command.get_args());
        faked.current_dir(bench.path(""));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => faked.env(name, value),
                None => faked.env_remove(name),
            };
        }
        run(&mut faked)
    };
    for when in ["-1d", "+1d", "+0d", "-1d"] {
        assert_eq!(at(when, &["build", "--output", "type=oci,dest=out"]).text(), same, "{when}");
        bench.valid("out");
        // By a clock that runs ahead all is old, by one that is behind all is of a time to come.
        at(when, &["cache", "prune", "--max-age", "12h"]);
        builds(&bench, &same);
    }
    is_whole_and_tidy(&bench);
}
