//! Images and their configs.

use toml::de::{DeTable, DeValue};

use super::fields::{
    Context, Fields, Key, Value, in_order, integer, mismatch, string_of, template_of, unknown,
};
use crate::oci::Platform;
use crate::spec::suggest::closest;
use crate::spec::{
    Annotations, Base, Config, Fault, Field, Healthcheck, Image, Inherit, Located, Port, Scope, Span,
    Template, ValueError, check, validate, value,
};

/// Reads an image.
pub(super) fn read(name: Located<String>, mut fields: Fields<'_>, context: &mut Context<'_>) -> Image {
    let before = context.log.faults().len();
    let base = fields.take("base").map(|value| base(value, context)).unwrap_or_default();
    let layers = fields.strings("layers", context);
    let unharmed = context.log.faults().len() == before;
    let empty = layers.is_empty() && base.value == Base::Scratch && unharmed;
    let image = Image {
        base,
        layers,
        platforms: platforms(&mut fields, context),
        tags: fields.templates("tags", context),
        annotations: annotations(&mut fields, context),
        author: fields.string("author", context),
        compression: fields.parsed("compression", context, check::compression),
        max_size: fields.parsed("max-size", context, str::parse),
        max_layers: max_layers(&mut fields, context),
        is_static: is_static(&mut fields, context),
        inherit: inherit(&mut fields, context),
        config: config(&mut fields, context),
        name,
    };
    if empty && !fields.is_mistyped(&["base", "layers"]) {
        context.log.absent(validate::no_layers(&image.name));
    }
    fields.finish(context, &[]);
    image
}

