//! Sixteen builds on one cache at once, of which some are killed: the others don't notice.

use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use ocibuild_testkit::{Output, run};

use crate::bench::Bench;
use crate::project::{Random, builds, cache, expected, is_thorough, is_whole_and_tidy, project};

const PROCESSES: u64 = 16;
const KILLED: u64 = 3;

/// What a process that was not killed has printed.
fn printed(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Starts all processes on an empty cache; kills some of them after a while.
fn episode(seed: u64, projects: &[(Bench, String)]) -> usize {
    let mut random = Random::new(seed);
    let shared = &projects[0].0;
    let _ = std::fs::remove_dir_all(cache(shared));
    let start = |number: u64| {
        let (bench, digest) = &projects[(number % projects.len() as u64) as usize];
        let output = format!("type=oci,dest=out{number}");
        let threads = (1 + number % 3).to_string();
        let mut command = bench.command(&["build", "--output", &output, "--threads", &threads]);
        command.arg("--cache-dir").arg(cache(shared));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().unwrap(), digest)
    };
    let mut running: Vec<_> = (0..PROCESSES).map(start).collect();
    let mut victims = Vec::new();
    for _ in 0..KILLED {
        thread::sleep(Duration::from_millis(random.below(30)));
        let alive = running.iter_mut().enumerate();
        let alive =
            alive.filter_map(|(number, (child, _))| child.try_wait().unwrap().is_none().then_some(number));
        let alive: Vec<usize> = alive.collect();
        let Some(number) = alive.get(random.below(alive.len() as u64) as usize) else { break };
        let (mut victim, _) = running.swap_remove(*number);
        victim.kill().unwrap();
        victims.push(victim);
    }
    for (child, digest) in running {
        let (code, digests, said) = printed(child);
        assert_eq!((code, &digests), (Some(0), digest), "seed {seed}: {said}");
    }
    victims.into_iter().map(|victim| printed(victim).0).filter(Option::is_none).count()
}

#[test]
fn sixteen_builds_share_a_cache_and_three_are_killed() {
    let projects = [1, 2].map(|version| (project(version), expected(version)));
    let seeds = if is_thorough() { 0..6 } else { 0..2 };
    let episodes = seeds.end;
    let mut killed = 0;
    for seed in seeds {
        // Of one project, and of two in turn.
        killed += episode(seed, &projects[..1 + (seed % 2) as usize]);
        for number in 0..PROCESSES {
            for (bench, _) in &projects {
                let layout = format!("out{number}");
                if bench.path(&layout).join("index.json").exists() {
                    bench.valid(&layout);
                }
                let _ = std::fs::remove_dir_all(bench.path(&layout));
            }
        }
        is_whole_and_tidy(&projects[0].0);
        let (bench, digest) = &projects[0];
        let said = builds(bench, digest).errors();
        assert!(said.contains("cache: 3 of 3 layers"), "seed {seed}: {said}");
    }
    assert!(killed > 0, "all were done before they could be killed");
    println!("{episodes} times {PROCESSES} processes: {killed} were killed, the others were right");
}

/// Builds, tidying up and checking beside each other, with builds that are killed.
#[test]
fn builds_are_right_while_others_are_killed_and_tidied_up_after() {
    let (bench, digest) = (project(1), expected(1));
    let mut random = Random::new(1);
    let rounds = if is_thorough() { 30 } else { 8 };
    let check = |output: Output| assert_eq!(output.text(), digest, "{output}");
    for round in 0..rounds {
        thread::scope(|scope| {
            let build = |name: &str| {
                let output = format!("type=oci,dest={name}");
                let mut command = bench.command(&["build", "--output", &output]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command
            };
            let mut victim = build("victim").spawn().unwrap();
            let mut one = build("one");
            let one = scope.spawn(move || run(one.stdout(Stdio::piped())));
            let words = ["--all", "--max-size=1kB", "--max-age=0s"][round % 3];
            let prune = scope.spawn(|| bench.ok(&["cache", "prune", words]));
            thread::sleep(Duration::from_millis(random.below(60)));
            victim.kill().unwrap();
            victim.wait().unwrap();
            check(one.join().unwrap());
            prune.join().unwrap();
        });
        bench.valid("one");
        bench.tree.remove("work/one");
    }
    builds(&bench, &digest);
    is_whole_and_tidy(&bench);
}
