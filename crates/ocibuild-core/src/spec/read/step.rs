//! Steps.

use toml::de::DeValue;

use super::fields::{Context, Fields, Value, integer, mismatch, string_of, unknown};
use crate::spec::{
    Fault, Located, PassEnv, Run, Secret, SecretSource, Span, Step, StepPlatforms, Template, check,
};

/// Reads a step.
pub(super) fn read(name: Located<String>, mut fields: Fields<'_>, context: &mut Context<'_>) -> Step {
    let absent = !fields.has("run");
    let run = fields.take("run").and_then(|value| run(value, context));
    let step = Step {
        inputs: inputs(&mut fields, context),
        outputs: fields.templates("outputs", context),
        needs: fields.strings("needs", context),
        env: fields.pairs("env", context),
        pass_env: fields.list("pass-env", context, pass_env).map_or_else(Vec::new, |list| list.value),
        workdir: fields.template("workdir", context),
        cache_dirs: fields.templates("cache-dirs", context),
        secrets: fields.list("secrets", context, secret).map_or_else(Vec::new, |list| list.value),
        tools: fields.strings("tools", context),
        timeout: fields.parsed("timeout", context, check::duration),
        retries: fields.take("retries").and_then(|value| retries(value, context)),
        platforms: fields.take("platforms").and_then(|value| platforms(value, context)).unwrap_or_default(),
        always: fields.boolean("always", context),
        in_place: flag("in-place", false, &mut fields, context),
        network: flag("network", true, &mut fields, context),
        sandbox: flag("sandbox", false, &mut fields, context),
        // Something stands for what is missing or refused, so that the rest is checked.
        ..Step::new(name, run.unwrap_or_else(|| Run::Arguments(vec![unknown()]).into()))
    };
    if absent && !fields.is_mistyped(&["run"]) {
        let fault = Fault::new(format!("step `{}` runs nothing", step.name.value), step.name.span);
        context.log.absent(fault.hint("add `run = [\"PROGRAM\", \"ARGUMENT\"]` or `run = \"…\"`"));
    }
    fields.finish(context, &[]);
    step
}

const RUN: &str = "write a list of words, [\"npm\", \"ci\"], or one string for the shell, \"npm ci\"";

fn run(value: &Value<'_>, context: &mut Context<'_>) -> Option<Located<Run>> {
    let span = Some(Span::from(value.span()));
    let run = match value.get_ref() {
        DeValue::String(text) => Run::Script(command(text, span, context)),
        DeValue::Array(words) => {
            let word = |(index, item)| {
                let text = string_of(&format!("run[{index}]"), item, context.log)?;
                Some(Located::new(command(&text, text.span, context), text.span))
            };
            Run::Arguments(words.iter().enumerate().map(word).collect::<Option<_>>()?)
        }
        _ => {
            context.log.report(mismatch("run", "a list or a string", value).hint(RUN));
            return None;
        }
    };
    Some(Located::new(run, span))
}

fn command(text: &str, span: Option<Span>, context: &mut Context<'_>) -> Template {
    let template = Template::lenient(text);
    super::fields::known_names(&template, span, context);
    template
}

