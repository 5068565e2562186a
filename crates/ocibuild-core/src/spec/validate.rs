//! What holds of every spec, whether it comes from a file or from a builder.

use std::collections::BTreeSet;

use super::log::Log;
use super::suggest::closest;
use super::{
    CopyRule, Fault, IgnoreFile, Layer, Located, Policy, Run, Spec, Step, Template, ValueError, check,
};

mod copy;
pub(super) use copy::{KEPT_AND_SET, kept_and_set};
mod env;
mod image;
mod step;

/// Validates a spec. Strings with names in braces wait until they are expanded.
pub(super) fn spec(spec: &Spec, log: &mut Log) {
    if let Some(name) = &spec.name {
        log.accept(check::spec_name(name), name.span);
    }
    if let Some(root) = &spec.root {
        log.accept(check::root(root), root.span);
    }
    for place in spec.cache.from.iter().chain(&spec.cache.to) {
        literal(place, |text| check::cache_place(text).map(|_| ()), log);
    }
    unique_templates(&spec.cache.from, "place is listed twice", log);
    step::steps(spec, log);
    unique(spec.layers.iter().map(|layer| &layer.name), "layer", "is defined", log);
    unique(spec.images.iter().map(|image| &image.name), "image", "is defined", log);
    for one in &spec.layers {
        log.within(format!("layer `{}`", one.name.value), |log| layer(one, log));
    }
    for one in &spec.images {
        log.within(format!("image `{}`", one.name.value), |log| image::image(one, spec, log));
    }
    unused_layers(spec, log);
    unused_vars(spec, log);
}

/// The fault of a layer without copies.
pub(super) fn no_copies(name: &Located<String>) -> Fault {
    Fault::new(format!("layer `{}` copies nothing", name.value), name.span)
        .hint("add `copy = [{ from = \"…\", to = \"/…\" }]`")
}

/// The fault of an image of nothing on scratch.
pub(super) fn no_layers(name: &Located<String>) -> Fault {
    Fault::new(format!("image `{}` has no layers and no base", name.value), name.span)
        .hint("add `layers = [\"…\"]`")
}

fn layer(layer: &Layer, log: &mut Log) {
    log.accept(check::name(&layer.name), layer.name.span);
    for manifest in &layer.manifests {
        literal(manifest, check::manifest, log);
    }
    unique_templates(&layer.manifests, "manifest is listed twice", log);
    copy::policy(&layer.policy, log);
    for path in &layer.remove {
        literal(path, check::removal, log);
    }
    unique_templates(&layer.remove, "path is listed twice", log);
    for (index, rule) in layer.copies.iter().enumerate() {
        log.within(format!("copy {}", index + 1), |log| copy::copy(rule, log));
    }
}

/// Checks a template that is a plain string. Others are checked when they are expanded.
fn literal(template: &Located<Template>, check: fn(&str) -> Result<(), ValueError>, log: &mut Log) {
    if let Some(text) = template.as_literal() {
        log.accept(check(text), template.span);
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a Located<String>>, what: &str, verb: &str, log: &mut Log) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.value.as_str()) {
            log.report(Fault::new(format!("{what} `{}` {verb} twice", name.value.escape_debug()), name.span));
        }
    }
}

/// Reports templates that are there twice, which are equal for every platform.
fn unique_templates(templates: &[Located<Template>], what: &str, log: &mut Log) {
    let mut seen = BTreeSet::new();
    for template in templates {
        if !seen.insert(&template.value) {
            log.report(Fault::new(format!("this {what}"), template.span));
        }
    }
}

/// Warns of layers in no image, but not of those of an extended file: it is there for others, too.
fn unused_layers(spec: &Spec, log: &mut Log) {
    let used: BTreeSet<&str> =
        spec.images.iter().flat_map(|image| &image.layers).map(|name| name.value.as_str()).collect();
    for layer in spec.layers.iter().filter(|layer| !used.contains(layer.name.value.as_str())) {
        if log.is_extended(layer.name.span) {
            continue;
        }
        let message = format!("layer `{}` is in no image", layer.name.value);
        log.warn(Fault::new(message, layer.name.span));
    }
}

/// Warns of variables given from outside that nothing in the spec asks for.
fn unused_vars(spec: &Spec, log: &mut Log) {
    let mut known: BTreeSet<&str> = spec.vars.plain.keys().map(String::as_str).collect();
    known.extend(spec.vars.platforms.values().flat_map(|own| own.keys().map(String::as_str)));
    let mut used = BTreeSet::new();
    spec.templates(&mut |template| used.extend(template.vars().map(str::to_owned)));
    let given = spec.vars.given.keys().map(String::as_str);
    for name in given.filter(|name| !known.contains(name) && !used.contains(*name)) {
        let fault = Fault::new(format!("nothing uses the given variable `{name}`"), None);
        let likely = closest(name, known.iter().copied().chain(used.iter().map(String::as_str)));
        log.warn(match likely {
            Some(known) => fault.hint(format!("did you mean `{known}`?")),
            None => fault,
        });
    }
}

impl Spec {
    /// Shows every template to `visit`.
    pub(super) fn templates(&self, visit: &mut dyn FnMut(&Template)) {
        self.cache.from.iter().chain(&self.cache.to).for_each(|template| visit(template));
        self.steps.iter().for_each(|step| templates_of_step(step, visit));
        for layer in &self.layers {
            layer.manifests.iter().for_each(|template| visit(template));
            layer.remove.iter().chain(&layer.comment).for_each(|template| visit(template));
            templates_of_policy(&layer.policy, visit);
            layer.copies.iter().for_each(|rule| templates_of_copy(rule, visit));
        }
        for image in &self.images {
            let config = &image.config;
            if let super::Base::Layout { dir: template } | super::Base::Remote { reference: template } =
                &image.base.value
            {
                visit(template);
            }
            let lists = image.tags.iter().chain(&config.volumes).chain(&config.workdir);
            lists.for_each(|template| visit(template));
            let pairs = image.annotations.all().chain(&config.env).chain(&config.labels);
            pairs.for_each(|(_, template)| visit(template));
        }
    }
}

fn templates_of_step(step: &Step, visit: &mut dyn FnMut(&Template)) {
    match &step.run.value {
        Run::Arguments(words) => words.iter().for_each(|word| visit(word)),
        Run::Script(text) => visit(text),
    }
    let lists = step.inputs.iter().flatten().chain(&step.outputs).chain(&step.cache_dirs);
    lists.chain(&step.workdir).for_each(|template| visit(template));
    step.env.iter().for_each(|(_, value)| visit(value));
}

fn templates_of_policy(policy: &Policy, visit: &mut dyn FnMut(&Template)) {
    if let Some(Located { value: IgnoreFile::File(file), .. }) = &policy.ignore_file {
        visit(file);
    }
}

fn templates_of_copy(rule: &CopyRule, visit: &mut dyn FnMut(&Template)) {
    visit(&rule.to);
    templates_of_policy(&rule.policy, visit);
    match &rule.what {
        super::CopyKind::From(from) => {
            visit(&from.path);
            from.include.iter().chain(&from.exclude).for_each(|template| visit(template));
        }
        super::CopyKind::Content(text) | super::CopyKind::Symlink(text) => visit(text),
        super::CopyKind::Bytes(_) | super::CopyKind::Directory => {}
    }
}
