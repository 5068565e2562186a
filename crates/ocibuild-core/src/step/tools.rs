//! What tools say of themselves, so that a step runs again with another version of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::cache::{STEPS_DIRECTORY, TOOLS_NAME, seal, unseal};
use crate::event::{Cancel, Cancelled, Stream};
use crate::key::{Key, KeyWriter};
use crate::own;
use crate::plan::PlannedStep;
use crate::step::environment::path_of;
use crate::step::mask::Masker;
use crate::step::process::{Ending, Process, ProcessError, find};

/// As long as a tool may take to say which it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that a tool may say, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// What notes are called where they are sealed.
const SEALED: &str = "tool";

/// A tool can't say which it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It can't be run.
    #[error("the tool `{tool}` cannot be asked")]
    Process {
        /// The command, as the spec has it.
        tool: String,
        /// Why not.
        #[source]
        source: ProcessError,
    },
    /// It failed.
    #[error("the tool `{tool}` fails: {how}")]
    Failed {
        /// The command, as the spec has it.
        tool: String,
        /// How it ended, and what it said last.
        how: String,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

type Environment = BTreeMap<OsString, OsString>;

/// What a tool printed.
type Answer = Result<Vec<u8>, ToolError>;

/// Asks tools which they are, and remembers the answers for as long as their programs are the same
/// files: a file is known by device, inode, size and both times.
///
/// A script may ask whatever it likes for what it says, and a program in the home directory may stand
/// for others, as those of version managers do: what these say is remembered for no other run.
pub struct Tools<'a> {
    cache: PathBuf,
    /// Another, which is only read.
    below: Option<PathBuf>,
    variables: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
    cancel: &'a Cancel,
}

impl<'a> Tools<'a> {
    /// Asks with the variables that a run was given.
    pub fn new(
        cache: &Path,
        variables: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
        cancel: &'a Cancel,
    ) -> Self {
        Self { cache: cache.to_owned(), below: None, variables, cancel }
    }

    /// Has answers remembered from another cache as well, which is only read.
    #[must_use]
    pub fn over(mut self, cache: Option<&Path>) -> Self {
        self.below = cache.map(Path::to_owned);
        self
    }

