//! What a spec can say of a step, each shown by what runs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Mutex;

use ocibuild_core::build::{BuildError, FinishedStep};
use ocibuild_core::event::{Cancel, Event};
use ocibuild_core::plan::plan_steps;
use ocibuild_core::step::InPlace;
use ocibuild_core::{Builder, Error};

use crate::project::{Project, all, one, parse, path};

fn runs(project: &Project, spec: &str) -> usize {
    project.build(spec).1.len()
}

#[test]
fn in_place_it_runs_in_the_root_and_leaves_there_what_it_makes() {
    let project = Project::empty();
    project.write("in.txt", "1");
    let spec = one(&project, "cat in.txt undeclared.txt > out", "inputs = [\"in.txt\"]\nin-place = true");
    project.write("undeclared.txt", "2");
    assert_eq!([runs(&project, &spec), runs(&project, &spec)], [1, 0]);
    assert_eq!(fs::read_to_string(project.root.path().join("out")).unwrap(), "12");
    project.write("in.txt", "3");
    assert_eq!(runs(&project, &spec), 1);
    // One that changes what it is made of is caught at it.
    let spec = one(&project, "date +%N > in.txt; echo > out", "inputs = [\"in.txt\"]\nin-place = true");
    assert!(all(&project.fails(&spec)).contains("its inputs changed after they were looked at"));
}

#[test]
fn in_place_one_step_runs_at_a_time_whoever_starts_them() {
    let project = Project::empty();
    let spec = |name: &str| {
        let run = "echo begin >> $RAN; sleep 0.3; echo end >> $RAN";
        let more = "in-place = true\ninputs = []\npass-env = [{ name = \"RAN\", unkeyed = true }]";
        format!("version = 1\n[steps.{name}]\nrun = \"{run}\"\n{more}\n")
    };
    // The other comes to it by a link, and with another cache.
    let other = tempfile::tempdir().unwrap();
    let link = project.ran.path().join("link");
    std::os::unix::fs::symlink(project.root.path(), &link).unwrap();
    let ran = OsString::from(project.log());
    let variable = |name: &str| if name == "RAN" { Some(ran.clone()) } else { path() };
    let told = Warnings::default();
    let run = |root: &Path, cache: &Path, name: &str, cancel: &Cancel| {
        let builder = Builder::new(root, cache).environment(variable);
        let builder = builder.observer(&told).cancel(cancel.clone());
        let plan = plan_steps(&parse(&spec(name)), "app", &[name.to_owned()], &[], &builder).unwrap();
        builder.run_steps(&plan, &[0]).map(drop)
    };
    let cancel = Cancel::new();
    std::thread::scope(|threads| {
        let one = threads.spawn(|| run(project.root.path(), project.cache.path(), "one", &cancel));
        let two = threads.spawn(|| run(&link, other.path(), "two", &cancel));
        assert!(one.join().unwrap().is_ok() && two.join().unwrap().is_ok());
    });
    let text = fs::read_to_string(project.log()).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), ["begin", "end", "begin", "end"]);
    let told = told.0.into_inner().unwrap();
    assert!(told.len() == 1 && told[0].contains("waits for another"), "{told:?}");
}

#[test]
fn who_waits_for_the_checkout_can_be_stopped() {
    let project = Project::empty();
    let cancel = Cancel::new();
    let taken = InPlace::take(project.root.path(), &cancel, &|| {}).unwrap();
    let stopped = std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            cancel.cancel();
        });
        let spec = one(&project, "echo > out", "inputs = []\nin-place = true");
        project.builder().cancel(cancel.clone()).build_spec(&parse(&spec)).map(drop)
    });
    assert!(matches!(stopped, Err(Error::Build(BuildError::Cancelled(_)))), "{stopped:?}");
    drop(taken);
    assert_eq!(project.ran().len(), 0);
}

/// What is warned of.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl ocibuild_core::Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            self.0.lock().unwrap().push(warning.message.clone());
        }
    }
}

