//! Layers and their copies.

use super::fields::{Context, Fields, Value, integer, mismatch, template_of, unknown};
use crate::spec::{
    CopyKind, CopyRule, Fault, FromRule, IgnoreFile, Layer, Located, Policy, Preserve, Span, Split, Template,
    check, validate,
};
use toml::de::DeValue;

/// How files are taken over; only `from` has any.
const POLICY: [&str; 3] = ["preserve", "pyc", "ignore-file"];

/// Reads a layer.
pub(super) fn read(name: Located<String>, mut fields: Fields<'_>, context: &mut Context<'_>) -> Layer {
    let before = context.log.faults().len();
    let copies = fields.list("copy", context, copy).map_or_else(Vec::new, |list| list.value);
    // Where copies were refused, more were meant than are left.
    let unharmed = context.log.faults().len() == before;
    let remove = fields.templates("remove", context);
    let empty = copies.is_empty() && remove.is_empty() && unharmed;
    let layer = Layer {
        manifests: fields.templates("manifests", context),
        trust: fields.parsed("trust", context, str::parse),
        key: fields.strings("key", context),
        copies,
        compression: fields.parsed("compression", context, check::compression),
        split: split(&mut fields, context),
        max_size: fields.parsed("max-size", context, str::parse),
        policy: policy(&mut fields, context),
        remove,
        comment: fields.template("comment", context),
        name,
    };
    if empty && !fields.is_mistyped(&["copy", "remove"]) {
        context.log.absent(validate::no_copies(&layer.name));
    }
    fields.finish(context, &[]);
    layer
}

/// Reads into how many blobs a layer goes: a number, or the word that leaves it to the build.
fn split(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Located<Split>> {
    let value = fields.take("split")?;
    let span = Some(value.span().into());
    let split = match value.get_ref() {
        DeValue::Integer(_) => Split::new(integer(value.get_ref()).unwrap_or(i64::MAX)),
        DeValue::String(text) => text.parse(),
        _ => {
            context.log.report(mismatch("split", "a number or \"auto\"", value));
            return None;
        }
    };
    context.log.accept(split, span).map(|split| Located::new(split, span))
}

fn copy(key: &str, value: &Value<'_>, context: &mut Context<'_>) -> Option<CopyRule> {
    let Some(table) = value.get_ref().as_table() else {
        context.log.report(mismatch(key, "a table", value).hint("write { from = \"…\", to = \"/…\" }"));
        return None;
    };
    let mut fields = Fields::new(table, Some(value.span().into()));
    let rule = rule(&mut fields, context);
    fields.finish(context, &[]);
    Some(rule)
}

/// Reads a copy. What is missing was reported; something stands for it, so that the rest is checked.
fn rule(fields: &mut Fields<'_>, context: &mut Context<'_>) -> CopyRule {
    let (nothing, nowhere) = (!KINDS.into_iter().any(|kind| fields.has(kind)), !fields.has("to"));
    let step_span = fields.key_span("step");
    let kind = kind_of(fields, context);
    let from = fields.template("from", context);
    let content = fields.template("content", context);
    let symlink = fields.template("symlink", context);
    let directory = fields.template("directory", context);
    let to = destination(fields, kind, context);
    let selection = selection(fields, kind, context);
    let what = match kind {
        Some("content") => CopyKind::Content(content.unwrap_or_else(unknown)),
        Some("symlink") => CopyKind::Symlink(symlink.unwrap_or_else(unknown)),
        Some("directory") => CopyKind::Directory,
        _ => CopyKind::From(FromRule { path: from.unwrap_or_else(unknown), ..selection }),
    };
    let rule = CopyRule {
        what,
        to: to.or(directory).unwrap_or_else(unknown),
        mode: fields.parsed("mode", context, str::parse),
        dir_mode: fields.parsed("dir-mode", context, str::parse),
        owner: fields.parsed("owner", context, str::parse),
        on_base_symlink: fields.parsed("on-base-symlink", context, str::parse),
        policy: policy(fields, context),
        span: fields.span,
    };
    if nothing {
        no_kind(fields, step_span, context);
    } else if nowhere && kind.is_some_and(|kind| kind != "directory") {
        no_destination(fields, context);
    }
    rule
}

/// Reports a copy of nothing, or of a step whose place is given. Mistyped keys are reported by
/// themselves.
fn no_kind(fields: &Fields<'_>, step: Option<Span>, context: &mut Context<'_>) {
    if fields.is_mistyped(&KINDS) {
        return;
    }
    context.log.absent(match step {
        None => Fault::new("the copy doesn't say what to copy", fields.span).hint(ONE_KIND),
        Some(_) => Fault::new("the copy doesn't say what of the step's outputs to copy", step)
            .hint("add `from = \"…\"`, with a path or a glob of what the step makes"),
    });
}

fn no_destination(fields: &Fields<'_>, context: &mut Context<'_>) {
    if !fields.is_mistyped(&["to"]) {
        let fault = Fault::new("the copy doesn't say where to: `to` is missing", fields.span);
        context.log.absent(fault.hint("add `to = \"/…\"`"));
    }
}

pub(super) const KINDS: [&str; 4] = ["from", "content", "symlink", "directory"];
const ONE_KIND: &str = "a copy takes exactly one of `from`, `content`, `symlink` and `directory`";

/// Finds out which of the four a copy is. It must not be two.
fn kind_of(fields: &Fields<'_>, context: &mut Context<'_>) -> Option<&'static str> {
    let mut kinds = KINDS.into_iter().filter(|kind| fields.has(kind));
    let first = kinds.next();
    match (first, kinds.next()) {
        (Some(first), Some(second)) => {
            let message = format!("`{first}` and `{second}` exclude each other");
            context.log.report(Fault::new(message, fields.key_span(second)).hint(ONE_KIND));
            None
        }
        (first, _) => first,
    }
}

