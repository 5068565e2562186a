//! What own layers hold at the paths that checks ask for, so that it is read once and not in each run.
//!
//! An image that is sound hardly asks. Where a program isn't there, all that the layers hold has to be
//! read to be sure of it, and again in each run that reuses them: for a warning, or a note that is hardly
//! ever read. So the answers are kept as a record under a key of the layers' inventories, which say all
//! that they follow from.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde::{Deserialize, Serialize};

use crate::build::checks::aside_each;
use crate::build::find::known;
use crate::build::{Context, FinishedLayer};
use crate::cache::Record;
use crate::checks::{Contents, Held, Item};
use crate::key::{Key, KeyWriter};
use crate::layer::ListedEntry;
use crate::oci::{Descriptor, MediaType};

/// The most that is kept, in bytes. Beyond, all is read each time.
const MAX_PACKED: usize = 512 << 10;
/// The most answers that are noted: nobody asks as much but by what is made for it.
const MAX_ANSWERS: usize = 1 << 17;
/// As far as it is unpacked, in bytes.
const MAX_UNPACKED: usize = 16 << 20;
const LEVEL: i32 = 3;

/// What was asked, with the answers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answers {
    at: BTreeMap<String, Option<(Noted, usize)>>,
    named: BTreeMap<String, Vec<String>>,
}

/// An [`Item`] as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Noted {
    Directory,
    File,
    Link(String),
}

impl Noted {
    /// Nothing for what isn't UTF-8: that is read each time.
    fn of(item: &Item) -> Option<Self> {
        Some(match item {
            Item::Directory => Self::Directory,
            Item::File => Self::File,
            Item::Link(target) => Self::Link(String::from_utf8(target.clone()).ok()?),
        })
    }

    fn item(self) -> Item {
        match self {
            Self::Directory => Item::Directory,
            Self::File => Item::File,
            Self::Link(target) => Item::Link(target.into_bytes()),
        }
    }
}

/// What an image's own layers hold: by what was asked before, else by their inventories.
pub(super) struct Lookups<'a> {
    layers: &'a [&'a FinishedLayer],
    context: Context<'a>,
    /// None where nothing can be kept.
    key: Option<Key>,
    answers: OnceCell<RefCell<Answers>>,
    all: OnceCell<Option<Held>>,
    /// Paths of files and links among these, by their last names.
    names: OnceCell<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>,
    has_more: Cell<bool>,
}

impl<'a> Lookups<'a> {
    pub(super) fn new(layers: &'a [&'a FinishedLayer], context: Context<'a>) -> Self {
        let digest = |layer: &&FinishedLayer| Some(layer.record.inventory.as_ref()?.digest.to_string());
        let inventories: Option<Vec<String>> = layers.iter().map(digest).collect();
        let key = inventories.map(|inventories| {
            let mut writer = KeyWriter::new("lookup", 2);
            writer.list("inventory", &inventories);
            writer.finish()
        });
        let (answers, all, names) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { layers, context, key, answers, all, names, has_more: Cell::new(false) }
    }

    fn answers(&self) -> &RefCell<Answers> {
        self.answers.get_or_init(|| RefCell::new(self.kept().unwrap_or_default()))
    }

    /// What earlier runs asked. Who verifies what others say goes by none of it.
    fn kept(&self) -> Option<Answers> {
        let Context { records, observer, verifies, .. } = self.context;
        let (key, records) = self.key.zip(records).filter(|_| !verifies)?;
        let record = known(records, &key, observer).filter(Record::is_lookup)?;
        let packed = record.inventory?.embedded()?;
        let mut json = Vec::new();
        let decoder = zstd::stream::Decoder::new(&packed[..]).ok()?;
        decoder.take(MAX_UNPACKED as u64).read_to_end(&mut json).ok()?;
        let answers = serde_json::from_slice(&json).ok()?;
        records.used(&key);
        Some(answers)
    }

    /// Keeps what was asked in this run. Where that can't be, it costs the next run time and nothing else.
    pub(super) fn keep(&self) {
        let Some((key, records)) = self.key.zip(self.context.records).filter(|_| self.has_more.get()) else {
            return;
        };
        let json = serde_json::to_vec(&*self.answers().borrow()).expect("answers have string keys");
        let packed = zstd::bulk::compress(&json, LEVEL).expect("memory takes it");
        if json.len() <= MAX_UNPACKED && packed.len() <= MAX_PACKED {
            let _ = records.put(&record(key, &packed));
        }
    }

    fn all(&self) -> &Option<Held> {
        self.all.get_or_init(|| contents(self.layers, self.context))
    }

    /// Those that are asked for by their names may be many, so all are put in order once.
    fn names(&self, all: &Held) -> &BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
        self.names.get_or_init(|| {
            let mut names: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
            for (path, _) in all.iter().filter(|(_, (item, _))| *item != Item::Directory) {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                names.entry(name.to_vec()).or_default().push(path.clone());
            }
            names
        })
    }
}

impl Contents for Lookups<'_> {
    fn at(&self, path: &[u8]) -> Option<Option<(Item, usize)>> {
        let text = std::str::from_utf8(path).ok();
        if let Some(known) = text.and_then(|text| self.answers().borrow().at.get(text).cloned()) {
            return Some(known.map(|(noted, layer)| (noted.item(), layer)));
        }
        let found = self.all().at(path)?;
        let noted = found.as_ref().map(|(item, layer)| Some((Noted::of(item)?, *layer)));
        if let Some(text) = text.filter(|_| !matches!(noted, Some(None))) {
            let mut answers = self.answers().borrow_mut();
            if answers.at.len() < MAX_ANSWERS {
                answers.at.insert(text.to_owned(), noted.flatten());
                self.has_more.set(true);
            }
        }
        Some(found)
    }

    fn named(&self, name: &[u8]) -> Option<Vec<Vec<u8>>> {
        let text = std::str::from_utf8(name).ok();
        if let Some(known) = text.and_then(|text| self.answers().borrow().named.get(text).cloned()) {
            return Some(known.into_iter().map(String::into_bytes).collect());
        }
        let found = self.names(self.all().as_ref()?).get(name).cloned().unwrap_or_default();
        let noted: Result<Vec<String>, _> = found.iter().cloned().map(String::from_utf8).collect();
        if let (Some(text), Ok(noted)) = (text, noted) {
            self.answers().borrow_mut().named.insert(text.to_owned(), noted);
            self.has_more.set(true);
        }
        Some(found)
    }
}

fn record(key: Key, packed: &[u8]) -> Record {
    Record {
        version: Record::VERSION,
        key,
        content: None,
        layers: Vec::new(),
        materials: Vec::new(),
        inventory: Some(Descriptor::of(MediaType::LOOKUP, packed).embed(packed)),
        machines: BTreeSet::new(),
        entries: 0,
        tar_size: 0,
        inspection: None,
        is_trace: false,
    }
}

/// All that layers hold, those above over those below; none if that of one isn't known.
fn contents(layers: &[&FinishedLayer], context: Context<'_>) -> Option<Held> {
    let mut all = Held::new();
    for (index, layer) in layers.iter().enumerate() {
        let take = |entry: ListedEntry| {
            let item = match entry.target {
                Some(target) => Item::Link(target),
                None if entry.is_directory => Item::Directory,
                None => Item::File,
            };
            all.insert(entry.path, (item, index));
        };
        if !aside_each(layer, context, take).unwrap_or(false) {
            return None;
        }
    }
    Some(all)
}