#[test]
fn always_runs_each_time_and_stops_the_wave_where_it_makes_the_same() {
    let project = Project::empty();
    let ran = project.log().display().to_string();
    let more = format!(
        "always = true\n[steps.two]\nneeds = [\"one\"]\nrun = \"echo two >> {ran}; cp out two\"\noutputs = [\"two\"]\n\
         [layers.two]\ncopy = [{{ step = \"two\", from = \"two\", to = \"/\" }}]"
    );
    let spec = one(&project, "echo same > out", &more).replace("[\"all\"]\n", "[\"all\", \"two\"]\n");
    assert_eq!(project.build(&spec).1, ["one", "two"]);
    assert_eq!(project.build(&spec).1, ["one"]);
}

#[test]
fn a_step_runs_for_each_platform_or_once_or_for_those_it_names() {
    let two = |spec: String| {
        spec.replace(
            "base = \"scratch\"",
            "base = \"scratch\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]",
        )
    };
    let run = "echo ${OCIBUILD_PLATFORM-none} > out";
    let project = Project::empty();
    let each = two(one(&project, run, ""));
    assert_eq!([runs(&project, &each), runs(&project, &each)], [2, 0]);
    let any = two(one(&project, run, "platforms = \"any\""));
    assert_eq!([runs(&project, &any), runs(&project, &any)], [1, 0]);
    let named = two(one(&project, run, "platforms = [\"linux/amd64\"]"));
    let error = all(&project.fails(&named));
    assert!(error.contains("one") && error.contains("linux/arm64"), "{error}");
    let spec = parse(&one(&project, run, ""));
    let plan =
        plan_steps(&spec, "app", &["one".to_owned()], &["linux/arm64".parse().unwrap()], &project.builder());
    let steps = project.builder().run_steps(&plan.unwrap(), &[0]).unwrap().steps;
    assert_eq!((steps.len(), project.ran().len()), (1, 0), "the image's answers for it");
}

#[test]
fn retries_are_as_many_as_the_spec_says() {
    let project = Project::empty();
    let again = project.ran.path().join("again").display().to_string();
    let run =
        format!("echo x >> {again}; test $(wc -l < {again}) -ge 3; test ! -e left; touch left; echo > out");
    let retried = |retries: u32| one(&project, &run, &format!("retries = {retries}"));
    assert!(all(&project.fails(&retried(1))).contains("exit code 1"));
    assert_eq!(project.ran().len(), 2);
    fs::remove_file(&again).unwrap();
    assert_eq!(runs(&project, &retried(5)), 3);
}

#[test]
fn another_version_of_a_tool_runs_it_again_and_a_script_is_asked_each_time() {
    let project = Project::empty();
    let tools = tempfile::tempdir().unwrap();
    let asked = project.ran.path().join("asked");
    let install = |version: &str| {
        let new = tools.path().join("new");
        fs::write(&new, format!("#!/bin/sh\necho >> {}\necho {version}\n", asked.display())).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, tools.path().join("compiler")).unwrap();
    };
    let spec = parse(&one(&project, "compiler > out", "tools = [\"compiler --version\"]"));
    let build = || {
        let variable = |name: &str| {
            let path = [tools.path().as_os_str(), &path().unwrap()].join(&OsString::from(":"));
            (name == "PATH").then_some(path)
        };
        let before = fs::read_to_string(&asked).unwrap_or_default().len();
        project.builder().environment(variable).build_spec(&spec).unwrap();
        let runs = project.ran().len();
        // A run asks once for itself.
        (runs, fs::read_to_string(&asked).unwrap().len() - before - runs)
    };
    install("1");
    assert_eq!([build(), build()], [(1, 1), (0, 1)]);
    install("2");
    assert_eq!([build(), build()], [(1, 1), (0, 1)]);
    // A newer file that says the same.
    install("2");
    assert_eq!(build(), (0, 1));
}