/// Reads `to`, which every kind but `directory` has.
fn destination(
    fields: &mut Fields<'_>,
    kind: Option<&str>,
    context: &mut Context<'_>,
) -> Option<Located<Template>> {
    let span = fields.key_span("to");
    let to = fields.template("to", context)?;
    if kind != Some("directory") {
        return Some(to);
    }
    let fault = Fault::new("`directory` and `to` exclude each other", span);
    context.log.report(fault.hint("write the path of the directory as the value of `directory`"));
    None
}

/// Reads what only goes with `from`.
fn selection(fields: &mut Fields<'_>, kind: Option<&str>, context: &mut Context<'_>) -> FromRule {
    let other = kind.is_some_and(|kind| kind != "from");
    for key in ["step", "include", "exclude", "allow-empty", "allow-foreign"].into_iter().chain(POLICY) {
        if let Some(span) = fields.key_span(key).filter(|_| other) {
            context.log.report(Fault::new(format!("`{key}` goes only with `from`"), Some(span)));
        }
    }
    FromRule {
        step: fields.string("step", context),
        path: unknown(),
        include: fields.templates("include", context),
        exclude: fields.templates("exclude", context),
        allow_empty: fields.boolean("allow-empty", context),
        allow_foreign: fields.boolean("allow-foreign", context),
    }
}

/// Reads how files are taken over.
fn policy(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Policy {
    Policy {
        preserve: preserve(fields, context),
        pyc: fields.parsed("pyc", context, str::parse),
        ignore_file: ignore_file(fields, context),
    }
}

fn preserve(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Located<Preserve>> {
    let span = fields.key_span("preserve");
    let mut preserve = Preserve::default();
    for name in fields.strings("preserve", context) {
        context.log.accept(preserve.add(&name), name.span);
    }
    span.map(|span| Located::new(preserve, Some(span)))
}

/// Reads the name of the ignore file, or `false` for none.
fn ignore_file(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Located<IgnoreFile>> {
    let value = fields.take("ignore-file")?;
    let span = Some(value.span().into());
    match value.get_ref() {
        DeValue::Boolean(false) => Some(Located::new(IgnoreFile::None, span)),
        DeValue::String(_) => {
            let template = template_of("ignore-file", value, context)?;
            Some(template.map(IgnoreFile::File))
        }
        _ => {
            let fault = mismatch("ignore-file", "a string", value);
            context.log.report(fault.hint("write the file's path, or `false` for none"));
            None
        }
    }
}
