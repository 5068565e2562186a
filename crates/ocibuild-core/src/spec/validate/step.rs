//! Steps: each by itself, and the graph they make.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{literal, unique, unique_templates};
use crate::pattern::Pattern;
use crate::spec::check::plain;
use crate::spec::log::Log;
use crate::spec::places::{self, Place, Places};
use crate::spec::{
    CopyKind, CopyRule, Fault, FromRule, Located, Run, Secret, SecretSource, Spec, Step, StepPlatforms,
    Template, check,
};

/// The most times a command is started again.
const MAX_RETRIES: u32 = 100;

/// Checks all steps, and the copies of what they make.
pub(super) fn steps(spec: &Spec, log: &mut Log) {
    unique(spec.steps.iter().map(|step| &step.name), "step", "is defined", log);
    let by_name: BTreeMap<&str, (&Step, Places)> =
        spec.steps.iter().map(|step| (step.name.as_str(), (step, literals(step)))).collect();
    for one in &spec.steps {
        log.within(format!("step `{}`", one.name.value), |log| {
            step(one, log);
            needs(one, &by_name, log);
        });
    }
    cycles(spec, log);
    let in_place = by_name.iter().filter(|(_, (step, _))| step.in_place.value);
    let in_place: Vec<(&str, &Places)> = in_place.map(|(name, (_, places))| (*name, places)).collect();
    places::in_one_place(&in_place).into_iter().for_each(|fault| log.report(fault));
    for layer in &spec.layers {
        for (index, rule) in layer.copies.iter().enumerate() {
            let CopyKind::From(from) = &rule.what else { continue };
            let place = format!("layer `{}`, copy {}", layer.name.value, index + 1);
            log.within(place, |log| match &from.step {
                Some(step) => copy(rule, step, &by_name, log),
                None => taken(from, &in_place).into_iter().for_each(|fault| log.report(fault)),
            });
        }
    }
}

fn step(step: &Step, log: &mut Log) {
    log.accept(check::name(&step.name), step.name.span);
    run(&step.run, log);
    let inputs = step.inputs.as_deref().unwrap_or_default();
    inputs.iter().for_each(|input| literal(input, check::input, log));
    step.outputs.iter().for_each(|output| literal(output, check::output, log));
    step.workdir.iter().for_each(|workdir| literal(workdir, check::step_directory, log));
    step.cache_dirs.iter().for_each(|dir| literal(dir, check::cache_directory, log));
    unique_templates(inputs, "input is listed twice", log);
    unique_templates(&step.outputs, "output is listed twice", log);
    unique_templates(&step.cache_dirs, "directory is listed twice", log);
    unique(step.tools.iter(), "tool", "is listed", log);
    for tool in &step.tools {
        log.accept(check::tool(tool), tool.span);
    }
    step.secrets.iter().for_each(|one| secret(one, log));
    variables(step, log);
    numbers(step, log);
    platforms(&step.platforms, log);
    if step.in_place.value && step.sandbox.value {
        let fault = Fault::new("`in-place` and `sandbox` exclude each other", step.sandbox.span);
        log.report(fault.hint("leave out `in-place`: a sandbox shows the command a directory of its own"));
    }
    if let Some(need) = step.needs.first().filter(|_| step.in_place.value) {
        let fault = Fault::new("a step in place sees nothing of what other steps make", need.span);
        log.report(fault.hint("leave out `in-place`, or `needs`: nothing is put into the root"));
    }
    if step.inputs.is_none() && step.needs.is_empty() && !step.always {
        let message =
            format!("step `{}` has no inputs: once it has run, it never runs again", step.name.value);
        let hint = "list what it reads in `inputs`, or write `inputs = []` if that is meant";
        log.warn(Fault::new(message, step.name.span).hint(hint));
    }
}

fn run(run: &Located<Run>, log: &mut Log) {
    let is_blank = |template: &Template| template.as_literal().is_some_and(|text| text.trim().is_empty());
    let (is_empty, texts) = match &run.value {
        Run::Arguments(words) => {
            let is_empty = words.first().is_none_or(|program| is_blank(program));
            (is_empty, words.clone())
        }
        Run::Script(text) => (is_blank(text), vec![Located::new(text.clone(), run.span)]),
    };
    if is_empty {
        let fault = Fault::new("the command is empty", run.span);
        log.report(
            fault.hint("write a list of words, [\"npm\", \"ci\"], or a string for the shell, \"npm ci\""),
        );
    }
    texts.iter().for_each(|text| literal(text, check::c_string, log));
}

