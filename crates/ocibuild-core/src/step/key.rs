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
        write_secret(&mut key, secret);
    }
    key.list("tools", tools);
    key.list("tools say", circumstances.tools);
    key.number("in-place", u64::from(*in_place));
    key.number("network", u64::from(*network));
    key.number("sandbox", u64::from(*sandbox));
    key.finish()
}

/// That a secret is there, and under which name; never what it is, nor where it comes from.
fn write_secret(key: &mut KeyWriter, secret: &PlannedSecret) {
    let PlannedSecret { id, from: _, form, target, is_optional: _, span: _ } = secret;
    key.field("secret", id).field("target", target);
    key.field(
        "as",
        match form {
            SecretForm::Env => "env",
            SecretForm::File => "file",
        },
    );
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