/// Reads the inputs; that there are none can be said, too.
fn inputs(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Vec<Located<Template>>> {
    let said = fields.has("inputs");
    let inputs = fields.templates("inputs", context);
    said.then_some(inputs)
}

fn pass_env(key: &str, value: &Value<'_>, context: &mut Context<'_>) -> Option<Located<PassEnv>> {
    let span = Some(Span::from(value.span()));
    let passed = match value.get_ref() {
        DeValue::String(name) => PassEnv::keyed(name.as_ref()),
        DeValue::Table(table) => {
            let mut fields = Fields::new(table, span);
            let name = required("name", "the variable has no name", &mut fields, context);
            let is_keyed = !fields.boolean("unkeyed", context);
            fields.finish(context, &[]);
            PassEnv { name: name?.value, is_keyed }
        }
        _ => {
            let hint = "write \"NAME\", or { name = \"NAME\", unkeyed = true }";
            context.log.report(mismatch(key, "a string or a table", value).hint(hint));
            return None;
        }
    };
    Some(Located::new(passed, span))
}

fn secret(key: &str, value: &Value<'_>, context: &mut Context<'_>) -> Option<Secret> {
    const HINT: &str = "write { id = \"npm\", env = \"NPM_TOKEN\" } or { id = \"npm\", file = \"PATH\" }";
    let Some(table) = value.get_ref().as_table() else {
        context.log.report(mismatch(key, "a table", value).hint(HINT));
        return None;
    };
    let mut fields = Fields::new(table, Some(value.span().into()));
    let second = fields.key_span("file").filter(|_| fields.has("env"));
    let id = required("id", "the secret has no id", &mut fields, context);
    let env = fields.string("env", context).map(|name| name.map(SecretSource::Env));
    let file = fields.string("file", context).map(|path| path.map(SecretSource::File));
    let form = fields.parsed("as", context, str::parse);
    let target = fields.string("target", context);
    let is_optional = fields.boolean("optional", context);
    let from = env.or(file);
    if let Some(second) = second {
        context.log.report(Fault::new("`env` and `file` exclude each other", Some(second)).hint(HINT));
    } else if from.is_none() && !fields.is_mistyped(&["env", "file"]) {
        let fault = Fault::new("the secret doesn't say where it comes from", fields.span);
        context.log.absent(fault.hint(HINT));
    }
    fields.finish(context, &[]);
    Some(Secret { form, target, is_optional, ..Secret::new(id?, from?) })
}

/// Reads a string that has to be there.
fn required(
    key: &'static str,
    message: &str,
    fields: &mut Fields<'_>,
    context: &mut Context<'_>,
) -> Option<Located<String>> {
    let absent = !fields.has(key);
    let value = fields.string(key, context);
    if absent && !fields.is_mistyped(&[key]) {
        context.log.absent(Fault::new(message, fields.span).hint(format!("add `{key} = \"…\"`")));
    }
    value
}

fn retries(value: &Value<'_>, context: &mut Context<'_>) -> Option<Located<u32>> {
    let Some(number) = integer(value.get_ref()) else {
        context.log.report(mismatch("retries", "a whole number", value));
        return None;
    };
    // What doesn't fit is refused, with all that is out of range.
    Some(Located::new(u32::try_from(number).unwrap_or(u32::MAX), Some(value.span().into())))
}

fn platforms(value: &Value<'_>, context: &mut Context<'_>) -> Option<Located<StepPlatforms>> {
    const HINT: &str = "write \"each\", \"any\", or a list: [\"linux/amd64\"]";
    let span = Some(Span::from(value.span()));
    let platforms = match value.get_ref() {
        DeValue::String(word) if word == "each" => StepPlatforms::Each,
        DeValue::String(word) if word == "any" => StepPlatforms::Any,
        DeValue::String(word) => {
            let fault = Fault::new(format!("`{}` is not a choice of platforms", word.escape_debug()), span);
            context.log.report(match check::platform(word) {
                Ok(_) => fault.hint(format!("write a list: [\"{word}\"]")),
                Err(_) => fault.hint(HINT),
            });
            return None;
        }
        DeValue::Array(items) => {
            let platform = |(index, item): (usize, &Value<'_>)| {
                let text = string_of(&format!("platforms[{index}]"), item, context.log)?;
                let platform = context.log.accept(check::platform(&text), text.span)?;
                Some(Located::new(platform, text.span))
            };
            StepPlatforms::Only(items.iter().enumerate().map(platform).collect::<Option<_>>()?)
        }
        _ => {
            context.log.report(mismatch("platforms", "a string or a list", value).hint(HINT));
            return None;
        }
    };
    Some(Located::new(platforms, span))
}

fn flag(
    key: &'static str,
    default: bool,
    fields: &mut Fields<'_>,
    context: &mut Context<'_>,
) -> Located<bool> {
    let Some(span) = fields.key_span(key) else {
        fields.boolean(key, context);
        return default.into();
    };
    Located::new(fields.boolean(key, context), Some(span))
}
