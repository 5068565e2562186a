//! What a step's keys are made of.
//!
//! The *declared* key is made of what the spec says of a step, of its inputs, and of the declared keys of
//! the steps it needs: nothing has to have run to know it. The *realised* key has in their place what
//! those steps made: where one made the same again, whatever needs it needn't run.

use crate::digest::Digest;
use crate::key::{Key, KeyWriter};
use crate::oci::Platform;
use crate::plan::{Command, PlannedSecret, PlannedStep, SecretForm};

/// The version of the fields of all keys, and of what commands find that no field names: the constants
/// of their environment, how inputs are laid out, what is kept of outputs.
const VERSION: u32 = 1;

/// What a step depends on beside what the spec says.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Names the host that runs commands: system, architecture, C library.
    pub host: &'a str,
    /// The digest of what its inputs hold.
    pub inputs: &'a Digest,
    /// The values of the variables that are let through and keyed, in the order of the plan; none where
    /// there is none.
    pub variables: &'a [Option<Vec<u8>>],
    /// What its tools say of themselves, in the order of the plan.
    pub tools: &'a [Vec<u8>],
    /// The optional secrets that aren't there, by what the spec calls them.
    pub absent_secrets: &'a [&'a str],
}

/// Makes the key of a step by itself, whatever it needs. What it is called isn't in it: where two steps
/// do the same, one answers for the other.
#[must_use]
pub fn own_key(step: &PlannedStep, circumstances: Circumstances<'_>) -> Key {
    // Taken apart, so that a field that is added is decided on.
    let PlannedStep {
        name: _,
        label: _,
        platform,
        run,
        inputs: _, // By what they hold.
        outputs,
        needs: _, // With the keys of these.
        env,
        pass_env,
        workdir,
        cache_dirs,
        secrets,
        tools,
        timeout: _, // Neither shows in what a command makes
        retries: _, // that ends well.
        always: _,
        in_place,
        network,
        sandbox,
        span: _,
    } = step;
    let mut key = KeyWriter::new("step", VERSION);
    key.field("host", circumstances.host);
    key.optional("platform", platform.as_ref().map(Platform::to_string));
    match run {
        Command::Arguments(words) => key.list("arguments", words),
        Command::Script(script) => key.field("script", script),
    };
    key.digest("inputs", circumstances.inputs);
    let mut outputs: Vec<&str> = outputs.iter().map(|output| output.path.as_str()).collect();
    outputs.sort_unstable();
    key.list("outputs", outputs);
    key.number("environment", env.len() as u64);
    for (name, value) in env {
        key.field("name", name).field("value", value);
    }
    let keyed = pass_env.iter().filter(|variable| variable.is_keyed);
    key.list("passed", pass_env.iter().map(|variable| &variable.name));
    for (variable, value) in keyed.zip(circumstances.variables) {
        key.field("name", &variable.name).optional("value", value.as_ref());
    }
    key.optional("workdir", workdir.as_ref());
    key.list("cache-dirs", cache_dirs.iter().map(|directory| &directory.path));
    key.number("secrets", secrets.len() as u64);
    for secret in secrets {
        let is_absent = circumstances.absent_secrets.contains(&&*secret.id);
        write_secret(&mut key, secret, is_absent);
    }
    key.list("tools", tools);
    key.list("tools say", circumstances.tools);
    key.number("in-place", u64::from(*in_place));
    key.number("network", u64::from(*network));
    key.number("sandbox", u64::from(*sandbox));
    key.finish()
}

/// Whether a secret is there, and under which name; never what it is, nor where it comes from.
fn write_secret(key: &mut KeyWriter, secret: &PlannedSecret, is_absent: bool) {
    let PlannedSecret { id, from: _, form, target, is_optional: _, span: _ } = secret;
    key.field("secret", id).field("target", target);
    key.field(
        "as",
        match form {
            SecretForm::Env => "env",
            SecretForm::File => "file",
        },
    );
    if is_absent {
        key.number("absent", 1);
    }
}

