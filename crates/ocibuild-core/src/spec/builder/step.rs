//! Steps made by programs.

use std::time::Duration;

use super::literal;
use crate::oci::Platform;
use crate::spec::{Located, PassEnv, Run, Secret, Step, StepPlatforms, Template, set_pair};

/// One step, in the making. Everything is checked when the spec is made.
///
/// ```
/// use ocibuild_core::oci::Platform;
/// use ocibuild_core::spec::{ImageSpec, LayerSpec, StepSpec};
///
/// let image = ImageSpec::scratch(Platform::linux_amd64())
///     .step(StepSpec::named("compile").run(["cargo", "build"]).input("src").output("target/debug/app"))
///     .layer(LayerSpec::named("app").copy_step("compile", "target/debug/app", "/app"));
/// assert_eq!(image.into_spec()?.steps.len(), 1);
/// # Ok::<(), ocibuild_core::spec::SpecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepSpec {
    pub(super) step: Step,
}

impl StepSpec {
    /// A step of this name that runs nothing yet, which is a fault in the end.
    pub fn named(name: impl Into<String>) -> Self {
        Self { step: Step::new(name.into(), Run::Arguments(Vec::new())) }
    }

    /// Sets the program and its arguments.
    #[must_use]
    pub fn run(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.step.run = Run::Arguments(words.into_iter().map(literal).collect()).into();
        self
    }

    /// Sets the text that is run by `sh -euc`.
    #[must_use]
    pub fn script(mut self, text: impl Into<String>) -> Self {
        self.step.run = Run::Script(Template::literal(text)).into();
        self
    }

    /// Adds what the command sees: a path or a glob, relative to the root; or with a `!` in front,
    /// what of them it doesn't see.
    #[must_use]
    pub fn input(mut self, path: impl Into<String>) -> Self {
        self.step.inputs.get_or_insert_default().push(literal(path));
        self
    }

    /// Says that it reads nothing that changes, so that nobody is warned of it.
    #[must_use]
    pub fn no_inputs(mut self) -> Self {
        self.step.inputs.get_or_insert_default();
        self
    }

    /// Adds what it makes: a file or a directory, relative to the root.
    #[must_use]
    pub fn output(mut self, path: impl Into<String>) -> Self {
        self.step.outputs.push(literal(path));
        self
    }

    /// Adds a step whose outputs the command sees.
    #[must_use]
    pub fn needs(mut self, step: impl Into<String>) -> Self {
        self.step.needs.push(step.into().into());
        self
    }

    /// Sets an environment variable; the last value of a name counts.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        set_pair(&mut self.step.env, name, value);
        self
    }

    /// Lets a variable through from outside.
    #[must_use]
    pub fn pass_env(mut self, variable: PassEnv) -> Self {
        self.step.pass_env.push(variable.into());
        self
    }

    /// Sets the directory the command is started in, relative to the root.
    #[must_use]
    pub fn workdir(mut self, directory: impl Into<String>) -> Self {
        self.step.workdir = Some(literal(directory));
        self
    }

    /// Adds a directory that is kept between runs: relative to the root, or `~/…`.
    #[must_use]
    pub fn cache_dir(mut self, directory: impl Into<String>) -> Self {
        self.step.cache_dirs.push(literal(directory));
        self
    }

    /// Adds what only the command gets to see.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.step.secrets.push(secret);
        self
    }

    /// Adds a command whose output belongs to the key, such as `node --version`.
    #[must_use]
    pub fn tool(mut self, command: impl Into<String>) -> Self {
        self.step.tools.push(command.into().into());
        self
    }

    /// Sets the time a run may take.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.step.timeout = Some(time.into());
        self
    }

    /// Sets how often a command that failed is started again.
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.step.retries = Some(times.into());
        self
    }

    /// Lets it run once for all platforms.
    #[must_use]
    pub fn for_any_platform(mut self) -> Self {
        self.step.platforms = StepPlatforms::Any.into();
        self
    }

    /// Lets it run for these platforms alone.
    #[must_use]
    pub fn for_platforms(mut self, platforms: impl IntoIterator<Item = Platform>) -> Self {
        let platforms = platforms.into_iter().map(Located::from).collect();
        self.step.platforms = StepPlatforms::Only(platforms).into();
        self
    }

    /// Lets it run each time, whatever is known of it.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.step.always = true;
        self
    }

    /// Lets it run in the root itself instead of a private directory.
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.step.in_place = true.into();
        self
    }

    /// Takes the network away from the command.
    #[must_use]
    pub fn no_network(mut self) -> Self {
        self.step.network = false.into();
        self
    }

    /// Keeps the command from the host's files but for the system's programs and libraries.
    #[must_use]
    pub fn sandbox(mut self) -> Self {
        self.step.sandbox = true.into();
        self
    }
}