    /// Returns what the tools of each step print. A tool is a program's name and its arguments, between
    /// blanks. It is asked with the variables that the step sets or lets through, and without its secrets
    /// and its home. At most `jobs` are asked at once, on threads of their own; whatever several steps ask
    /// is asked once.
    ///
    /// # Errors
    /// The place of the first step that has one which can't be run, or fails, and [`ToolError`].
    pub fn ask(&self, steps: &[PlannedStep], jobs: usize) -> Result<Vec<Vec<Vec<u8>>>, (usize, ToolError)> {
        let mut questions: BTreeMap<(&str, Environment), OnceLock<Answer>> = BTreeMap::new();
        for step in steps.iter().filter(|step| !step.tools.is_empty()) {
            let environment = self.environment(step);
            for tool in &step.tools {
                questions.entry((tool, environment.clone())).or_default();
            }
        }
        self.ask_all(&questions, jobs);
        let mut all = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let environment = if step.tools.is_empty() { Environment::new() } else { self.environment(step) };
            let mut answers = Vec::with_capacity(step.tools.len());
            for tool in &step.tools {
                let question = (tool.as_str(), environment.clone());
                match questions.get(&question).and_then(OnceLock::get).expect("all are asked") {
                    Ok(answer) => answers.push(answer.clone()),
                    Err(_) => {
                        let answer = questions.remove(&question).and_then(OnceLock::into_inner);
                        return Err((index, answer.and_then(Result::err).expect("it is a fault")));
                    }
                }
            }
            all.push(answers);
        }
        Ok(all)
    }

    fn ask_all(&self, questions: &BTreeMap<(&str, Environment), OnceLock<Answer>>, jobs: usize) {
        let left = Mutex::new(questions.iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let ask = || {
            while let Some(((tool, environment), answer)) = next() {
                answer.get_or_init(|| self.recall_or_run(tool, environment));
            }
        };
        std::thread::scope(|threads| {
            for _ in 1..jobs.min(questions.len()) {
                threads.spawn(ask);
            }
            ask();
        });
    }

    fn environment(&self, step: &PlannedStep) -> Environment {
        let own =
            [("PATH", path_of(self.variables)), ("LANG", "C.UTF-8".into()), ("HOME", "/dev/null".into())];
        let mut all: Environment = own.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let passed = step.pass_env.iter().map(|variable| &variable.name);
        all.extend(passed.filter_map(|name| Some((name.into(), (self.variables)(name)?))));
        all.extend(step.env.iter().map(|(name, value)| (name.into(), value.into())));
        all
    }

    fn recall_or_run(&self, tool: &str, environment: &Environment) -> Answer {
        let failed = |source| ToolError::Process { tool: tool.to_owned(), source };
        let argv: Vec<OsString> = tool.split_whitespace().map(OsString::from).collect();
        let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
        let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
        let program = find(name, path, Path::new("/")).map_err(failed)?;
        let identity = identity(&program).filter(|_| self.is_itself(&program));
        let key = identity.map(|identity| key(tool, &program, &identity, environment));
        if let Some(answer) = key.as_ref().and_then(|key| self.recall(key)) {
            return Ok(answer);
        }
        let answer = self.run(tool, argv, environment)?;
        if let Some(key) = key {
            // Where it can't be kept, it is asked again.
            let _ = own::replace(&self.cache, &note(&self.cache, &key), &seal(SEALED, &answer));
        }
        Ok(answer)
    }

    fn recall(&self, key: &Key) -> Option<Vec<u8>> {
        let read = |cache: &PathBuf| {
            let sealed = fs::read(note(cache, key)).ok()?;
            unseal(SEALED, &sealed).map(<[u8]>::to_vec)
        };
        self.below.iter().chain([&self.cache]).find_map(read)
    }

    /// Tells whether what a program says depends on its file, its arguments and variables alone, as far as
    /// one can tell.
    fn is_itself(&self, program: &Path) -> bool {
        let home = (self.variables)("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let is_at_home = home.is_some_and(|home| {
            let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            program.starts_with(&home) || real(program).starts_with(real(&home))
        });
        let mut start = [0; 2];
        let read = File::open(program).and_then(|mut file| file.read_exact(&mut start));
        !is_at_home && read.is_ok() && start != *b"#!"
    }

    fn run(&self, tool: &str, argv: Vec<OsString>, environment: &Environment) -> Answer {
        let process = Process {
            argv,
            environment: environment.clone(),
            directory: "/".into(),
            timeout: Some(PATIENCE),
            masker: Masker::default(),
        };
        let said = Mutex::new(Said::default());
        let ending = process.run(self.cancel, &|stream, line| {
            said.lock().unwrap_or_else(PoisonError::into_inner).hear(stream, line);
        });
        let Said { out, err, last } = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        let how = match ending.map_err(|source| ToolError::Process { tool: tool.to_owned(), source })? {
            Ending::Exited(0) => return Ok([out, err].concat()),
            Ending::Cancelled => return Err(Cancelled.into()),
            Ending::Exited(code) => format!("exit code {code}"),
            Ending::Signalled(signal) => format!("signal {signal}"),
            Ending::TimedOut(after) => format!("not done after {} s", after.as_secs()),
        };
        let how = if last.is_empty() { how } else { format!("{how}: {last}") };
        Err(ToolError::Failed { tool: tool.to_owned(), how })
    }
}

/// Where a cache has what a tool said.
fn note(cache: &Path, key: &Key) -> PathBuf {
    let [steps, version] = STEPS_DIRECTORY;
    cache.join(steps).join(version).join(TOOLS_NAME).join(key.hex())
}

