//! A lock's text.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::digest::DiffId;
use crate::lock::{LockError, Pin, PinnedImage, VERSION};
use crate::oci::{Descriptor, MediaType};
use crate::reference::Reference;

/// What is wrong, and which bytes of the text are to blame.
struct Fault {
    message: String,
    span: Range<usize>,
}

impl Fault {
    fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), span }
    }
}

type Value<'t> = Spanned<DeValue<'t>>;

pub(super) fn read(text: &str) -> Result<BTreeMap<Reference, Pin>, LockError> {
    let document = DeTable::parse(text).map_err(|error| {
        // Some of the parser's messages have a second line, with what was expected.
        let message = error.message().replace('\n', ", ");
        Fault::new(message, error.span().unwrap_or_default())
    });
    document.and_then(|document| bases(document.get_ref())).map_err(|fault| {
        let before = text.get(..fault.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        LockError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: fault.message,
        }
    })
}

fn bases(document: &DeTable<'_>) -> Result<BTreeMap<Reference, Pin>, Fault> {
    let table = Table { fields: document, span: 0..0 };
    let version = table.get("version")?;
    if integer(version)? != VERSION {
        let message = "the lock is of a version that is not understood here, only 1 is";
        return Err(Fault::new(message, version.span()));
    }
    table.check(&["version", "base"])?;
    let mut pins: BTreeMap<Reference, Pin> = BTreeMap::new();
    for base in table.tables("base")? {
        let pin = pin(&base)?;
        let name = base.get("reference")?;
        if pins.insert(parsed(name)?, pin).is_some() {
            return Err(Fault::new(format!("`{}` stands here twice", string(name)?), name.span()));
        }
    }
    Ok(pins)
}

fn pin(base: &Table<'_, '_>) -> Result<Pin, Fault> {
    base.check(&["reference", "media-type", "digest", "size", "image"])?;
    let media_type = MediaType::new(string(base.get("media-type")?)?);
    let digest = parsed(base.get("digest")?)?;
    let mut pin = Pin::new(Descriptor::new(media_type, digest, size(base.get("size")?)?));
    for table in base.tables("image")? {
        table.check(&["platform", "digest", "size", "diff-ids"])?;
        let name = table.get("platform")?;
        if pin.images.insert(parsed(name)?, image(&table)?).is_some() {
            return Err(Fault::new(format!("`{}` stands here twice", string(name)?), name.span()));
        }
    }
    Ok(pin)
}

fn image(table: &Table<'_, '_>) -> Result<PinnedImage, Fault> {
    let digest = parsed(table.get("digest")?)?;
    let diff_ids = strings(table.get("diff-ids")?)?;
    let diff_ids = diff_ids.iter().map(|text| Ok(DiffId(parsed(text)?)));
    let diff_ids = diff_ids.collect::<Result<_, Fault>>()?;
    Ok(PinnedImage::new(digest, size(table.get("size")?)?, diff_ids))
}

struct Table<'d, 't> {
    fields: &'d DeTable<'t>,
    span: Range<usize>,
}

impl<'d, 't> Table<'d, 't> {
    fn get(&self, key: &str) -> Result<&'d Value<'t>, Fault> {
        let value = self.fields.get(key);
        value.ok_or_else(|| Fault::new(format!("`{key}` is missing"), self.span.clone()))
    }

    fn check(&self, known: &[&str]) -> Result<(), Fault> {
        match self.fields.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            Some(key) => {
                Err(Fault::new(format!("unknown key `{}`", key.get_ref().escape_debug()), key.span()))
            }
            None => Ok(()),
        }
    }

    /// The tables of an array that needn't be there.
    fn tables(&self, key: &str) -> Result<Vec<Table<'d, 't>>, Fault> {
        let Some(value) = self.fields.get(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else {
            return Err(Fault::new(format!("`{key}` should be a list of tables"), value.span()));
        };
        let table = |item: &'d Value<'t>| match item.get_ref() {
            DeValue::Table(fields) => Ok(Table { fields, span: item.span() }),
            _ => Err(Fault::new("a table was expected", item.span())),
        };
        items.iter().map(table).collect()
    }
}

fn string<'d>(value: &'d Value<'_>) -> Result<&'d str, Fault> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(Fault::new("a string was expected", value.span())),
    }
}

fn strings<'d, 't>(value: &'d Value<'t>) -> Result<Vec<&'d Value<'t>>, Fault> {
    match value.get_ref() {
        DeValue::Array(items) => Ok(items.iter().collect()),
        _ => Err(Fault::new("a list of strings was expected", value.span())),
    }
}

fn parsed<T: FromStr<Err: Display>>(value: &Value<'_>) -> Result<T, Fault> {
    string(value)?.parse().map_err(|error: T::Err| Fault::new(error.to_string(), value.span()))
}

fn integer(value: &Value<'_>) -> Result<i64, Fault> {
    let number = match value.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    number.ok_or_else(|| Fault::new("a number was expected", value.span()))
}

fn size(value: &Value<'_>) -> Result<u64, Fault> {
    u64::try_from(integer(value)?).map_err(|_| Fault::new("a size in bytes was expected", value.span()))
}
