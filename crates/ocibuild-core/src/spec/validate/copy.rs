//! One copy of a layer.

use super::literal;
use crate::pattern::Pattern;
use crate::spec::log::Log;
use crate::spec::{
    Account, CopyKind, CopyRule, Fault, FromRule, IgnoreFile, Located, Mode, Owner, Policy, Span, ValueError,
    check,
};

pub(super) fn copy(rule: &CopyRule, log: &mut Log) {
    literal(&rule.to, check::destination, log);
    // Of a file it was found before defaults were put below the copy.
    if rule.span.is_none() {
        contradictions(rule, log);
    }
    if let Some(owner) = rule.owner.as_ref().filter(|owner| has_highest(owner)) {
        let message = format!("`{}` is not an owner: the highest number stands for none", owner.value);
        log.report(Fault::new(message, owner.span));
    }
    policy(&rule.policy, log);
    match &rule.what {
        CopyKind::From(from) => from_host(from, rule, log),
        CopyKind::Content(_) | CopyKind::Bytes(_) => {
            file_name(rule, "content", log);
            no_mode(rule.dir_mode, "`dir-mode` goes only with `from`", log);
        }
        CopyKind::Symlink(target) => {
            file_name(rule, "a symlink", log);
            literal(target, link_target, log);
            no_mode(rule.mode, "a symlink has no mode", log);
            no_mode(rule.dir_mode, "a symlink has no mode", log);
        }
        CopyKind::Directory => no_mode(rule.dir_mode, "a directory's mode is its `mode`", log),
    }
}

/// What a copy can set, and can keep as its source has it.
pub(in crate::spec) const KEPT_AND_SET: [&str; 2] = ["owner", "mode"];

/// The fault of a copy that does both.
pub(in crate::spec) fn kept_and_set(word: &str, span: Option<Span>) -> Fault {
    Fault::new(format!("`{word}` sets what `preserve` is to keep"), span)
        .hint(format!("leave out one of them: `{word}`, or \"{word}\" in `preserve`"))
}

fn contradictions(rule: &CopyRule, log: &mut Log) {
    let Some(kept) = &rule.policy.preserve else { return };
    let set = [(rule.owner.is_some() && kept.owner), (rule.mode.is_some() && kept.mode)];
    for (word, _) in KEPT_AND_SET.into_iter().zip(set).filter(|(_, both)| *both) {
        log.report(kept_and_set(word, None));
    }
}

fn has_highest(owner: &Owner) -> bool {
    let highest = Account::Id(u32::MAX);
    owner.user == highest || owner.group.as_ref() == Some(&highest)
}

/// Checks how files are taken over: of a copy, or of all of a layer.
pub(super) fn policy(policy: &Policy, log: &mut Log) {
    if let Some(Located { value: IgnoreFile::File(file), span }) = &policy.ignore_file
        && let Some(text) = file.as_literal()
    {
        log.accept(check::manifest(text), *span);
    }
}

fn from_host(from: &FromRule, rule: &CopyRule, log: &mut Log) {
    literal(&from.path, check::source, log);
    if from.step.is_some() {
        from_step(rule, log);
    }
    for pattern in from.include.iter().chain(&from.exclude) {
        literal(pattern, check::pattern, log);
    }
    let (path, to) = (from.path.as_literal(), rule.to.as_literal());
    let glob = path.and_then(|path| Pattern::parse(path).ok()).is_some_and(|pattern| pattern.is_glob());
    if let Some(to) = to.filter(|to| glob && to.starts_with('/') && !to.ends_with('/')) {
        let fault =
            Fault::new(format!("`{to}` is to take what a glob finds, but isn't a directory"), rule.to.span);
        log.report(fault.hint(format!("write \"{to}/\"")));
    }
}

/// What a step makes has neither owners nor times of its own, and is all meant.
fn from_step(rule: &CopyRule, log: &mut Log) {
    if let Some(file) = &rule.policy.ignore_file {
        let fault = Fault::new("an ignore file doesn't count for what a step makes", file.span);
        log.report(fault.hint("write `exclude = [\"…\"]` in the copy"));
    }
    let Some(kept) = &rule.policy.preserve else { return };
    if let Some(word) = kept.names().find(|word| *word != "mode") {
        let fault = Fault::new(format!("`{word}` can't be preserved of what a step makes"), kept.span);
        log.report(fault.hint("only modes are kept of it: leave the word out"));
    }
}

/// Checks that the destination names a file: there is no other name it could keep.
fn file_name(rule: &CopyRule, what: &str, log: &mut Log) {
    if let Some(to) = rule.to.as_literal().filter(|to| to.starts_with('/') && to.ends_with('/')) {
        let fault = Fault::new(format!("`{to}` is a directory, but {what} needs a name"), rule.to.span);
        log.report(fault.hint(format!("write \"{to}NAME\"")));
    }
}

fn link_target(text: &str) -> Result<(), ValueError> {
    if text.is_empty() || text.contains('\0') {
        return Err(ValueError::new("the target of the symlink is empty or holds a NUL character"));
    }
    Ok(())
}

fn no_mode(mode: Option<Located<Mode>>, message: &str, log: &mut Log) {
    if let Some(mode) = mode {
        log.report(Fault::new(message, mode.span));
    }
}