#[test]
fn variables_that_are_let_through_run_it_again_unless_they_are_unkeyed() {
    let project = Project::empty();
    let more = "pass-env = [\"KEYED\", { name = \"UNKEYED\", unkeyed = true }]";
    let spec = parse(&one(&project, "echo ${KEYED-none} ${UNKEYED-none} ${OTHER-none} > out", more));
    let build = |keyed: Option<&'static str>, unkeyed: &'static str| {
        let variable = move |name: &str| match name {
            "KEYED" => keyed.map(OsString::from),
            "UNKEYED" | "OTHER" => Some(unkeyed.into()),
            "PATH" => path(),
            _ => None,
        };
        project.builder().environment(variable).build_spec(&spec).unwrap();
        project.ran().len()
    };
    let runs = [
        build(None, "1"),
        build(None, "2"),
        build(Some(""), "2"),
        build(Some("a"), "2"),
        build(Some("a"), "3"),
    ];
    assert_eq!(runs, [1, 0, 1, 1, 0]);
    assert_eq!(build(None, "4"), 0, "as before");
    let outputs = project.cache.path().join("outputs/v1");
    let mut made: Vec<String> = fs::read_dir(outputs)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path().join("tree/out")).unwrap())
        .collect();
    made.sort();
    assert_eq!(made, ["2 none\n", "a 2 none\n", "none 1 none\n"]);
}

#[test]
fn directories_are_kept_between_runs_shared_and_locked() {
    let project = Project::empty();
    let step = |name: &str| {
        format!(
            "[steps.{name}]\nrun = '''mkdir \"$HOME/.tool/busy\"; sleep 0.2; echo {name} >> $HOME/.tool/all; echo {name} >> mine/all; \
             cp $HOME/.tool/all {name}; cp mine/all {name}-mine; rmdir $HOME/.tool/busy'''\n\
             inputs = [\"in.txt\"]\ncache-dirs = [\"~/.tool\", \"mine\"]\noutputs = [\"{name}\", \"{name}-mine\"]\n"
        )
    };
    let spec = parse(&format!("version = 1\n{}{}", step("a"), step("b")));
    let run = || {
        let builder = project.builder().jobs(2);
        let plan = plan_steps(&spec, "test", &["a".to_owned(), "b".to_owned()], &[], &builder).unwrap();
        builder.run_steps(&plan, &[0, 1]).unwrap_or_else(|error| panic!("{}", all(&error)))
    };
    let lines = |name: &str| -> Vec<usize> {
        let trees = fs::read_dir(project.cache.path().join("outputs/v1")).unwrap();
        let texts =
            trees.filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("tree").join(name)).ok());
        let mut counts: Vec<usize> = texts.map(|text| text.lines().count()).collect();
        counts.sort_unstable();
        counts
    };
    project.write("in.txt", "1");
    run();
    project.write("in.txt", "2");
    // Two runs at once take turns.
    std::thread::scope(|scope| {
        let all = [scope.spawn(run), scope.spawn(run)];
        all.into_iter().for_each(|one| drop(one.join().unwrap()));
    });
    let [a, b] = [lines("a"), lines("b")];
    let mut seen = [a.clone(), b.clone()].concat();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), a.len() + b.len(), "each found what all before it left: {a:?} {b:?}");
    assert_eq!(lines("a-mine")[..2], [1, 2]);
}

#[test]
fn what_is_excluded_is_not_seen_and_what_matches_nothing_is_a_fault() {
    let project = Project::empty();
    project.write("src/a.ts", "a");
    project.write("src/a.test.ts", "test");
    let spec = one(&project, "ls src > out", "inputs = [\"src/**\", \"!**/*.test.ts\"]");
    assert_eq!(runs(&project, &spec), 1);
    project.write("src/a.test.ts", "edited");
    project.write("src/b.test.ts", "new");
    assert_eq!(runs(&project, &spec), 0);
    project.write("src/b.ts", "new");
    assert_eq!(runs(&project, &spec), 1);
    for inputs in ["lib/**", "gone.txt", "src/*.css"] {
        let spec = one(&project, "echo > out", &format!("inputs = [\"src/a.ts\", \"{inputs}\"]"));
        let error = all(&project.fails(&spec));
        assert!(error.contains(inputs.trim_end_matches("/**")) && error.contains("one"), "{error}");
        assert!(project.ran().is_empty());
    }
}

