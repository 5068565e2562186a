//! What is made of findings.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::fields::{Context, Fields, Value, in_order, mismatch, string_of};
use crate::spec::{Allowed, Checks, Fault, Located, Span, checks};

/// Reads the table.
pub(super) fn read(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Checks {
    let span = fields.key_span("checks");
    let Some(table) = fields.table("checks", context.log) else { return Checks::default() };
    let vars = context.vars;
    context.log.within("the checks".to_owned(), |log| {
        let (mut own, mut context) = (Fields::new(table, span), Context { log, vars });
        let checks = Checks {
            fail_on: own.parsed("fail-on", &mut context, str::parse),
            severity: own
                .table("severity", context.log)
                .map(|table| severity(table, &mut context))
                .unwrap_or_default(),
            allow: own.list("allow", &mut context, allowed).map_or_else(Vec::new, |list| list.value),
        };
        own.finish(&mut context, &[]);
        checks
    })
}

fn severity(table: &DeTable<'_>, context: &mut Context<'_>) -> BTreeMap<String, Located<crate::spec::Level>> {
    let one = |(key, value): (&super::fields::Key<'_>, &Value<'_>)| {
        let name = key.get_ref().to_string();
        context.log.accept(checks::finding(&name), Some(key.span().into()))?;
        let text = string_of(&name, value, context.log)?;
        let level = context.log.accept(text.parse(), text.span)?;
        Some((name, Located::new(level, text.span)))
    };
    in_order(table).into_iter().filter_map(one).collect()
}

fn allowed(key: &str, value: &Value<'_>, context: &mut Context<'_>) -> Option<Allowed> {
    const SHAPE: &str = "write { id = \"…\", path = \"…\", reason = \"…\" }";
    let Some(table) = value.get_ref().as_table() else {
        context.log.report(mismatch(key, "a table", value).hint(SHAPE));
        return None;
    };
    let span = Some(Span::from(value.span()));
    let mut fields = Fields::new(table, span);
    let id = fields.string("id", context);
    let path = fields.parsed("path", context, checks::place);
    let image = fields.string("image", context);
    let reason = fields.string("reason", context);
    let is_mistyped = fields.is_mistyped(&["id", "reason"]);
    fields.finish(context, &[]);
    if let Some(id) = &id {
        context.log.accept(checks::finding(id), id.span);
    }
    if let Some(reason) = reason.as_ref().filter(|reason| reason.trim().is_empty()) {
        context
            .log
            .report(Fault::new("the reason is empty", reason.span).hint("say why it is as it should be"));
    }
    let missing = match (&id, &reason) {
        (None, _) => Some("the exception doesn't say what is allowed: `id` is missing"),
        (_, None) => Some("the exception doesn't say why: `reason` is missing"),
        _ => None,
    };
    if let Some(message) = missing.filter(|_| !is_mistyped) {
        context.log.absent(Fault::new(message, span).hint(SHAPE));
    }
    Some(Allowed { id: id?, path, image, reason: reason? })
}
