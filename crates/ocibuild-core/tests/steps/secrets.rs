//! Secrets: where they must not be, and are looked for.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;

use ocibuild_core::build::{BuildError, StepFault};
use ocibuild_core::event::Event;
use ocibuild_core::step::StepError;
use ocibuild_core::{Builder, Error};

use crate::project::{Project, all, parse, path};

/// What is searched for; each line by itself as well.
const TOKEN: &str = "canary-9f3b7ae1+d0/c2%5 4e";
const KEY: &str = "-----BEGIN CANARY-----\nZx81kQhonk2Qm3vT77aa\nb0Xq5rUuKcanary55Lw\n-----END CANARY-----\n";

/// Says a secret in all the ways that commands do.
const LOUD: &str = r#"
echo token $NPM_TOKEN "$NPM_TOKEN"; echo "$NPM_TOKEN" >&2; printf %s "$NPM_TOKEN" | base64; printf 'user:%s' "$NPM_TOKEN" | base64 -w0; echo
printf '%s\n' "$NPM_TOKEN" | sed 's/+/%2B/g; s,/,%2F,g; s/%5/%255/; s/ /%20/g'
printf '%s' "$NPM_TOKEN$NPM_TOKEN"; echo; printf %s "$NPM_TOKEN" | cut -c1-13 | tr -d '\n'; printf %s "$NPM_TOKEN" | cut -c14-
cat "$KEY"; base64 "$KEY"; while read -r line; do echo "key: $line"; done < "$KEY"
set -x; test "$NPM_TOKEN" = other || true; set +x
echo "//registry/:_authToken=$NPM_TOKEN" > .npmrc; cp "$KEY" "$HOME/key"; echo "$NPM_TOKEN" > "$TMPDIR/token"; touch "$TMPDIR/$(printf %s "$NPM_TOKEN" | tr / _)"
echo "$NPM_TOKEN" >> in.txt
"#;

/// A project with secrets: a token in the environment, and a key in a file.
fn project() -> Project {
    let project = Project::empty();
    project.write("in.txt", "in\n");
    fs::write(project.ran.path().join("key"), KEY).unwrap();
    project
}

/// A step that says its secrets and then does something, and one that knows none.
fn spec(project: &Project, then: &str, more: &str) -> String {
    let key = project.ran.path().join("key").display().to_string();
    format!(
        "version = 1\n[steps.loud]\nrun = '''{LOUD}\n{then}'''\ninputs = [\"in.txt\"]\noutputs = [\"out\"]\n\
         secrets = [{{ id = \"token\", env = \"NPM_TOKEN\" }}, {{ id = \"key\", file = \"{key}\" }}]\n{more}\n\
         [steps.other]\nneeds = [\"loud\"]\noutputs = [\"environment\"]\n\
         run = \"env | grep -v ^HOME= | grep -v ^TMPDIR= | grep -v ^PWD= > environment; echo\"\n\
         [layers.all]\ncopy = [{{ step = \"loud\", from = \"out\", to = \"/\" }}, {{ step = \"other\", from = \"environment\", to = \"/\" }}]\n\
         [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
    )
}

/// All that a run tells, as its users may have it: as people see it, and as JSON.
#[derive(Default)]
struct Told(Mutex<String>);

impl ocibuild_core::Observer for Told {
    fn event(&self, event: &Event) {
        let mut told = self.0.lock().unwrap();
        told.push_str(&format!("{event:?}\n{}\n", serde_json::to_string(event).unwrap()));
    }
}

fn builder<'a>(project: &'a Project, told: &'a Told) -> Builder<'a> {
    let variable = |name: &str| match name {
        "NPM_TOKEN" => Some(OsString::from(TOKEN)),
        "PATH" => path(),
        _ => None,
    };
    project.builder().environment(variable).observer(told)
}