#[test]
fn an_output_that_is_not_made_is_told_with_what_there_is_instead() {
    let project = Project::empty();
    let spec = one(&project, "mkdir dist; touch dist/index.js", "").replace("\"out\"", "\"dist/main.js\"");
    let error = project.fails(&spec);
    assert!(all(&error).contains("it made no `dist/main.js`"), "{}", all(&error));
    assert!(format!("{error:?}").contains("index.js"));
}

/// Everything that shows of a tree's files, but for times and numbers.
fn shown(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = vec![root.to_owned()];
    while let Some(path) = next.pop() {
        let seen = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let what = if seen.is_dir() {
            next.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::from("directory")
        } else if seen.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            format!("{:?}", fs::read(&path).unwrap())
        };
        all.push(format!("{name:?} {:o} {what}", seen.mode() & 0o7777));
    }
    all.sort();
    all
}

#[test]
fn what_was_made_comes_back_as_it_was() {
    let project = Project::empty();
    let run = "mkdir -p out/empty out/deep; printf x > out/program; chmod 755 out/program; printf 'a\\0b' > out/private; chmod 600 out/private; \
               ln out/program out/deep/same; ln -s ../private out/deep/link; ln -s nowhere out/dangling; chmod 750 out/deep; : > \"out/a name\"; \
               head -c 3000000 /dev/zero > out/zeros";
    let ran = project.log().display().to_string();
    let more = format!(
        "[steps.two]\nneeds = [\"one\"]\ninputs = [\"in.txt\"]\nrun = \"echo two >> {ran}; ls -lR out; cat out/program > two\"\noutputs = [\"two\"]\n\
         [layers.two]\ncopy = [{{ step = \"two\", from = \"two\", to = \"/\" }}]"
    );
    project.write("in.txt", "1");
    let spec = one(&project, run, &more).replace("[\"all\"]\n", "[\"all\", \"two\"]\n");
    let (built, _) = project.build(&spec);
    assert_eq!(built.steps.len(), 2);
    let tree = || {
        let trees = fs::read_dir(project.cache.path().join("outputs/v1")).unwrap();
        let mut trees = trees.map(|entry| entry.unwrap().path().join("tree"));
        trees.find(|tree| tree.join("out").exists()).unwrap()
    };
    let made = shown(&tree());
    assert!(made.len() >= 10, "{made:#?}");
    fs::remove_dir_all(project.cache.path().join("outputs")).unwrap();
    project.write("in.txt", "2");
    let restored = Mutex::new(0);
    let observer =
        |event: &Event| *restored.lock().unwrap() += u32::from(matches!(event, Event::StepRestored { .. }));
    project.builder().observer(&observer).build_spec(&parse(&spec)).unwrap();
    assert_eq!((project.ran(), restored.into_inner().unwrap()), (vec!["two".to_owned()], 1));
    assert_eq!(shown(&tree()), made);
}

