//! The keys of one table, taken one by one; what is left at the end is unknown.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::spec::log::Log;
use crate::spec::suggest::closest;
use crate::spec::{Fault, Located, Span, Template, ValueError};

pub(super) type Key<'i> = Spanned<DeString<'i>>;
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// What reading needs besides the table.
pub(super) struct Context<'c> {
    pub(super) log: &'c mut Log,
    /// The names of all variables.
    pub(super) vars: &'c BTreeSet<String>,
}

/// A table that is being read.
pub(super) struct Fields<'t> {
    left: Vec<(&'t Key<'t>, &'t Value<'t>)>,
    asked: Vec<&'static str>,
    /// Where the table is.
    pub(super) span: Option<Span>,
}

/// The entries of a table in the order of the file, whatever order the parser keeps.
pub(super) fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<(&'t Key<'t>, &'t Value<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

impl<'t> Fields<'t> {
    pub(super) fn new(table: &'t DeTable<'t>, span: Option<Span>) -> Self {
        Self { left: in_order(table), asked: Vec::new(), span }
    }

    /// Tells whether a key is there that wasn't taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Tells whether one of the keys that nobody took is probably meant to be one of `keys`. Has
    /// a meaning only when all known keys were taken.
    pub(super) fn is_mistyped(&self, keys: &[&'static str]) -> bool {
        self.left.iter().any(|(name, _)| likely(name.get_ref(), keys).is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The place of a key that wasn't taken yet.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.left.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span().into())
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.asked.push(key);
        let at = self.left.iter().position(|(name, _)| name.get_ref() == key)?;
        Some(self.left.remove(at).1)
    }

    pub(super) fn string(&mut self, key: &'static str, context: &mut Context<'_>) -> Option<Located<String>> {
        string_of(key, self.take(key)?, context.log)
    }

    /// A string with a grammar.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<Located<T>> {
        let text = self.string(key, context)?;
        let value = context.log.accept(parse(&text), text.span)?;
        Some(Located::new(value, text.span))
    }

    pub(super) fn template(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Option<Located<Template>> {
        template_of(key, self.take(key)?, context)
    }

    pub(super) fn boolean(&mut self, key: &'static str, context: &mut Context<'_>) -> bool {
        match self.take(key) {
            None => false,
            Some(value) => value.get_ref().as_bool().unwrap_or_else(|| {
                context.log.report(mismatch(key, "true or false", value));
                false
            }),
        }
    }

    /// A list, each of whose items is read by `read`. `None` if the key isn't there or is no list.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
        read: impl Fn(&str, &Value<'_>, &mut Context<'_>) -> Option<T>,
    ) -> Option<Located<Vec<T>>> {
        let value = self.take(key)?;
        let Some(items) = value.get_ref().as_array() else {
            context.log.report(mismatch(key, "a list", value));
            return None;
        };
        let item = |(index, item)| read(&format!("{key}[{index}]"), item, context);
        let items = items.iter().enumerate().filter_map(item).collect();
        Some(Located::new(items, Some(value.span().into())))
    }

    pub(super) fn strings(&mut self, key: &'static str, context: &mut Context<'_>) -> Vec<Located<String>> {
        let read = |key: &str, item: &Value<'_>, context: &mut Context<'_>| string_of(key, item, context.log);
        self.list(key, context, read).map_or_else(Vec::new, |list| list.value)
    }

    /// A list of strings as one value, for argument lists.
    pub(super) fn arguments(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Option<Located<Vec<String>>> {
        let read = |key: &str, item: &Value<'_>, context: &mut Context<'_>| string_of(key, item, context.log);
        let list = self.list(key, context, read)?;
        Some(list.map(|list| list.into_iter().map(|item| item.value).collect()))
    }

    pub(super) fn templates(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Vec<Located<Template>> {
        self.list(key, context, template_of).map_or_else(Vec::new, |list| list.value)
    }

    pub(super) fn table(&mut self, key: &'static str, log: &mut Log) -> Option<&'t DeTable<'t>> {
        let value = self.take(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            log.report(mismatch(key, "a table", value));
        }
        table
    }

    /// A table of templates, such as `env`, in the order of writing.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Vec<(Located<String>, Located<Template>)> {
        let Some(table) = self.table(key, context.log) else { return Vec::new() };
        let pair = |(name, value): (&Key<'_>, &Value<'_>)| {
            let value = template_of(name.get_ref(), value, context)?;
            Some((Located::new(name.get_ref().to_string(), Some(name.span().into())), value))
        };
        in_order(table).into_iter().filter_map(pair).collect()
    }

    /// A table of named tables, such as `layers`, in the order of writing.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
        kind: &str,
        read: impl Fn(Located<String>, Fields<'_>, &mut Context<'_>) -> T,
    ) -> Vec<T> {
        let Some(table) = self.table(key, context.log) else { return Vec::new() };
        let one = |(name, value): (&'t Key<'t>, &'t Value<'t>)| {
            let Some(own) = value.get_ref().as_table() else {
                context.log.report(mismatch(name.get_ref(), "a table", value));
                return None;
            };
            let fields = Fields::new(own, Some(name.span().into()));
            let name = Located::new(name.get_ref().to_string(), Some(name.span().into()));
            let place = format!("{kind} `{}`", name.value);
            let vars = context.vars;
            Some(context.log.within(place, |log| read(name, fields, &mut Context { log, vars })))
        };
        in_order(table).into_iter().filter_map(one).collect()
    }

    /// Reports the keys that nobody asked for. `later` are keys of later versions with advice.
    pub(super) fn finish(self, context: &mut Context<'_>, later: &[(&str, &str)]) {
        for (key, _) in &self.left {
            let name: &str = key.get_ref();
            let span = Some(Span::from(key.span()));
            let fault = match later.iter().find(|(later, _)| *later == name) {
                Some((_, hint)) => Fault::new(format!("`{name}` is not supported yet"), span).hint(*hint),
                None => unknown_key(name, span, &self.asked),
            };
            context.log.report(fault);
        }
    }
}

/// Words that other tools use for our keys, and that no edit distance finds.
const SYNONYMS: [(&str, &str); 26] = [
    ("from", "base"),
    ("command", "cmd"),
    ("environment", "env"),
    ("ports", "expose"),
    ("port", "expose"),
    ("exposed-ports", "expose"),
    ("working-dir", "workdir"),
    ("working-directory", "workdir"),
    ("dest", "to"),
    ("destination", "to"),
    ("src", "from"),
    ("source", "from"),
    ("chown", "owner"),
    ("chmod", "mode"),
    ("copies", "copy"),
    ("files", "copy"),
    ("maintainer", "author"),
    ("triggers", "on-build"),
    ("command", "run"),
    ("cmd", "run"),
    ("script", "run"),
    ("cwd", "workdir"),
    ("depends-on", "needs"),
    ("dependencies", "needs"),
    ("sources", "inputs"),
    ("caches", "cache-dirs"),
];

pub(super) fn unknown_key(name: &str, span: Option<Span>, asked: &[&'static str]) -> Fault {
    let fault = Fault::new(format!("unknown key `{}`", name.escape_debug()), span);
    match likely(name, asked) {
        Some(known) => fault.hint(format!("did you mean `{known}`?")),
        None => {
            let known: Vec<String> = asked.iter().map(|key| format!("`{key}`")).collect();
            fault.hint(format!("the keys here are {}", known.join(", ")))
        }
    }
}

/// The one of `keys` that was probably meant.
fn likely(name: &str, keys: &[&'static str]) -> Option<&'static str> {
    let folded = name.to_ascii_lowercase().replace('_', "-");
    let synonym = SYNONYMS.iter().find(|(word, key)| *word == folded && keys.contains(key));
    synonym.map(|(_, key)| *key).or_else(|| closest(name, keys.iter().copied()))
}

pub(super) fn string_of(key: &str, value: &Value<'_>, log: &mut Log) -> Option<Located<String>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Located::new(text.to_string(), Some(value.span().into()))),
        _ => {
            log.report(mismatch(key, "a string", value));
            None
        }
    }
}

pub(super) fn template_of(
    key: &str,
    value: &Value<'_>,
    context: &mut Context<'_>,
) -> Option<Located<Template>> {
    let text = string_of(key, value, context.log)?;
    let template = context.log.accept(Template::parse(&text), text.span)?;
    known_names(&template, text.span, context);
    Some(Located::new(template, text.span))
}

/// Reports the variables of a template that nobody defines.
pub(super) fn known_names(template: &Template, span: Option<Span>, context: &mut Context<'_>) {
    for name in template.vars().filter(|name| !context.vars.contains(*name)) {
        let fault = Fault::new(format!("unknown variable `{name}`"), span);
        let known = context.log.likely(name, context.vars.iter().map(String::as_str));
        let hint = known.map_or_else(
            || format!("define it: `{name} = \"…\"` under `[vars]`"),
            |known| format!("did you mean `{{var.{known}}}`?"),
        );
        context.log.absent(fault.hint(hint));
    }
}

/// Stands for a template that was refused, in a spec that nobody will see. Like any that has a
/// name in it, nothing is known of its text, and so nothing is said of it.
pub(super) fn unknown() -> Located<Template> {
    Located::from(Template::parse("{os}").unwrap_or_default())
}

/// A whole number, if it is one that fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
}

/// The fault of a value of the wrong type.
pub(super) fn mismatch(key: &str, wanted: &str, value: &Value<'_>) -> Fault {
    let found = match value.get_ref() {
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Integer(_) => "an integer".to_owned(),
        other => format!("a {}", other.type_str()),
    };
    let span = Some(value.span().into());
    let fault = Fault::new(format!("`{}` should be {wanted}, but is {found}", key.escape_debug()), span);
    match type_hint(key, wanted, value.get_ref()) {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

const TIMES: [&str; 5] = ["interval", "timeout", "start-period", "start-interval", "stop-timeout"];

fn type_hint(key: &str, wanted: &str, value: &DeValue<'_>) -> Option<String> {
    match (wanted, value) {
        ("a string", DeValue::Integer(number)) if key.ends_with("mode") => {
            Some(format!("write it in quotes: \"{:0>4}\"", number.as_str()))
        }
        ("a string", DeValue::Integer(number)) if key == "owner" => {
            Some(format!("write user and group in quotes: \"{number}:{number}\""))
        }
        ("a string", DeValue::Integer(number)) if TIMES.contains(&key) => {
            Some(format!("write it in quotes and with a unit: \"{number}s\""))
        }
        ("a string", DeValue::Integer(number)) => Some(format!("write it in quotes: \"{number}\"")),
        ("a string", DeValue::Float(number)) => Some(format!("write it in quotes: \"{}\"", number.as_str())),
        ("a string", DeValue::Boolean(flag)) => Some(format!("write it in quotes: \"{flag}\"")),
        ("a list", DeValue::String(text)) => Some(format!("write a list: {}", list(key, text))),
        ("a list", DeValue::Table(_)) => Some("write it in brackets: [{ … }]".to_owned()),
        ("a table", _) if matches!(key, "steps" | "layers" | "images") => {
            Some(format!("write a table for each: `[{key}.NAME]`"))
        }
        ("a table", _) if matches!(key, "env" | "labels" | "annotations" | "vars") => {
            Some(format!("write a table: `{key} = {{ NAME = \"value\" }}`"))
        }
        ("a table", _) if key == "healthcheck" => {
            Some("write a table: `healthcheck = { test = [\"CMD\", \"/app\", \"--check\"] }`".to_owned())
        }
        ("true or false", DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Some(format!("write it without quotes: {text}"))
        }
        _ => None,
    }
}

/// A string as the list it probably stands for: commands fall into words, others don't.
fn list(key: &str, text: &str) -> String {
    let words: Vec<&str> = match key {
        "entrypoint" | "cmd" | "shell" => text.split_whitespace().collect(),
        "test" => vec!["CMD-SHELL", text],
        _ => vec![text],
    };
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(", "))
}
