//! Values of variables that were meant to be expanded, as a shell or a Dockerfile would.

use crate::spec::{Fault, Pairs, Segment};

/// What `PATH` is in images whose base doesn't say it, and in most that do.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that are set in every container: whoever names one means it.
const EVERYWHERE: [&str; 2] = ["PATH", "HOME"];

/// Warns of values that name a variable of the image. Runtimes take them as they are, so that a
/// `PATH` with `$PATH` in it finds no program.
///
/// A `$` before any other name may be a template of the program's own, or a password.
pub(super) fn references(env: &Pairs) -> impl Iterator<Item = Fault> {
    env.iter().filter_map(|(own, value)| {
        let is_known =
            |name: &str| EVERYWHERE.contains(&name) || env.iter().any(|(other, _)| *other.value == *name);
        let texts = value.segments().iter().filter_map(|segment| match segment {
            Segment::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let reference = texts.flat_map(named).find(|reference| is_known(reference.name))?;
        let Reference { written, name } = reference;
        let message =
            format!("`{written}` in the variable `{}` stays as it is: images expand no variables", own.value);
        Some(Fault::new(message, value.span).hint(match (name, value.as_literal()) {
            ("PATH", Some(text)) => {
                format!("write all of it, such as \"{}\"", text.replace(written, USUAL_PATH).escape_debug())
            }
            _ => format!("write what `{name}` is in its place; `ocibuild inspect` shows what a base has"),
        }))
    })
}

/// A variable that a text names.
struct Reference<'t> {
    /// `$NAME` or `${NAME}`.
    written: &'t str,
    name: &'t str,
}

/// The variables that a text names. What is escaped, `\$` or `$$`, names none.
fn named(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
        let rest = &text[dollar + 1..];
        if rest.starts_with('$') {
            at = dollar + 2;
            continue;
        }
        at = dollar + 1;
        let (name, length) = match rest.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                // What has more in its braces, such as a default, is named by what comes first.
                Some((inside, _)) => (word(inside), inside.len() + 3),
                None => continue,
            },
            None => (word(rest), word(rest).len() + 1),
        };
        if !name.is_empty() && !text[..dollar].ends_with('\\') {
            found.push(Reference { written: &text[dollar..dollar + length], name });
        }
    }
    found
}

/// The name that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Template;

    fn warnings(env: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair =
            |(name, value): &(&str, &str)| ((*name).to_owned().into(), Template::literal(*value).into());
        let env: Pairs = env.iter().map(pair).collect();
        references(&env).map(|fault| (fault.message, fault.hint.unwrap())).collect()
    }

    #[test]
    fn variables_of_the_image_are_found_in_both_forms() {
        for written in ["$PATH", "${PATH}", "${PATH:-/bin}"] {
            let found = warnings(&[("PATH", &format!("/x:{written}:/y"))]);
            let [(message, hint)] = &found[..] else { panic!("{written}: {found:?}") };
            let expected =
                format!("`{written}` in the variable `PATH` stays as it is: images expand no variables");
            assert_eq!(*message, expected);
            assert_eq!(*hint, format!("write all of it, such as \"/x:{USUAL_PATH}:/y\""));
        }
        assert_eq!(warnings(&[("DIR", "$HOME/x")]).len(), 1);
        let both =
            warnings(&[("ROOT", "/opt"), ("BIN", "$ROOT/bin"), ("LD_LIBRARY_PATH", "/x:$LD_LIBRARY_PATH")]);
        assert_eq!(both.len(), 2, "{both:?}");
    }

    #[test]
    fn a_dollar_that_names_no_variable_of_the_image_is_nobodys_business() {
        for value in [
            "pa$$word",
            "a$b",
            "$1",
            "${vault:db}",
            "\\$PATH",
            "$$PATH",
            "cost: 5$",
            "${PATH",
            "$PATHS",
            "%PATH%",
            "$é",
        ] {
            assert_eq!(warnings(&[("A", value)]), [], "{value}");
        }
    }
}