fn max_layers(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Located<u32>> {
    let value = fields.take("max-layers")?;
    let span = Some(value.span().into());
    let number = integer(value.get_ref()).and_then(|number| u32::try_from(number).ok());
    match number.filter(|number| (1..=127).contains(number)) {
        Some(number) => Some(Located::new(number, span)),
        None => {
            let fault = Fault::new("`max-layers` should be a whole number from 1 to 127", span);
            context.log.report(fault);
            None
        }
    }
}

fn is_static(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Located<bool>> {
    let span = fields.key_span("static");
    let is_static = fields.boolean("static", context);
    span.map(|span| Located::new(is_static, Some(span)))
}

fn platforms(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Vec<Located<Platform>> {
    let written = fields.strings("platforms", context);
    let parse = |text: Located<String>| {
        let platform = context.log.accept(check::platform(&text), text.span)?;
        Some(Located::new(platform, text.span))
    };
    written.into_iter().filter_map(parse).collect()
}

/// Reads annotations: a string is one that all carry, a table holds those of one scope.
fn annotations(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Annotations {
    let mut annotations = Annotations::default();
    let Some(table) = fields.table("annotations", context.log) else { return annotations };
    for (name, value) in in_order(table) {
        let Some(own) = value.get_ref().as_table() else {
            annotations.common.extend(pair(name, value, context));
            continue;
        };
        match Scope::named(name.get_ref()).filter(|scope| name.get_ref() == scope.name()) {
            Some(scope) => {
                let pairs = in_order(own).into_iter().filter_map(|(name, value)| pair(name, value, context));
                annotations.of_mut(Some(scope)).extend(pairs);
            }
            None => context.log.report(not_a_scope(name, own)),
        }
    }
    annotations
}

fn pair(
    name: &Key<'_>,
    value: &Value<'_>,
    context: &mut Context<'_>,
) -> Option<(Located<String>, Located<Template>)> {
    if let Some(key) = value.get_ref().as_table().and_then(|table| dotted(name.get_ref(), table)) {
        let fault = mismatch(name.get_ref(), "a string", value);
        context.log.report(fault.hint(format!("put a key with dots in quotes: {key:?}")));
        return None;
    }
    let value = template_of(name.get_ref(), value, context)?;
    Some((Located::new(name.get_ref().to_string(), Some(name.span().into())), value))
}

/// The fault of a table among annotations: a scope that there isn't, or a key whose dots were not
/// put in quotes.
fn not_a_scope(name: &Key<'_>, table: &DeTable<'_>) -> Fault {
    let word: &str = name.get_ref();
    let fault = Fault::new(
        format!("`{}` is not a scope of annotations", word.escape_debug()),
        Some(name.span().into()),
    );
    let scopes = "the scopes are `manifest`, `index` and `descriptor`";
    match closest(word, Scope::ALL.map(Scope::name)) {
        Some(known) => fault.hint(format!("did you mean `{known}`?")),
        None => match dotted(word, table) {
            Some(key) => fault.hint(format!("put a key with dots in quotes: {key:?}; {scopes}")),
            None => fault.hint(scopes),
        },
    }
}

/// The key that tables of one entry each were probably meant to be, down to a string.
fn dotted(name: &str, table: &DeTable<'_>) -> Option<String> {
    let [(key, value)] = in_order(table)[..] else { return None };
    let key = format!("{name}.{}", key.get_ref());
    match value.get_ref() {
        DeValue::String(_) => Some(key),
        DeValue::Table(table) => dotted(&key, table),
        _ => None,
    }
}

/// Reads `inherit`: true, false, or the fields.
fn inherit(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Inherit {
    let Some(value) = fields.take("inherit") else { return Inherit::default() };
    match value.get_ref() {
        DeValue::Boolean(true) => Inherit::All,
        DeValue::Boolean(false) => Inherit::Nothing,
        DeValue::Array(items) => {
            let field = |(index, item)| {
                let text = string_of(&format!("inherit[{index}]"), item, context.log)?;
                let field: Field = context.log.accept(text.parse(), text.span)?;
                Some(Located::new(field, text.span))
            };
            Inherit::Only(items.iter().enumerate().filter_map(field).collect())
        }
        _ => {
            let fault = mismatch("inherit", "true, false or a list", value);
            context.log.report(fault.hint("write the fields to inherit: [\"env\", \"user\"]"));
            Inherit::All
        }
    }
}

const BASES: &str = "write a reference, such as \"registry.example.com/node:22\", or \"scratch\", \
                     { builtin = \"static@1\" } or { layout = \"DIR\" }";

fn base(value: &Value<'_>, context: &mut Context<'_>) -> Located<Base> {
    let span = Some(Span::from(value.span()));
    let base = match value.get_ref() {
        DeValue::String(text) if text == "scratch" => Some(Base::Scratch),
        DeValue::String(_) => template_of("base", value, context).map(|reference| Base::Remote { reference }),
        DeValue::Table(table) => base_table(Fields::new(table, span), context),
        _ => {
            context.log.report(mismatch("base", "a string or a table", value).hint(BASES));
            None
        }
    };
    Located::new(base.unwrap_or_else(|| Base::Layout { dir: unknown() }), span)
}

fn base_table(mut fields: Fields<'_>, context: &mut Context<'_>) -> Option<Base> {
    let (builtin, layout, empty) = (fields.has("builtin"), fields.has("layout"), fields.is_empty());
    let second = fields.key_span("layout");
    let made = fields.parsed("builtin", context, builtin_base);
    let dir = fields.template("layout", context);
    let span = fields.span;
    fields.finish(context, &[]);
    match (builtin, layout) {
        (true, true) => {
            context.log.report(Fault::new("`builtin` and `layout` exclude each other", second));
            None
        }
        (false, false) => {
            // Where another key is there, it has been reported.
            if empty {
                context.log.report(Fault::new("the base is empty", span).hint(BASES));
            }
            None
        }
        _ => made.map(|made| made.value).or_else(|| dir.map(|dir| Base::Layout { dir })),
    }
}

fn builtin_base(text: &str) -> Result<Base, ValueError> {
    let parts = text.split_once('@').and_then(|(name, version)| Some((name, version.parse().ok()?)));
    let parts = parts.filter(|_| !text.contains("@+"));
    match parts {
        Some((name, version)) if check::name(name).is_ok() => {
            Ok(Base::Builtin { name: name.to_owned(), version })
        }
        _ => Err(ValueError::new(format!("`{}` is not a builtin base", text.escape_debug()))
            .hint("write its name and version: \"static@1\"")),
    }
}

fn config(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Config {
    Config {
        entrypoint: fields.arguments("entrypoint", context),
        cmd: fields.arguments("cmd", context),
        env: fields.pairs("env", context),
        user: fields.string("user", context),
        workdir: fields.template("workdir", context),
        expose: fields.list("expose", context, port).map_or_else(Vec::new, |list| list.value),
        volumes: fields.templates("volumes", context),
        labels: fields.pairs("labels", context),
        stop_signal: fields.string("stop-signal", context),
        stop_timeout: fields.parsed("stop-timeout", context, check::duration),
        shell: fields.arguments("shell", context),
        on_build: fields.strings("on-build", context),
        healthcheck: healthcheck(fields, context),
    }
}

fn port(key: &str, item: &Value<'_>, context: &mut Context<'_>) -> Option<Located<Port>> {
    let span = Some(Span::from(item.span()));
    let port = match item.get_ref() {
        DeValue::Integer(number) => {
            let decimal =
                integer(item.get_ref()).map_or_else(|| number.to_string(), |value| value.to_string());
            decimal.parse().map_err(|_| value::bad_port(&number.to_string()))
        }
        DeValue::String(text) => text.parse(),
        _ => {
            context.log.report(mismatch(key, "a number or a string", item));
            return None;
        }
    };
    context.log.accept(port, span).map(|port| Located::new(port, span))
}

fn healthcheck(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Healthcheck> {
    let span = fields.key_span("healthcheck");
    let table = fields.table("healthcheck", context.log)?;
    let mut fields = Fields::new(table, span);
    let absent = !fields.has("test");
    let test = fields.arguments("test", context);
    let mut time = |key| fields.parsed(key, context, check::duration);
    let (interval, timeout) = (time("interval"), time("timeout"));
    let (start_period, start_interval) = (time("start-period"), time("start-interval"));
    let retries = fields.take("retries").and_then(|value| retries(value, context));
    if absent && !fields.is_mistyped(&["test"]) {
        let fault = Fault::new("the healthcheck has no `test`", span);
        context.log.absent(fault.hint("add `test = [\"CMD\", \"program\", \"argument\"]`"));
    }
    fields.finish(context, &[]);
    let test = test.unwrap_or_else(|| vec!["NONE".to_owned()].into());
    Some(Healthcheck { test, interval, timeout, start_period, start_interval, retries })
}

fn retries(value: &Value<'_>, context: &mut Context<'_>) -> Option<Located<u32>> {
    let Some(number) = integer(value.get_ref()) else {
        context.log.report(mismatch("retries", "a whole number", value));
        return None;
    };
    // Zero is refused, with all that is out of range.
    Some(Located::new(u32::try_from(number).unwrap_or_default(), Some(value.span().into())))
}
