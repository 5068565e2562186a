//! Images and their configs.

use toml::de::DeValue;

use super::fields::{Context, Fields, Value, integer, mismatch, unknown};
use crate::oci::Platform;
use crate::reference::Reference;
use crate::spec::{
    Base, Config, Fault, Healthcheck, Image, Located, Port, Span, ValueError, check, validate, value,
};

const LATER: [(&str, &str); 9] = [
    ("compression", "set `compression` on the layers"),
    ("shell", "leave it out"),
    ("on-build", "leave it out"),
    ("onbuild", "leave it out"),
    ("stop-timeout", "leave it out"),
    ("history", "leave it out"),
    ("max-size", "leave it out"),
    ("max-layers", "leave it out"),
    ("static", "leave it out"),
];

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
        annotations: fields.pairs("annotations", context),
        author: fields.string("author", context),
        config: config(&mut fields, context),
        name,
    };
    if empty && !fields.is_mistyped(&["base", "layers"]) {
        context.log.absent(validate::no_layers(&image.name));
    }
    fields.finish(context, &LATER);
    image
}

fn platforms(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Vec<Located<Platform>> {
    let written = fields.strings("platforms", context);
    let parse = |text: Located<String>| {
        let platform = context.log.accept(check::platform(&text), text.span)?;
        Some(Located::new(platform, text.span))
    };
    written.into_iter().filter_map(parse).collect()
}

const BASES: &str = "write \"scratch\", { builtin = \"static@1\" } or { layout = \"DIR\" }";

fn base(value: &Value<'_>, context: &mut Context<'_>) -> Located<Base> {
    let span = Some(Span::from(value.span()));
    let base = match value.get_ref() {
        DeValue::String(text) => context.log.accept(named_base(text), span),
        DeValue::Table(table) => base_table(Fields::new(table, span), context),
        _ => {
            context.log.report(mismatch("base", "a string or a table", value).hint(BASES));
            None
        }
    };
    Located::new(base.unwrap_or_else(|| Base::Layout { dir: unknown() }), span)
}

fn named_base(text: &str) -> Result<Base, ValueError> {
    if text == "scratch" {
        return Ok(Base::Scratch);
    }
    let builtin = text.split_once('@').is_some_and(|(_, version)| version.parse::<u32>().is_ok());
    if builtin {
        return Err(ValueError::new(format!("`{text}` is not a base by its name alone"))
            .hint(format!("write {{ builtin = \"{text}\" }}")));
    }
    if text.starts_with(['.', '/']) {
        return Err(ValueError::new(format!("`{text}` is a path, but a base by name was expected"))
            .hint(format!("write {{ layout = \"{text}\" }}")));
    }
    if text.parse::<Reference>().is_ok() {
        return Err(ValueError::new("bases from a registry are not supported yet").hint(
            "copy the image into an OCI layout first (`skopeo copy docker://… oci:DIR:TAG`), \
             and write { layout = \"DIR\" }",
        ));
    }
    Err(ValueError::new(format!("`{}` is not a base", text.escape_debug())).hint(BASES))
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
        healthcheck: healthcheck(fields, context),
    }
}

fn port(key: &str, item: &Value<'_>, context: &mut Context<'_>) -> Option<Located<Port>> {
    let span = Some(Span::from(item.span()));
    let port = match item.get_ref() {
        DeValue::Integer(number) => {
            number.to_string().parse().map_err(|_| value::bad_port(&number.to_string()))
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