#[test]
fn a_clean_environment_has_what_the_documentation_says() {
    let project = Project::empty();
    let spec = one(&project, "env | cut -d= -f1 | sort > out; ls -A >> out", "env = { MINE = \"1\" }");
    project.build(&spec);
    let tree = fs::read_dir(project.cache.path().join("outputs/v1")).unwrap().next().unwrap().unwrap();
    let text = fs::read_to_string(tree.path().join("tree/out")).unwrap();
    let names: Vec<&str> =
        text.lines().filter(|name| !matches!(*name, "_" | "SHLVL" | "PWD" | "OLDPWD")).collect();
    let expected =
        ["HOME", "LANG", "MINE", "OCIBUILD_PLATFORM", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ", "out"];
    assert_eq!(names, expected);
}

#[test]
fn an_empty_directory_is_an_output_and_a_link_is_none() {
    let project = Project::empty();
    let ran = project.log().display().to_string();
    let more = format!(
        "[steps.two]\nneeds = [\"one\"]\nrun = \"echo two >> {ran}; ls -d out > two\"\noutputs = [\"two\"]\n\
         [layers.two]\ncopy = [{{ step = \"two\", from = \"two\", to = \"/\" }}]"
    );
    let two = |spec: String| {
        spec.replace("[\"all\"]\n", "[\"all\", \"two\"]\n")
            .replace("to = \"/out\"", "to = \"/out\", allow-empty = true")
    };
    let spec = two(one(&project, "mkdir out", &more));
    let (_, ran) = project.build(&spec);
    assert_eq!(ran, ["one", "two"], "what needs it sees it");
    let error = project.fails(&one(&project, "mkdir real; ln -s real out", ""));
    assert!(all(&error).contains("its output `out` is a symbolic link"), "{}", all(&error));
}

#[test]
fn an_umask_does_not_show_in_what_was_made() {
    let project = Project::empty();
    let made = |umask: &str| {
        let spec = one(
            &project,
            &format!("umask {umask}; mkdir out; echo a > out/a; echo b > out/b; chmod u+x out/b"),
            "",
        );
        project.build(&spec).0.steps[0].record.content
    };
    assert_eq!(made("022"), made("077"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_keeps_its_capabilities_from_step_to_step() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    if !rustix::process::geteuid().is_root() {
        // Nobody else may give any.
        return;
    }
    let project = Project::empty();
    project.write("tool", "program");
    // `cap_net_bind_service=ep`, as the kernel stores it.
    let value = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::set_permissions(project.root.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    setxattr(project.root.path().join("tool"), "security.capability", &value, XattrFlags::empty()).unwrap();
    let spec = "version = 1\n[steps.one]\nrun = \"mv tool one\"\ninputs = [\"tool\"]\noutputs = [\"one\"]\n\
                [steps.two]\nrun = \"mv one two\"\nneeds = [\"one\"]\noutputs = [\"two\"]\n";
    let spec = parse(spec);
    let builder = project.builder();
    let plan = builder.plan_steps(&spec, &["two".to_owned()], &[]).unwrap();
    let kept = Mutex::new(Vec::new());
    let deliver = |_: &FinishedStep, made: &Path| {
        let mut read = [0; 64];
        let size = getxattr(made.join("two"), "security.capability", &mut read).unwrap();
        kept.lock().unwrap().extend_from_slice(&read[..size]);
    };
    builder.deliver_steps(&plan, &[plan.steps.len() - 1], &deliver).unwrap();
    assert_eq!(kept.into_inner().unwrap(), value);
}

#[test]
fn a_cache_by_a_relative_path_is_as_good() {
    // Relative to the directory of the test's process, which nothing changes.
    let project = Project::empty();
    let cache = tempfile::Builder::new().prefix(".cache-").tempdir_in(".").unwrap();
    let relative = Path::new(cache.path().file_name().unwrap());
    let spec = one(&project, "test -d $HOME; test -d $TMPDIR; mktemp > /dev/null; echo > out", "");
    project
        .builder_with(relative)
        .build_spec(&parse(&spec))
        .unwrap_or_else(|error| panic!("{}", all(&error)));
    assert_eq!(project.ran(), ["one"]);
}

#[test]
fn a_pool_of_one_thread_that_waits_for_steps_gets_on() {
    let project = Project::empty();
    let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let spec = parse(&one(&project, "echo > out", ""));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pool.install(|| {
                let built = project.builder().pool(std::sync::Arc::clone(&pool)).build_spec(&spec);
                sender.send(built.is_ok()).unwrap();
            });
        });
        assert!(receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap());
    });
}
