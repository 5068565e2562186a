//! Builds for tests: any tree, with the circumstances that may not show in the result.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::path::{Path, PathBuf};

use ocibuild_core::blob::{BlobError, Source, Store, read_whole};
use ocibuild_core::build::{
    Bases, BuildError, Built, Context, Foresight, OpenBase, Pool, Tier, build, foresee, resolve,
};
use ocibuild_core::cache::{BlockIndexes, LastBuilds, LocalRecords};
use ocibuild_core::event::{Cancel, Observer};
use ocibuild_core::files::{FileId, FileTree, StatCache};
use ocibuild_core::image::{Created, ValidateOptions, validate};
use ocibuild_core::layer::Budget;
use ocibuild_core::oci::Platform;
use ocibuild_core::plan::{BaseName, BuiltinBase, Plan, Surroundings, plan};
use ocibuild_core::spec::{ImageSpec, Spec};

/// The circumstances of a build.
pub(crate) struct Setup<'a> {
    pub(crate) cache: PathBuf,
    pub(crate) threads: usize,
    pub(crate) memory: u64,
    pub(crate) use_records: bool,
    pub(crate) created: u64,
    pub(crate) host: &'a str,
    pub(crate) name: &'a str,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: Cancel,
    pub(crate) base: Option<OpenBase>,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) skip: Vec<FileId>,
    /// What is known of the tree. Trees in memory have no times to go by.
    pub(crate) stat: Option<&'a StatCache>,
    pub(crate) verifies: bool,
}

impl Setup<'_> {
    pub(crate) fn new(cache: &Path) -> Self {
        Self {
            cache: cache.to_owned(),
            threads: 2,
            memory: Budget::DEFAULT,
            use_records: true,
            created: 1,
            host: "linux-x86_64",
            name: "test",
            observer: &(),
            cancel: Cancel::new(),
            base: None,
            tiers: Vec::new(),
            skip: Vec::new(),
            stat: None,
            verifies: false,
        }
    }
}

struct Nothing;

impl Surroundings for Nothing {
    fn builtin(&self, _: &str, _: u32) -> Option<BuiltinBase> {
        None
    }

    fn base_platform(&self, _: &str) -> Option<Platform> {
        None
    }
}

struct TheBase<'a>(&'a Option<OpenBase>);

impl Bases for TheBase<'_> {
    fn open(&self, base: &BaseName) -> Result<OpenBase, BlobError> {
        Ok(self.0.clone().unwrap_or_else(|| panic!("no base is needed, but `{base}` is asked for")))
    }
}

/// Plans a spec.
pub(crate) fn planned(spec: &Spec, name: &str) -> Plan {
    plan(spec, name, &[], &Nothing).unwrap()
}

/// Builds an image of a tree.
pub(crate) fn try_build(
    tree: &dyn FileTree,
    image: &ImageSpec,
    setup: &Setup<'_>,
) -> Result<Built, BuildError> {
    try_build_spec(tree, &image.clone().into_spec().unwrap(), setup)
}

/// Builds the images of a spec; every one must be valid.
pub(crate) fn try_build_spec(
    tree: &dyn FileTree,
    spec: &Spec,
    setup: &Setup<'_>,
) -> Result<Built, BuildError> {
    let mut plan = planned(spec, setup.name);
    // Whether programs would start is no matter of these tests, most of which have only a few files.
    plan.checks.policy.fail_on = Some(ocibuild_core::spec::FailOn::Never.into());
    let built = in_context(tree, setup, |context| build(resolve(&plan, context)?, context, &|_| {}))?;
    assert_valid(&built);
    Ok(built)
}

/// Finds out what a build of an image would do.
pub(crate) fn try_foresee(
    tree: &dyn FileTree,
    image: &ImageSpec,
    setup: &Setup<'_>,
) -> Result<Foresight, BuildError> {
    let plan = planned(&image.clone().into_spec().unwrap(), setup.name);
    in_context(tree, setup, |context| foresee(&plan, context))
}

fn in_context<T>(tree: &dyn FileTree, setup: &Setup<'_>, work: impl FnOnce(Context<'_>) -> T) -> T {
    let (store, records) = (Store::new(&setup.cache), LocalRecords::new(&setup.cache));
    let (last, blocks) = (LastBuilds::new(&setup.cache), BlockIndexes::new(&setup.cache));
    let told: Vec<String> = setup.tiers.iter().map(|tier| tier.place.clone()).collect();
    work(Context {
        tree,
        stayed: None,
        skip: &setup.skip,
        bases: &TheBase(&setup.base),
        store: &store,
        records: if setup.use_records { Some(&records) } else { None },
        tiers: &setup.tiers,
        step_keys: &[],
        workplace: None,
        told: &told,
        stat: setup.stat.filter(|_| setup.use_records),
        last: if setup.use_records { Some(&last) } else { None },
        blocks: if setup.use_records { Some(&blocks) } else { None },
        verifies: setup.verifies,
        pool: &Pool::new(setup.threads),
        budget: &Budget::new(setup.memory),
        observer: setup.observer,
        cancel: &setup.cancel,
        host: setup.host,
        created: Created(setup.created),
    })
}

/// Builds an image that can be built.
pub(crate) fn build_image(tree: &dyn FileTree, image: &ImageSpec, setup: &Setup<'_>) -> Built {
    try_build(tree, image, setup).unwrap()
}

fn assert_valid(built: &Built) {
    for image in &built.images {
        let options = ValidateOptions::default().advice(true);
        let violations = validate(&built.source(), &image.root, &options).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

/// The digest of the only image.
pub(crate) fn root(built: &Built) -> String {
    built.images[0].root.digest.to_string()
}

/// The digests of all layers' blobs.
pub(crate) fn layers(built: &Built) -> Vec<String> {
    let blobs = built.layers.iter().flat_map(|layer| &layer.record.layers);
    blobs.map(|layer| layer.descriptor.digest.to_string()).collect()
}

/// The tar bytes of the only layer.
pub(crate) fn tar_bytes(built: &Built) -> Vec<u8> {
    let layer = &built.layers[0].record.layers[0].descriptor;
    let blob = read_whole(&built.source() as &dyn Source, layer, 1 << 30).unwrap();
    if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return zstd::decode_all(&blob[..]).unwrap();
    }
    if !blob.starts_with(&[0x1f, 0x8b]) {
        return blob;
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::bufread::MultiGzDecoder::new(&blob[..]), &mut bytes).unwrap();
    bytes
}

/// The number of files in a cache's directory for what isn't finished.
pub(crate) fn unfinished(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("tmp")).map_or(0, Iterator::count)
}

/// Text that compresses, different for each seed.
pub(crate) fn text(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 30 {
            0 => bytes.extend_from_slice(b"export const "),
            1 => bytes.extend_from_slice(state.to_string().as_bytes()),
            2 => bytes.extend_from_slice(&state.to_le_bytes()),
            _ => bytes.extend_from_slice(b"return require("),
        }
    }
    bytes.truncate(length);
    bytes
}