/// What a tool says: each stream by itself, as lines of both come in any order.
#[derive(Default)]
struct Said {
    out: Vec<u8>,
    /// Java and others say their version there.
    err: Vec<u8>,
    last: String,
}

impl Said {
    fn hear(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr || self.last.is_empty() {
            self.last = String::from_utf8_lossy(line).into_owned();
        }
        let said = if stream == Stream::Stderr { &mut self.err } else { &mut self.out };
        if said.len() < MAX_ANSWER {
            said.extend_from_slice(line);
            said.push(b'\n');
        }
    }
}

/// What a program's file is known by, past all links.
fn identity(program: &Path) -> Option<[i128; 6]> {
    let seen = program.metadata().ok()?;
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    Some([
        seen.dev().into(),
        seen.ino().into(),
        seen.size().into(),
        time(seen.mtime(), seen.mtime_nsec()),
        time(seen.ctime(), seen.ctime_nsec()),
        seen.mode().into(),
    ])
}

fn key(tool: &str, program: &Path, identity: &[i128; 6], environment: &Environment) -> Key {
    let mut key = KeyWriter::new("tool", 2);
    key.field("command", tool).field("program", program.as_os_str().as_encoded_bytes());
    for part in identity {
        key.field("identity", part.to_le_bytes());
    }
    for (name, value) in environment {
        key.field("name", name.as_encoded_bytes()).field("value", value.as_encoded_bytes());
    }
    key.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::plan::PassedVariable;
    use crate::step::key::tests::step as some_step;

    struct Room(tempfile::TempDir);

    impl Room {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn script(&self, path: &str, script: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// What a run of its own is told, where homes are `home` in here.
        fn ask(&self, step: &PlannedStep, tool: &str) -> String {
            let answers = self.ask_all(&[PlannedStep { tools: vec![tool.to_owned()], ..step.clone() }], 1);
            String::from_utf8(answers.unwrap().remove(0).remove(0)).unwrap()
        }

        fn ask_all(
            &self,
            steps: &[PlannedStep],
            jobs: usize,
        ) -> Result<Vec<Vec<Vec<u8>>>, (usize, ToolError)> {
            let variables = |name: &str| match name {
                "PATH" => Some(OsString::from("/usr/bin:/bin")),
                "HOME" => Some(self.at("home").into()),
                "SHIM" => Some("passed".into()),
                _ => None,
            };
            let cancel = Cancel::new();
            Tools::new(&self.at("cache"), &variables, &cancel).ask(steps, jobs)
        }

        fn notes(&self) -> usize {
            fs::read_dir(self.at("cache/steps/v1/tools")).map_or(0, Iterator::count)
        }
    }

    fn step(env: &[(&str, &Path)]) -> PlannedStep {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        let pass_env = vec![PassedVariable { name: "SHIM".to_owned(), is_keyed: true }];
        PlannedStep { env, pass_env, ..some_step() }
    }

    #[test]
    fn a_tool_has_the_variables_of_its_step() {
        let room = Room::new();
        room.script("one/version", "echo one $SHIM $HOME");
        room.script("two/version", "echo two $SHIM $HOME");
        let [one, two] = ["one", "two"].map(|name| step(&[("PATH", &room.at(name))]));
        assert_eq!(room.ask(&one, "version"), "one passed /dev/null\n");
        assert_eq!(room.ask(&two, "version"), "two passed /dev/null\n");
        let at_home = step(&[("PATH", &room.at("one")), ("HOME", Path::new("/own"))]);
        assert_eq!(room.ask(&at_home, "version"), "one passed /own\n");
    }

    #[test]
    fn what_a_script_or_a_program_at_home_says_is_asked_each_time() {
        let room = Room::new();
        let path = room.at("home/bin");
        room.script("bin/version", "cat \"${0%/*}/now\"");
        for now in ["1", "2"] {
            fs::write(room.at("bin/now"), now).unwrap();
            assert_eq!(room.ask(&step(&[("PATH", &room.at("bin:/bin"))]), "version").trim(), now);
        }
        fs::create_dir_all(&path).unwrap();
        fs::copy("/bin/echo", path.join("echo")).unwrap();
        symlink(path.join("echo"), room.at("bin/echo")).unwrap();
        for place in [&path, &room.at("bin")] {
            assert_eq!(room.ask(&step(&[("PATH", place)]), "echo 1"), "1\n");
        }
        assert_eq!(room.notes(), 0);
    }

    #[test]
    fn what_a_program_says_is_noted_for_each_environment() {
        let room = Room::new();
        let [one, two] = ["1", "2"].map(|value| step(&[("A", Path::new(value))]));
        for (step, said) in [(&one, "1"), (&two, "2"), (&one, "1")] {
            assert_eq!(room.ask(step, "printenv A").trim(), said);
        }
        assert_eq!(room.notes(), 2);
    }

    #[test]
    fn what_another_cache_has_noted_is_not_asked_and_nothing_is_written_there() {
        let room = Room::new();
        let (cancel, below, own) = (Cancel::new(), room.at("cache"), room.at("own"));
        let step = step(&[("A", Path::new("1"))]);
        let variables = |name: &str| (name == "PATH").then(|| OsString::from("/usr/bin:/bin"));
        let ask = |cache: &Path, below: Option<&Path>, tool: &str| {
            let step = PlannedStep { tools: vec![tool.to_owned()], ..step.clone() };
            let said = Tools::new(cache, &variables, &cancel).over(below).ask(&[step], 1).unwrap();
            let notes = |cache: &Path| fs::read_dir(cache.join("steps/v1/tools")).map_or(0, Iterator::count);
            (String::from_utf8(said[0][0].clone()).unwrap(), notes(&own), notes(&room.at("cache")))
        };
        assert_eq!(ask(&below, None, "printenv A"), ("1\n".to_owned(), 0, 1));
        assert_eq!(ask(&own, Some(&below), "printenv A"), ("1\n".to_owned(), 0, 1));
        assert_eq!(ask(&own, Some(&below), "echo other"), ("other\n".to_owned(), 1, 1));
    }

    #[test]
    fn the_order_of_two_streams_makes_no_difference() {
        let room = Room::new();
        room.script("bin/version", "echo err >&2; sleep 0.1; echo out; sleep 0.1; echo end >&2");
        let path = room.at("bin:/usr/bin:/bin");
        assert_eq!(room.ask(&step(&[("PATH", &path)]), "version"), "out\nerr\nend\n");
    }

    #[test]
    fn tools_are_asked_side_by_side_and_each_once() {
        let room = Room::new();
        let ran = room.at("ran").display().to_string();
        // Each waits for the other.
        let meet = |me: &str, other: &str| {
            let until = format!("until test -e {ran}.{other}; do sleep 0.02; done");
            room.script(
                &format!("bin/{me}"),
                &format!("echo {me} >> {ran}; touch {ran}.{me}; {until}; echo {me}"),
            );
        };
        meet("one", "two");
        meet("two", "one");
        let path = room.at("bin:/usr/bin:/bin");
        let with = |tools: &[&str]| PlannedStep {
            tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
            ..step(&[("PATH", &path)])
        };
        let steps = [with(&["one", "two"]), with(&[]), with(&["two"])];
        let answers = room.ask_all(&steps, 2).unwrap();
        assert_eq!(answers, [vec![b"one\n".to_vec(), b"two\n".to_vec()], vec![], vec![b"two\n".to_vec()]]);
        let ran = fs::read_to_string(room.at("ran")).unwrap();
        assert_eq!(ran.lines().count(), 2, "{ran}");
        room.script("bin/bad", "echo no >&2; exit 3");
        let (index, fault) =
            room.ask_all(&[with(&["one"]), with(&["two", "bad"]), with(&["bad"])], 4).unwrap_err();
        assert_eq!((index, fault.to_string().as_str()), (1, "the tool `bad` fails: exit code 3: no"));
    }
}
