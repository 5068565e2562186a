//! From the steps of a spec to those that run: of each those platforms that something needs it
//! for, after all that it needs itself.

use std::collections::{BTreeMap, BTreeSet};

use super::expand::Expander;
use super::layer::taken_in_place;
use super::{Command, PassedVariable, PlannedInput, PlannedLayer, PlannedPath, PlannedSecret, PlannedStep};
use crate::oci::Platform;
use crate::pattern::Pattern;
use crate::spec::check::{self, plain};
use crate::spec::places::{self, Place, Places};
use crate::spec::{Fault, Located, Run, Secret, Spec, Step, StepPlatforms, Template};

/// What is planned of the steps of a spec so far.
pub(super) struct Steps<'s> {
    spec: &'s Spec,
    by_name: BTreeMap<&'s str, &'s Step>,
    pub(super) planned: Vec<PlannedStep>,
    /// Where each is among them. Nowhere, if it was at fault.
    places: BTreeMap<(&'s str, Option<Platform>), Option<usize>>,
    pub(super) faults: Vec<Fault>,
}

impl<'s> Steps<'s> {
    pub(super) fn new(spec: &'s Spec) -> Self {
        let by_name = spec.steps.iter().map(|step| (step.name.as_str(), step)).collect();
        Self { spec, by_name, planned: Vec::new(), places: BTreeMap::new(), faults: Vec::new() }
    }