fn secret(secret: &Secret, log: &mut Log) {
    log.accept(check::name(&secret.id), secret.id.span);
    match &secret.from.value {
        SecretSource::Env(name) => log.accept(check::env_name(name), secret.from.span),
        SecretSource::File(path) => log.accept(check::secret_file(path), secret.from.span),
    };
}

/// Checks what the command's environment is made of: a name has one value.
fn variables(step: &Step, log: &mut Log) {
    for (name, value) in &step.env {
        log.accept(check::step_variable(name), name.span);
        literal(value, check::c_string, log);
    }
    let env = step.env.iter().map(|(name, _)| (name.value.clone(), name.span));
    let passed = step.pass_env.iter().map(|passed| (passed.name.clone(), passed.span));
    let secrets = step.secrets.iter().map(|secret| {
        let named = secret.target.as_ref().and_then(|target| target.span);
        (secret.variable(), named.or(secret.from.span))
    });
    let mut seen = BTreeSet::new();
    for (name, span) in passed.clone().chain(secrets.clone()) {
        log.accept(check::step_variable(&name), span);
    }
    for (name, span) in env.chain(passed).chain(secrets) {
        if !seen.insert(name.clone()) {
            let fault = Fault::new(format!("variable `{}` is set twice", name.escape_debug()), span);
            log.report(fault.hint("`env`, `pass-env` and `secrets` set variables: let one of them set it"));
        }
    }
}

fn numbers(step: &Step, log: &mut Log) {
    if let Some(timeout) = step.timeout.as_ref().filter(|timeout| timeout.value == Duration::ZERO) {
        let fault = Fault::new("a step can't run in no time", timeout.span);
        log.report(fault.hint("leave `timeout` out for as long as it takes"));
    }
    if let Some(retries) = step.retries.as_ref().filter(|retries| retries.value > MAX_RETRIES) {
        log.report(Fault::new(format!("`retries` is from 0 to {MAX_RETRIES}"), retries.span));
    }
}

fn platforms(platforms: &Located<StepPlatforms>, log: &mut Log) {
    let StepPlatforms::Only(list) = &platforms.value else { return };
    if list.is_empty() {
        let fault = Fault::new("the step is for no platform", platforms.span);
        log.report(fault.hint("leave `platforms` out for those of the images that need it"));
    }
    let mut seen = BTreeSet::new();
    for platform in list.iter().filter(|platform| !seen.insert(&platform.value)) {
        log.report(Fault::new(format!("platform `{}` is listed twice", platform.value), platform.span));
    }
}

/// Checks that what it needs is there, and that nothing of it lies in the same place.
fn needs(step: &Step, by_name: &BTreeMap<&str, (&Step, Places)>, log: &mut Log) {
    unique(step.needs.iter(), "step", "is needed", log);
    let mut found = Vec::with_capacity(step.needs.len());
    for need in &step.needs {
        match by_name.get(need.as_str()) {
            Some((known, places)) => {
                any_needs_any(step, known, need, log);
                // That it needs itself is told by itself.
                if known.name != step.name {
                    found.push((need.as_str(), need.span, places));
                }
            }
            None => unknown(need, by_name, log),
        }
    }
    let Some((_, own)) = by_name.get(step.name.as_str()) else { return };
    places::clashes(own, &found).into_iter().for_each(|fault| log.report(fault));
}

/// What runs once for all platforms can't see what is made for one.
fn any_needs_any(step: &Step, needed: &Step, need: &Located<String>, log: &mut Log) {
    if step.platforms.value == StepPlatforms::Any && needed.platforms.value != StepPlatforms::Any {
        let message = format!("the step is for any platform, but needs `{}`, which isn't", need.value);
        let hint = format!("write `platforms = \"any\"` in `[steps.{}]`, too, or in neither", need.value);
        log.report(Fault::new(message, need.span).hint(hint));
    }
}

fn unknown<T>(name: &Located<String>, by_name: &BTreeMap<&str, T>, log: &mut Log) {
    let fault = Fault::new(format!("unknown step `{}`", name.value.escape_debug()), name.span);
    let fault = match log.likely(name, by_name.keys().copied()) {
        Some(known) => fault.hint(format!("did you mean `{known}`?")),
        None => fault.hint(format!("add a table `[steps.{}]`", name.value)),
    };
    log.absent(fault);
}