/// What nobody may find: the values, their lines, and how they look in other clothes.
fn needles() -> Vec<String> {
    use base64::Engine as _;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    let lines = KEY.lines().filter(|line| !line.starts_with("---")).map(str::to_owned);
    let mut all: Vec<String> = lines.collect();
    // The last characters depend on what follows.
    all.push(base64(KEY)[..60].to_owned());
    all.push(base64(TOKEN)[..30].to_owned());
    all.extend([
        TOKEN.to_owned(),
        "canary-9f3b7ae1%2Bd0%2Fc2%255%204e".to_owned(),
        "9f3b7ae1+d0_c2".to_owned(),
    ]);
    all
}

fn search(bytes: &[u8], whence: &str) {
    for needle in needles() {
        let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!found, "{needle} in {whence}");
    }
}

/// Looks through all files below a directory, their names, and what is in them compressed.
fn search_all(directory: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        search(path.as_os_str().as_bytes(), "a name");
        let seen = path.symlink_metadata().unwrap();
        if seen.is_dir() {
            count += search_all(&path);
        } else if seen.is_symlink() {
            search(fs::read_link(&path).unwrap().as_os_str().as_bytes(), "a link");
        } else if seen.is_file() {
            let bytes = fs::read(&path).unwrap();
            search(&bytes, &path.display().to_string());
            let mut plain = Vec::new();
            if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                zstd::stream::read::Decoder::new(&*bytes).unwrap().read_to_end(&mut plain).unwrap();
                count += 1;
            }
            search(&plain, &format!("{} decompressed", path.display()));
        }
    }
    count
}

/// No run leaves a secret in memory, either.
fn nothing_in_memory() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(b"ocibuild-secrets-") {
            for file in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                // Another test's are there for as long as its command runs.
                let bytes = fs::read(file.path()).unwrap_or_default();
                let is_ours = bytes == [KEY, &std::process::id().to_string()].concat().as_bytes();
                assert!(!is_ours, "{}", file.path().display());
            }
        }
    }
}

#[test]
fn a_secret_is_nowhere_but_in_its_command_whatever_becomes_of_that() {
    let endings = [
        ("echo made > out", ""),
        ("echo failing with $NPM_TOKEN; exit 3", ""),
        ("exit 3", "retries = 1"),
        ("echo $NPM_TOKEN; sleep 60", "timeout = \"300ms\""),
        ("kill -9 $$", ""),
        // It makes no output, and something whose name nobody may be told.
        ("touch \"x$NPM_TOKEN\" 2>&1 || touch \"y$(echo \"$NPM_TOKEN\" | tr -d /)\"", ""),
    ];
    for (index, (then, more)) in endings.iter().enumerate() {
        let (project, told) = (project(), Told::default());
        let ended = builder(&project, &told).build_spec(&parse(&spec(&project, then, more)));
        assert_eq!(ended.is_ok(), index == 0, "{then}");
        if let Err(error) = &ended {
            search(all(error).as_bytes(), "the error");
            search(format!("{error:?}").as_bytes(), "all of the error");
        }
        let told = told.0.into_inner().unwrap();
        assert!(told.contains("***"), "it was heard");
        search(told.as_bytes(), "what was told");
        let blobs = search_all(project.cache.path());
        assert_eq!(blobs > 0, index == 0, "{blobs}");
        nothing_in_memory();
        if let Ok(built) = &ended {
            let made = built.steps.iter().find(|step| step.name == "other").unwrap();
            assert!(made.record.layers[0].descriptor.size > 0);
        }
    }
}

