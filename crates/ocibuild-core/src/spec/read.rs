//! From the text of a spec file to a [`Spec`]: syntax, keys and types. What values mean is
//! checked by [`validate`](super::validate).

mod checks;
mod defaults;
mod fields;
mod image;
mod keep;
mod layer;
mod merge;
mod step;
pub(super) mod syntax;

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use self::defaults::Defaults;
use self::fields::{Context, Fields};
use super::log::Log;
use super::{Cache, Fault, Located, Sources, Span, Spec, SpecError, VERSION, Vars, check, validate};

/// The place of a whole file, in that file.
const START: Option<Span> = Some(Span { start: 0, end: 0 });

/// See [`Spec::read`].
pub(super) fn parse(sources: &Sources, given: &BTreeMap<String, String>) -> Result<Spec, SpecError> {
    let (mut table, faults) = tables(sources)?;
    let broken = !faults.is_empty() || !sources.faults().is_empty();
    let mut log = Log::new(broken, sources.start());
    sources.faults().iter().for_each(|fault| log.report(fault.clone()));
    let spec = read(&mut table, given, START.map(|start| start.shifted(sources.start())), &mut log)?;
    if !faults.is_empty() {
        return Err(SpecError::new(syntax::merge(faults, log.faults(), sources)));
    }
    Ok(Spec { warnings: log.finish()?, ..spec })
}

/// The tables of all files, each laid over those it extends, and what is wrong with their syntax.
fn tables(sources: &Sources) -> Result<(DeTable<'_>, Vec<Fault>), SpecError> {
    let mut merged = DeTable::new();
    let mut faults = Vec::new();
    let mut log = Log::new(false, 0);
    for (file, start) in sources.bottom_up() {
        syntax::guard(file.text()).map_err(|error| error.shifted(start))?;
        let (table, errors) = DeTable::parse_recoverable(file.text());
        let own = syntax::faults(&errors, file.text()).map_err(|error| error.shifted(start))?;
        faults.extend(own.into_iter().map(|fault| fault.shifted(start)));
        let table = merge::shifted(table.into_inner(), start);
        if start != sources.start() {
            extended(&table, start, &mut log)?;
        }
        merged = merge::extend(merged, table);
    }
    faults.extend_from_slice(log.faults());
    Ok((merged, faults))
}

fn read(
    table: &mut DeTable<'_>,
    given: &BTreeMap<String, String>,
    start: Option<Span>,
    log: &mut Log,
) -> Result<Spec, SpecError> {
    let defaults = Defaults::take(table, log);
    defaults::copies_in(table, |copy| keep::contradictions(copy, log));
    if let Some(defaults) = &defaults {
        defaults.apply(table);
    }
    let mut fields = Fields::new(table, start);
    version(&mut fields, log)?;
    extends(&mut fields, log);
    let vars = vars(&mut fields, given, log);
    let names = vars.names().map(str::to_owned).collect::<BTreeSet<_>>();
    let mut context = Context { log, vars: &names };
    fields.take("defaults");
    let spec = Spec {
        version: VERSION,
        name: fields.string("name", &mut context),
        root: fields.string("root", &mut context),
        vars,
        cache: cache(&mut fields, &mut context),
        steps: fields.tables("steps", &mut context, "step", step::read),
        checks: checks::read(&mut fields, &mut context),
        layers: fields.tables("layers", &mut context, "layer", layer::read),
        images: fields.tables("images", &mut context, "image", image::read),
        warnings: Vec::new(),
    };
    let written = table.get("images").and_then(|images| images.get_ref().as_table());
    let meant = table.contains_key("images") && written.is_none_or(|images| !images.is_empty());
    if !meant && spec.steps.is_empty() && !fields.is_mistyped(&["images", "steps"]) {
        let fault = Fault::new("the spec has no images", start);
        context.log.absent(fault.hint("add a table such as `[images.app]`"));
    }
    fields.finish(&mut context, &[]);
    validate::spec(&spec, log);
    if let Some(defaults) = defaults {
        defaults.check(&names, log);
    }
    Ok(spec)
}

/// Where layers are looked for.
fn cache(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Cache {
    let span = fields.key_span("cache");
    let Some(table) = fields.table("cache", context.log) else { return Cache::default() };
    let vars = context.vars;
    context.log.within("the cache".to_owned(), |log| {
        let (mut own, mut context) = (Fields::new(table, span), Context { log, vars });
        let cache = Cache {
            from: own.templates("from", &mut context),
            to: own.template("to", &mut context),
            mode: own.parsed("mode", &mut context, check::cache_mode),
        };
        own.finish(&mut context, &[]);
        cache
    })
}

/// Checks what an extended file says of itself alone.
fn extended(table: &DeTable<'_>, start: usize, log: &mut Log) -> Result<(), SpecError> {
    let mut fields = Fields::new(table, START.map(|span| span.shifted(start)));
    version(&mut fields, log)?;
    extends(&mut fields, log);
    Ok(())
}

/// Checks the name of the file that is extended; whether it can be, has been found out before.
fn extends(fields: &mut Fields<'_>, log: &mut Log) {
    let Some(value) = fields.take("extends") else { return };
    let hint = "write a path from this file's directory, such as \"../base.toml\"";
    if let Some(path) = fields::string_of("extends", value, log).filter(|path| path.value.is_empty()) {
        log.report(Fault::new("`extends` is empty", path.span).hint(hint));
    }
}

/// Checks the version. Of a file for a later one nothing else is said: it has other rules.
fn version(fields: &mut Fields<'_>, log: &mut Log) -> Result<(), SpecError> {
    let hint = format!("write `version = {VERSION}` at the top");
    let Some(value) = fields.take("version") else {
        log.absent(Fault::new("the version of the spec is missing", fields.span).hint(hint));
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