    /// Plans a step, and all it needs, for a platform. `way` says what needs it, for people.
    /// Returns its place, or nothing with a fault noted.
    pub(super) fn plan(
        &mut self,
        name: &Located<String>,
        platform: &Platform,
        way: &[String],
    ) -> Option<usize> {
        let Some(root) = self.by_name.get(name.as_str()).copied() else {
            self.faults.push(Fault::new(format!("there is no step `{}`", name.value), name.span));
            return None;
        };
        // Without recursion: a chain may be as long as a file.
        let mut open: Vec<(&'s Step, usize)> = Vec::new();
        self.open(root, platform, &mut open, way);
        while let Some((step, next)) = open.last_mut() {
            let (step, need) = (*step, step.needs.get(*next));
            *next += 1;
            match need.map(|need| self.by_name.get(need.as_str()).copied()) {
                Some(Some(needed)) => self.open(needed, platform, &mut open, way),
                // A spec that was validated has none that is unknown.
                Some(None) => {}
                None => {
                    open.pop();
                    self.close(step, platform);
                }
            }
        }
        self.places.get(&key(root, platform)).copied().flatten()
    }

    /// Begins with a step, unless that is behind us. One that needs itself is at fault, and is
    /// told by the validation.
    fn open(
        &mut self,
        step: &'s Step,
        platform: &Platform,
        open: &mut Vec<(&'s Step, usize)>,
        way: &[String],
    ) {
        let key = key(step, platform);
        if self.places.contains_key(&key) {
            return;
        }
        self.places.insert(key, None);
        open.push((step, 0));
        let StepPlatforms::Only(list) = &step.platforms.value else { return };
        if list.iter().any(|known| known.value == *platform) {
            return;
        }
        let names = open.iter().map(|(step, _)| format!("step `{}`", step.name.value));
        let way: Vec<String> = way.iter().cloned().chain(names).collect();
        let mut message = format!("step `{}` isn't made for {platform}", step.name.value);
        if way.len() > 1 {
            message.push_str(&format!(", but is needed: {}", way.join(" → ")));
        }
        let hint = format!("add \"{platform}\" to its `platforms`, or need another step there");
        self.faults.push(Fault::new(message, step.platforms.span.or(step.name.span)).hint(hint));
    }

    /// Plans a step whose needs are planned.
    fn close(&mut self, step: &'s Step, platform: &Platform) {
        let needs = step.needs.iter().filter_map(|need| self.by_name.get(need.as_str()));
        let needs: Vec<usize> =
            needs.filter_map(|need| self.places.get(&key(need, platform)).copied().flatten()).collect();
        let platform = (step.platforms.value != StepPlatforms::Any).then_some(platform);
        let mut expander = match platform {
            Some(platform) => Expander::new(&self.spec.vars, platform),
            None => Expander::any(&self.spec.vars),
        };
        let mut planned = plan(step, platform, needs, &mut expander);
        let is_sound = expander.faults.is_empty();
        self.faults.append(&mut expander.faults);
        if is_sound {
            self.faults.extend(clashes(step, &planned, &self.planned));
            leave_out_what_is_made(&mut planned, &self.planned);
        }
        self.places.insert((step.name.as_str(), platform.cloned()), Some(self.planned.len()));
        self.planned.push(planned);
    }

    /// Checks what shows only when all are planned, and names them for people.
    pub(super) fn finish(&mut self, layers: &[PlannedLayer]) {
        self.in_place(layers);
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &self.planned {
            *names.entry(&step.name).or_default() += 1;
        }
        let several: BTreeSet<String> =
            names.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect();
        for step in self.planned.iter_mut().filter(|step| several.contains(&step.name)) {
            if let Some(platform) = &step.platform {
                step.label = format!("{} ({platform})", step.name);
            }
        }
    }

    /// Finds what steps in the root itself make twice, two of them, or one for two platforms; and copies of
    /// that without a step.
    fn in_place(&mut self, layers: &[PlannedLayer]) {
        let mut made: BTreeMap<(&str, &str), &PlannedStep> = BTreeMap::new();
        let mut faults = Vec::new();
        let in_place = || self.planned.iter().filter(|step| step.in_place);
        for (step, output) in
            in_place().flat_map(|step| step.outputs.iter().map(move |output| (step, output)))
        {
            let Some(other) = made.insert((&step.name, &output.path), step) else { continue };
            if let (Some(one), Some(other)) = (&other.platform, &step.platform) {
                let message = format!(
                    "`{}` runs in place and makes `{}` for {one} and {other}",
                    step.name, output.path
                );
                let hint =
                    "put `{arch}` into the path, run it once with `platforms = \"any\"`, or not in place";
                faults.push(Fault::new(message, output.span).hint(hint));
            }
        }
        let own: Vec<(&str, Places)> = in_place().map(|step| (step.name.as_str(), paths(step))).collect();
        let own: Vec<(&str, &Places)> = own.iter().map(|(name, places)| (*name, places)).collect();
        faults.extend(places::in_one_place(&own));
        faults.extend(taken_in_place(layers, &own));
        self.faults.append(&mut faults);
    }
}

/// What a step is known by where something needs it for a platform.
fn key<'s>(step: &'s Step, platform: &Platform) -> (&'s str, Option<Platform>) {
    let is_any = step.platforms.value == StepPlatforms::Any;
    (step.name.as_str(), (!is_any).then(|| platform.clone()))
}

fn plan(
    step: &Step,
    platform: Option<&Platform>,
    needs: Vec<usize>,
    expander: &mut Expander<'_>,
) -> PlannedStep {
    let inputs = step.inputs.iter().flatten().filter_map(|path| input(path, expander)).collect();
    PlannedStep {
        name: step.name.value.clone(),
        label: step.name.value.clone(),
        platform: platform.cloned(),
        run: command(&step.run, expander),
        inputs,
        outputs: step.outputs.iter().filter_map(|path| output(path, expander)).collect(),
        needs,
        env: environment(step, expander),
        pass_env: step
            .pass_env
            .iter()
            .map(|passed| PassedVariable { name: passed.name.clone(), is_keyed: passed.is_keyed })
            .collect(),
        workdir: workdir(step, expander),
        cache_dirs: step.cache_dirs.iter().filter_map(|path| cache_dir(path, expander)).collect(),
        secrets: step.secrets.iter().map(secret).collect(),
        tools: step.tools.iter().map(|tool| tool.value.clone()).collect(),
        timeout: step.timeout.as_ref().map(|timeout| timeout.value),
        retries: step.retries.as_ref().map_or(0, |retries| retries.value),
        always: step.always,
        in_place: step.in_place.value,
        network: step.network.value,
        sandbox: step.sandbox.value,
        span: step.name.span,
    }
}

fn command(run: &Located<Run>, expander: &mut Expander<'_>) -> Command {
    let mut text =
        |template: &Located<Template>| expander.checked(template, check::c_string).unwrap_or_default();
    let command = match &run.value {
        Run::Arguments(words) => Command::Arguments(words.iter().map(text).collect()),
        Run::Script(script) => Command::Script(text(&Located::new(script.clone(), run.span))),
    };
    let is_empty = match &command {
        Command::Arguments(words) => words.first().is_none_or(String::is_empty),
        Command::Script(script) => script.trim().is_empty(),
    };
    if is_empty && expander.faults.is_empty() {
        expander.faults.push(Fault::new("the command is empty", run.span));
    }
    command
}

fn environment(step: &Step, expander: &mut Expander<'_>) -> BTreeMap<String, String> {
    let pair = |(name, value): &(Located<String>, Located<Template>)| {
        Some((name.value.clone(), expander.checked(value, check::c_string)?))
    };
    step.env.iter().filter_map(pair).collect()
}

fn input(path: &Located<Template>, expander: &mut Expander<'_>) -> Option<PlannedInput> {
    let text = expander.checked(path, check::input)?;
    let (text, is_excluded) = match text.strip_prefix('!') {
        Some(excluded) => (excluded.to_owned(), true),
        None => (text, false),
    };
    let pattern = Pattern::parse(&text).ok()?;
    Some(PlannedInput {
        path: text,
        literal: pattern.literal_prefix(),
        glob: Some(pattern).filter(|pattern| is_excluded || pattern.is_glob()),
        is_excluded,
        span: path.span,
    })
}

fn output(path: &Located<Template>, expander: &mut Expander<'_>) -> Option<PlannedPath> {
    let text = expander.checked(path, check::output)?;
    Some(PlannedPath { path: plain(&text), span: path.span })
}

fn workdir(step: &Step, expander: &mut Expander<'_>) -> Option<String> {
    let text = expander.checked(step.workdir.as_ref()?, check::step_directory)?;
    Some(plain(&text)).filter(|path| !path.is_empty())
}

fn cache_dir(path: &Located<Template>, expander: &mut Expander<'_>) -> Option<PlannedPath> {
    let text = expander.checked(path, check::cache_directory)?;
    let plain = match text.strip_prefix("~/") {
        Some(home) => format!("~/{}", plain(home)),
        None => plain(&text),
    };
    Some(PlannedPath { path: plain, span: path.span })
}

fn secret(secret: &Secret) -> PlannedSecret {
    PlannedSecret {
        id: secret.id.value.clone(),
        from: secret.from.value.clone(),
        form: secret.form(),
        target: secret.variable(),
        is_optional: secret.is_optional,
        span: secret.id.span,
    }
}

fn paths(step: &PlannedStep) -> Places {
    let place = |path: &PlannedPath| -> Place { (path.path.clone(), path.span) };
    let inputs = step.inputs.iter().filter(|input| !input.is_excluded);
    Places {
        inputs: inputs.map(|input| (input.path.clone(), input.span)).collect(),
        outputs: step.outputs.iter().map(place).collect(),
        cache_dirs: step.cache_dirs.iter().filter(|dir| !dir.path.starts_with("~/")).map(place).collect(),
    }
}

/// What lies in the same place, now that all paths are known.
fn clashes(step: &Step, planned: &PlannedStep, before: &[PlannedStep]) -> Vec<Fault> {
    let needed: Vec<(&PlannedStep, Places)> =
        planned.needs.iter().map(|need| (&before[*need], paths(&before[*need]))).collect();
    let span = |name: &str| step.needs.iter().find(|need| need.value == name).and_then(|need| need.span);
    let needs: Vec<_> =
        needed.iter().map(|(need, places)| (need.name.as_str(), span(&need.name), places)).collect();
    places::clashes(&paths(planned), &needs)
}

/// Keeps globs and directories from finding what a former run left in the root: what the step
/// makes itself, what it needs, what it keeps.
fn leave_out_what_is_made(step: &mut PlannedStep, before: &[PlannedStep]) {
    let needed = step.needs.iter().flat_map(|need| &before[*need].outputs);
    let kept = step.cache_dirs.iter().filter(|dir| !dir.path.starts_with("~/"));
    let made: BTreeSet<String> =
        step.outputs.iter().chain(needed).chain(kept).map(|path| path.path.clone()).collect();
    let finds = |input: &&PlannedInput, path: &str| match &input.glob {
        Some(glob) => {
            !input.is_excluded && (glob.covers(path.as_bytes()) || glob.may_match_below(path.as_bytes()))
        }
        None => places::is_in(path.as_bytes(), &input.literal),
    };
    for path in made {
        let found = step.inputs.iter().find(|input| finds(input, &path)).map(|input| input.span);
        let Some(span) = found else { continue };
        let escaped = escaped(&path);
        let Ok(pattern) = Pattern::parse(&escaped) else { continue };
        step.inputs.push(PlannedInput {
            path: escaped,
            literal: path.into_bytes(),
            glob: Some(pattern),
            is_excluded: true,
            span,
        });
    }
}

/// The pattern that stands for this very path.
fn escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The steps of a spec by their names.
pub(super) fn by_name(spec: &Spec) -> BTreeMap<&str, &Step> {
    spec.steps.iter().map(|step| (step.name.as_str(), step)).collect()
}

/// The names of these steps, and of all they need.
pub(super) fn closure<'s>(
    steps: &BTreeMap<&'s str, &'s Step>,
    names: impl IntoIterator<Item = &'s str>,
) -> BTreeSet<&'s str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = names.into_iter().collect();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            let needs = steps.get(name).into_iter().flat_map(|step| &step.needs);
            open.extend(needs.map(|need| need.value.as_str()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