/// Checks a copy of what a step makes.
fn copy(rule: &CopyRule, step: &Located<String>, by_name: &BTreeMap<&str, (&Step, Places)>, log: &mut Log) {
    let Some((known, places)) = by_name.get(step.as_str()) else { return unknown(step, by_name, log) };
    let CopyKind::From(from) = &rule.what else { return };
    // What isn't known yet may be what is copied.
    if places.outputs.len() == known.outputs.len()
        && let Some(path) = from.path.as_literal()
        && let Ok(pattern) = Pattern::parse(path)
        && !places::reaches(&pattern, places.outputs.iter().map(|(path, _)| path.as_str()))
    {
        log.report(places::not_made(
            path,
            from.path.span,
            step,
            places.outputs.iter().map(|(path, _)| path.as_str()),
        ));
    }
}

/// The fault of a copy of what is made in the root, as far as that is known for all platforms.
fn taken(from: &FromRule, in_place: &[(&str, &Places)]) -> Option<Fault> {
    let parse = |template: &Located<Template>| Pattern::parse(template.as_literal()?).ok();
    let all = |templates: &[Located<Template>]| templates.iter().map(parse).collect::<Option<Vec<_>>>();
    let path = from.path.as_literal().filter(|path| check::source(path).is_ok())?;
    let (include, exclude) = (all(&from.include)?, all(&from.exclude)?);
    let span = from.path.span;
    places::Taken { path, include: &include, exclude: &exclude, span }.in_place(in_place)
}

/// The paths of a step, as far as they are known for all platforms.
fn literals(step: &Step) -> Places {
    let known = |templates: &[Located<Template>]| -> Vec<Place> {
        // What is written the same twice is told as that.
        let mut seen = BTreeSet::new();
        let known = templates.iter().filter_map(|path| Some((path.as_literal()?, path.span)));
        let known = known.filter(|(path, _)| seen.insert(path.to_owned()));
        known.map(|(path, span)| (path.to_owned(), span)).collect()
    };
    let is_path = |path: &Place| check::output(&path.0).is_ok();
    let paths = |templates: &[Located<Template>]| -> Vec<Place> {
        known(templates).into_iter().filter(is_path).map(|(path, span)| (plain(&path), span)).collect()
    };
    let inputs = known(step.inputs.as_deref().unwrap_or_default());
    Places {
        inputs: inputs.into_iter().filter(|(path, _)| !path.starts_with('!')).collect(),
        outputs: paths(&step.outputs),
        cache_dirs: paths(&step.cache_dirs).into_iter().filter(|(path, _)| !path.starts_with("~/")).collect(),
    }
}

/// The most steps of a cycle that are told.
const TOLD: usize = 12;

/// Reports steps that need themselves, by way of others or at once.
fn cycles(spec: &Spec, log: &mut Log) {
    let by_name: BTreeMap<&str, &Step> = spec.steps.iter().map(|step| (step.name.as_str(), step)).collect();
    let mut done = BTreeSet::new();
    for root in &spec.steps {
        if !done.insert(root.name.as_str()) {
            continue;
        }
        // Without recursion: a chain may be as long as a file.
        let mut way: Vec<(&Step, usize)> = vec![(root, 0)];
        let mut on_way = BTreeSet::from([root.name.as_str()]);
        while let Some((step, next)) = way.last_mut() {
            let Some(need) = step.needs.get(*next) else {
                on_way.remove(step.name.as_str());
                way.pop();
                continue;
            };
            *next += 1;
            if on_way.contains(need.as_str()) {
                cycle(&way, need, log);
            } else if let Some(known) = by_name.get(need.as_str()).filter(|_| done.insert(need.as_str())) {
                on_way.insert(known.name.as_str());
                way.push((known, 0));
            }
        }
    }
}

fn cycle(way: &[(&Step, usize)], need: &Located<String>, log: &mut Log) {
    let names = way.iter().map(|(step, _)| step.name.as_str()).skip_while(|name| *name != need.as_str());
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.len() > TOLD {
        names.splice(TOLD / 2..names.len() - TOLD / 2, ["…".to_owned()]);
    }
    names.push(format!("`{}`", need.value));
    let message = match names.len() {
        2 => format!("step {} needs itself", names[0]),
        _ => format!("steps need each other: {}", names.join(" needs ")),
    };
    log.report(Fault::new(message, need.span).hint("leave out the need that isn't one"));
}