#[test]
fn what_a_command_makes_of_a_secret_is_not_kept() {
    let leaks = [
        ("echo \"token=$NPM_TOKEN\" > out", "token", "out"),
        (
            "mkdir -p out/deep; head -c 3000000 /dev/zero > out/deep/er; printf %s \"$NPM_TOKEN\" >> out/deep/er",
            "token",
            "out/deep/er",
        ),
        ("mkdir out; cp \"$KEY\" out/id", "key", "out/id"),
        ("mkdir out; base64 -w0 \"$KEY\" > out/id", "key", "out/id"),
        ("printf 'user:%s' \"$NPM_TOKEN\" | base64 -w0 > out", "token", "out"),
        ("mkdir out; tail -n +2 \"$KEY\" | tr -d '\\n' > out/body", "key", "out/body"),
        ("awk '{printf \"%s\\\\n\", $0}' \"$KEY\" > out", "key", "out"),
        ("mkdir out; ln -s \"$NPM_TOKEN\" out/link", "token", "out/link"),
    ];
    for (then, secret, place) in leaks {
        let (project, told) = (project(), Told::default());
        let failed = builder(&project, &told).build_spec(&parse(&spec(&project, then, ""))).map(drop);
        let Err(Error::Build(BuildError::Steps(failures))) = failed else { panic!("{then}") };
        let StepFault::Directory(StepError::Leak { id, path }) = &failures.failed[0].fault else {
            panic!("{failures:?}")
        };
        assert_eq!((id.as_str(), path.as_str()), (secret, place));
        assert_eq!(search_all(project.cache.path()), 0);
    }
    // A name shows that there is one, and not which.
    let (project, told) = (project(), Told::default());
    let then = "mkdir -p \"out/$NPM_TOKEN\"";
    let failed = builder(&project, &told).build_spec(&parse(&spec(&project, then, ""))).map(drop);
    let error = failed.unwrap_err();
    search(all(&error).as_bytes(), "the error");
    search_all(project.cache.path());
}

#[test]
fn another_step_at_the_same_time_sees_no_secret() {
    let (project, told) = (project(), Told::default());
    let meet = project.ran.path().join("meet").display().to_string();
    // The one with secrets is at work while the other looks at all there is to see for it by `ps`.
    let wait = format!("touch {meet}.one; until test -e {meet}.two; do sleep 0.02; done; echo > out");
    let looks = format!(
        "until test -e {meet}.one; do sleep 0.02; done; env > seen; cat /proc/[0-9]*/cmdline >> seen 2> /dev/null || true; \
         cat /proc/self/environ >> seen; ls -l /proc/self/fd > descriptors; touch {meet}.two"
    );
    let spec = format!(
        "version = 1\n[steps.one]\nrun = '''{wait}'''\noutputs = [\"out\"]\ntimeout = \"20s\"\n\
         secrets = [{{ id = \"token\", env = \"NPM_TOKEN\" }}]\n\
         [steps.two]\nrun = '''{looks}'''\noutputs = [\"seen\", \"descriptors\"]\ntimeout = \"20s\"\n\
         [layers.all]\ncopy = [{{ step = \"one\", from = \"out\", to = \"/\" }}, {{ step = \"two\", from = \"seen\", to = \"/\" }}]\n\
         [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
    );
    builder(&project, &told).jobs(2).build_spec(&parse(&spec)).unwrap();
    assert!(search_all(project.cache.path()) > 0);
}

#[test]
fn a_secret_s_value_runs_nothing_again_and_its_name_does() {
    let project = project();
    let count = |value: &'static str, id: &str| {
        let variable = move |name: &str| match name {
            "TOKEN" => Some(OsString::from(value)),
            "PATH" => path(),
            _ => None,
        };
        let ran = project.log().display().to_string();
        let spec = format!(
            "version = 1\n[steps.one]\nrun = \"echo one >> {ran}; echo > out\"\noutputs = [\"out\"]\n\
             secrets = [{{ id = \"{id}\", env = \"TOKEN\" }}]\n[layers.all]\ncopy = [{{ step = \"one\", from = \"out\", to = \"/\" }}]\n\
             [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
        );
        project.builder().environment(variable).build_spec(&parse(&spec)).unwrap();
        project.ran().len()
    };
    assert_eq!(
        [count("first-value", "a"), count("second-value", "a"), count("second-value", "b")],
        [1, 0, 1]
    );
}
