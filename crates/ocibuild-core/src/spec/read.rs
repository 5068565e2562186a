//! From the text of a spec file to a [`Spec`]: syntax, keys and types. What values mean is
//! checked by [`validate`](super::validate).

mod fields;
mod image;
mod layer;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use self::fields::{Context, Fields};
use super::log::Log;
use super::{Fault, Located, Span, Spec, SpecError, VERSION, Vars, check, validate};

/// Keys of later versions of the program, and what to do instead.
const LATER: [(&str, &str); 5] = [
    ("steps", "run the commands before the build, and copy what they make with `from`"),
    ("cache", "leave it out: layers with `manifests` are reused from the local cache"),
    ("defaults", "write the keys where they are needed"),
    ("extends", "write the keys of the other file here"),
    ("checks", "leave it out"),
];

/// Where a fault of the whole file is shown.
const START: Option<Span> = Some(Span { start: 0, end: 0 });

/// See [`Spec::parse`].
pub(super) fn parse(source: &str, given: &BTreeMap<String, String>) -> Result<Spec, SpecError> {
    syntax::guard(source)?;
    let (table, errors) = DeTable::parse_recoverable(source);
    let faults = syntax::faults(&errors, source)?;
    let mut log = Log::new(!faults.is_empty());
    let spec = read(table.get_ref(), given, &mut log)?;
    if !faults.is_empty() {
        return Err(SpecError::new(syntax::merge(faults, log.faults(), source)));
    }
    Ok(Spec { warnings: log.finish()?, ..spec })
}

fn read(table: &DeTable<'_>, given: &BTreeMap<String, String>, log: &mut Log) -> Result<Spec, SpecError> {
    let mut fields = Fields::new(table, START);
    version(&mut fields, log)?;
    let vars = vars(&mut fields, given, log);
    let names = vars.names().map(str::to_owned).collect::<BTreeSet<_>>();
    let mut context = Context { log, vars: &names };
    let spec = Spec {
        version: VERSION,
        name: fields.string("name", &mut context),
        root: fields.string("root", &mut context),
        vars,
        layers: fields.tables("layers", &mut context, "layer", layer::read),
        images: fields.tables("images", &mut context, "image", image::read),
        warnings: Vec::new(),
    };
    let written = table.get("images").and_then(|images| images.get_ref().as_table());
    let meant = table.contains_key("images") && written.is_none_or(|images| !images.is_empty());
    if !meant && !fields.is_mistyped(&["images"]) {
        let fault = Fault::new("the spec has no images", START);
        context.log.absent(fault.hint("add a table such as `[images.app]`"));
    }
    fields.finish(&mut context, &LATER);
    validate::spec(&spec, log);
    Ok(spec)
}

/// Checks the version. Of a file for a later one nothing else is said: it has other rules.
fn version(fields: &mut Fields<'_>, log: &mut Log) -> Result<(), SpecError> {
    let hint = format!("write `version = {VERSION}` at the top");
    let Some(value) = fields.take("version") else {
        log.absent(Fault::new("the version of the spec is missing", START).hint(hint));
        return Ok(());
    };
    let span = Some(value.span().into());
    let number = fields::integer(value.get_ref());
    if number == Some(VERSION.into()) {
        return Ok(());
    }
    let Some(number) = number else {
        log.report(Fault::new("`version` should be a whole number", span).hint(hint));
        return Ok(());
    };
    let fault =
        Fault::new(format!("the spec has version {number}, but this ocibuild knows only {VERSION}"), span);
    Err(fault
        .hint(if number > VERSION.into() { "use a later release of ocibuild".into() } else { hint })
        .into())
}

fn vars(fields: &mut Fields<'_>, given: &BTreeMap<String, String>, log: &mut Log) -> Vars {
    let mut vars = Vars { given: given.clone(), ..Vars::default() };
    for name in given.keys() {
        if let Err(error) = check::var_name(name) {
            log.report(Fault::of(error, None));
        }
    }
    let Some(table) = fields.table("vars", log) else { return vars };
    for (key, value) in fields::in_order(table) {
        let span = Some(Span::from(key.span()));
        if let DeValue::Table(own) = value.get_ref() {
            if let Some(platform) = log.accept(check::platform(key.get_ref()), span) {
                let own = log.within(format!("variables of {platform}"), |log| values(own, log));
                vars.platforms.entry(platform).or_default().extend(own);
            }
        } else if let Some((name, value)) = one_value(key, value, log) {
            vars.plain.insert(name, value);
        }
    }
    vars
}

fn values(table: &DeTable<'_>, log: &mut Log) -> BTreeMap<String, Located<String>> {
    fields::in_order(table).into_iter().filter_map(|(key, value)| one_value(key, value, log)).collect()
}

fn one_value(
    key: &fields::Key<'_>,
    value: &fields::Value<'_>,
    log: &mut Log,
) -> Option<(String, Located<String>)> {
    log.accept(check::var_name(key.get_ref()), Some(key.span().into()));
    let value = fields::string_of(key.get_ref(), value, log)?;
    Some((key.get_ref().to_string(), value))
}