/// Makes the key of a step out of its own and those of the steps it needs.
#[must_use]
pub fn declared_key(own: &Key, needs: &[Key]) -> Key {
    with_needs("declared", own, needs)
}

/// Makes the key of a step out of its own and what the steps that it needs made: the keys of what that
/// holds.
#[must_use]
pub fn realised_key(own: &Key, made: &[Key]) -> Key {
    with_needs("realised", own, made)
}

fn with_needs(kind: &str, own: &Key, needs: &[Key]) -> Key {
    let mut key = KeyWriter::new(kind, VERSION);
    key.field("step", own.hex()).list("needs", needs.iter().map(Key::hex));
    key.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{PassedVariable, PlannedInput, PlannedPath, SecretSource};
    use crate::spec::Span;

    fn path(path: &str) -> PlannedPath {
        PlannedPath { path: path.to_owned(), span: None }
    }

    fn secret() -> PlannedSecret {
        PlannedSecret {
            id: "npm".to_owned(),
            from: SecretSource::Env("NPM".to_owned()),
            form: SecretForm::Env,
            target: "NPM".to_owned(),
            is_optional: false,
            span: None,
        }
    }

    fn variable(name: &str, is_keyed: bool) -> PassedVariable {
        PassedVariable { name: name.to_owned(), is_keyed }
    }

    pub(in crate::step) fn step() -> PlannedStep {
        PlannedStep {
            name: "compile".to_owned(),
            label: "compile".to_owned(),
            platform: Some(Platform::linux_amd64()),
            run: Command::Arguments(vec!["cc".to_owned(), "a.c".to_owned()]),
            inputs: Vec::new(),
            outputs: vec![path("a"), path("b")],
            needs: vec![0],
            env: [("A".to_owned(), "1".to_owned())].into(),
            pass_env: vec![variable("B", true), variable("C", false)],
            workdir: Some("src".to_owned()),
            cache_dirs: vec![path("~/.cc")],
            secrets: vec![secret()],
            tools: vec!["cc --version".to_owned()],
            timeout: None,
            retries: 0,
            always: false,
            in_place: false,
            network: true,
            sandbox: false,
            span: None,
        }
    }

    const HOST: &str = "linux-x86_64";

    /// The key of a step in usual circumstances.
    fn key(step: &PlannedStep) -> Key {
        let inputs = Digest::of(b"inputs");
        own_key(step, usual(&inputs, &[Some(b"2".to_vec())], &[b"cc 1".to_vec()]))
    }

    fn usual<'a>(
        inputs: &'a Digest,
        variables: &'a [Option<Vec<u8>>],
        tools: &'a [Vec<u8>],
    ) -> Circumstances<'a> {
        Circumstances { host: HOST, inputs, variables, tools, absent_secrets: &[] }
    }

    type Edit = fn(&mut PlannedStep);

    #[test]
    fn what_a_command_can_see_makes_another_key() {
        let edits: [(&str, Edit); 28] = [
            ("platform", |step| step.platform = Some(Platform::linux_arm64())),
            ("any platform", |step| step.platform = None),
            ("another command", |step| {
                step.run = Command::Arguments(vec!["cc".to_owned(), "b.c".to_owned()])
            }),
            ("words cut elsewhere", |step| step.run = Command::Arguments(vec!["cc a.c".to_owned()])),
            ("a script", |step| step.run = Command::Script("cc a.c".to_owned())),
            ("another output", |step| step.outputs[0] = path("c")),
            ("one output less", |step| drop(step.outputs.pop())),
            ("outputs cut elsewhere", |step| step.outputs = vec![path("ab")]),
            ("another value", |step| drop(step.env.insert("A".to_owned(), "2".to_owned()))),
            ("another variable", |step| drop(step.env.insert("D".to_owned(), "1".to_owned()))),
            ("no variable", |step| step.env.clear()),
            ("another passed", |step| step.pass_env[0] = variable("D", true)),
            ("another unkeyed", |step| step.pass_env[1] = variable("D", false)),
            ("unkeyed", |step| step.pass_env[0] = variable("B", false)),
            ("another directory", |step| step.workdir = Some("lib".to_owned())),
            ("no directory", |step| step.workdir = None),
            ("another kept directory", |step| step.cache_dirs[0] = path("~/.ld")),
            ("no kept directory", |step| step.cache_dirs.clear()),
            ("another secret", |step| step.secrets[0].id = "other".to_owned()),
            ("another name of it", |step| step.secrets[0].target = "OTHER".to_owned()),
            ("another form of it", |step| step.secrets[0].form = SecretForm::File),
            ("no secret", |step| step.secrets.clear()),
            ("two secrets", |step| step.secrets.push(secret())),
            ("another question", |step| step.tools[0] = "cc -v".to_owned()),
            ("no tool", |step| step.tools.clear()),
            ("in place", |step| step.in_place = true),
            ("no network", |step| step.network = false),
            ("a sandbox", |step| step.sandbox = true),
        ];
        let mut keys = vec![key(&step())];
        for (what, edit) in edits {
            let mut edited = step();
            edit(&mut edited);
            let key = key(&edited);
            assert!(!keys.contains(&key), "{what}");
            keys.push(key);
        }
    }

    #[test]
    fn what_no_command_can_see_makes_the_same_key() {
        let span = || Some(Span { start: 1, end: 2 });
        let edits: [(&str, Edit); 10] = [
            ("its name", |step| step.name = "other".to_owned()),
            ("its label", |step| step.label = "other".to_owned()),
            ("how inputs are named: what they hold counts", |step| {
                step.inputs = vec![PlannedInput {
                    path: "a.c".to_owned(),
                    literal: b"a.c".to_vec(),
                    glob: None,
                    is_excluded: false,
                    span: None,
                }];
            }),
            ("the order of outputs", |step| step.outputs.reverse()),
            ("places of needs: their keys count", |step| step.needs = vec![1]),
            ("where a secret comes from", |step| step.secrets[0].from = SecretSource::File("npm".to_owned())),
            ("whether a secret may be missing", |step| step.secrets[0].is_optional = true),
            ("how long it may take", |step| step.timeout = Some(Duration::from_secs(1))),
            ("how often it is tried", |step| step.retries = 3),
            ("that it runs always: it is asked for by no key", |step| step.always = true),
        ];
        for (what, edit) in edits {
            let mut edited = step();
            edit(&mut edited);
            assert_eq!(key(&edited), key(&step()), "{what}");
        }
        let mut placed = step();
        (placed.span, placed.outputs[0].span, placed.secrets[0].span) = (span(), span(), span());
        assert_eq!(key(&placed), key(&step()), "where the spec has it");
    }

    #[test]
    fn each_circumstance_makes_another_key() {
        let [inputs, others] = [b"inputs", b"others"].map(|bytes| Digest::of(bytes));
        let (value, tools) = ([Some(b"2".to_vec())], [b"cc 1".to_vec()]);
        let usual = usual(&inputs, &value, &tools);
        let all = [
            usual,
            Circumstances { host: "linux-aarch64", ..usual },
            Circumstances { inputs: &others, ..usual },
            Circumstances { variables: &[Some(b"3".to_vec())], ..usual },
            Circumstances { variables: &[Some(Vec::new())], ..usual },
            Circumstances { variables: &[None], ..usual },
            Circumstances { tools: &[b"cc 2".to_vec()], ..usual },
            Circumstances { absent_secrets: &["npm"], ..usual },
        ];
        let keys: Vec<Key> = all.iter().map(|circumstances| own_key(&step(), *circumstances)).collect();
        let distinct: std::collections::BTreeSet<&Key> = keys.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn needs_count_in_their_order_and_by_the_kind_of_their_keys() {
        let own = key(&step());
        let [a, b] = ["a", "b"].map(|name| KeyWriter::new(name, 1).finish());
        let keys = [
            declared_key(&own, &[]),
            declared_key(&own, &[a]),
            declared_key(&own, &[a, b]),
            declared_key(&own, &[b, a]),
            declared_key(&a, &[own]),
            realised_key(&own, &[]),
            realised_key(&own, &[a]),
        ];
        let distinct: std::collections::BTreeSet<&Key> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
