//! The builder: everything an embedder needs for the whole job, in one place.
//!
//! It only joins the modules below: opens the tree, the cache and the bases, plans, resolves,
//! builds, and hands what was built to a destination.

#[cfg(feature = "registry")]
mod bases;
mod caches;
#[cfg(feature = "registry")]
mod pull;
mod rebase;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{ArchiveImage, ArchiveWriter};
use crate::base::Base;
use crate::blob::{BlobError, Store, Target as _};
use crate::build::{
    Built, BuiltImage, Context, Explanation, FinishedLayer, Foresight, Pool, build, explain, foresee, resolve,
};
use crate::cache::{BlockIndexes, Hold, LastBuilds, LocalRecords};
use crate::copy::{CopyOptions, CopyReport, copy};
use crate::event::{Cancel, Observer};
use crate::files::{DiskTree, FileError, FileId, StatCache};
use crate::image::Created;
use crate::layer::Budget;
use crate::layout::Layout;
use crate::oci::Platform;
use crate::plan::{BuiltinBase, Plan, PlanError, Surroundings, plan};
use crate::spec::{ImageSpec, Spec, SpecError};
#[cfg(feature = "registry")]
use crate::{
    reference::Reference,
    registry::{Registry, RemoteRepository},
};
use caches::Caching;
#[cfg(feature = "registry")]
pub use pull::PullError;
#[cfg(feature = "registry")]
use pull::Pulling;
use steps::Stepping;

pub use crate::build::BuildError;

/// Something on the way from a spec to built images went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The spec is faulty.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The spec can't be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The root can't be opened.
    #[error(transparent)]
    Root(#[from] FileError),
    /// The plan can't be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

type Builtins<'a> = Box<dyn Fn(&str, u32) -> Option<BuiltinBase> + Send + Sync + 'a>;

/// Builds images of files below a root, with a cache.
///
/// Takes everything as parameters: it reads no environment, prints nothing, and starts threads
/// only while it builds, unless it is given a pool.
///
/// ```no_run
/// use ocibuild_core::{Builder, ImageSpec, LayerSpec, Platform, Registry};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let image = ImageSpec::scratch(Platform::linux_amd64())
///     .layer(LayerSpec::named("app").copy("target/release/server", "/app/server").mode(0o755))
///     .entrypoint(["/app/server"])
///     .user("65532");
/// let built = Builder::new("/src/server", "/var/cache/server").build(&image)?;
/// built.push(&Registry::default(), &"registry.example.com/team/app:1".parse()?)?;
/// # Ok(())
/// # }
/// ```
pub struct Builder<'a> {
    root: PathBuf,
    cache: PathBuf,
    name: Option<String>,
    images: Vec<String>,
    use_records: bool,
    verifies: bool,
    pool: Pool,
    memory: u64,
    observer: &'a dyn Observer,
    finished: Option<&'a (dyn Fn(&FinishedLayer) + Sync)>,
    cancel: Cancel,
    host: String,
    created: Created,
    builtins: Builtins<'a>,
    outputs: Vec<PathBuf>,
    caching: Caching<'a>,
    stepping: Stepping<'a>,
    #[cfg(feature = "registry")]
    pulling: Pulling,
}

impl<'a> Builder<'a> {
    /// Makes a builder of images of files below `root`, which keeps blobs and records in `cache`.
    pub fn new(root: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            cache: cache.into(),
            name: None,
            images: Vec::new(),
            use_records: true,
            verifies: false,
            pool: Pool::default(),
            memory: Budget::DEFAULT,
            observer: &(),
            finished: None,
            cancel: Cancel::new(),
            host: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            created: Created::default(),
            builtins: Box::new(|_, _| None),
            outputs: Vec::new(),
            caching: Caching::default(),
            stepping: Stepping::default(),
            #[cfg(feature = "registry")]
            pulling: Pulling::default(),
        }
    }

    /// Names specs that don't name themselves: part of the keys of their layers, so that two specs
    /// with layers of one name don't answer for each other. By default the name of the first image.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds only these images of a spec.
    #[must_use]
    pub fn images(mut self, images: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.images = images.into_iter().map(Into::into).collect();
        self
    }

    /// Says whether layers are answered from records and recorded; they are by default. The images
    /// are the same either way.
    #[must_use]
    pub fn use_records(mut self, yes: bool) -> Self {
        self.use_records = yes;
        self
    }

    /// Makes layers that something answers for all the same, of all their files, and fails where that
    /// gives another layer than what was recorded: where an installed tree doesn't follow from its
    /// lockfiles, or a place answers with what isn't ours. Takes the time of a build without a cache.
    #[must_use]
    pub fn verify_cache(mut self, yes: bool) -> Self {
        self.verifies = yes;
        self
    }

    /// Works with so many threads; by default with as many as there are processors.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.pool = Pool::new(threads);
        self
    }

    /// Works in a rayon pool that is there.
    #[must_use]
    pub fn pool(mut self, pool: Arc<rayon::ThreadPool>) -> Self {
        self.pool = Pool::given(pool);
        self
    }

    /// Bounds the memory that file contents take on their way, in bytes; 32 MiB by default.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Has an observer told of what happens.
    #[must_use]
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Has a function told of each layer as soon as its blobs are in the store.
    #[must_use]
    pub fn on_layer(mut self, finished: &'a (dyn Fn(&FinishedLayer) + Sync)) -> Self {
        self.finished = Some(finished);
        self
    }

    /// Stops when this is set.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Names the host that the files are made on, as far as it shows in them: system,
    /// architecture, C library. By default the system and architecture: whoever shares a cache
    /// between hosts with different C libraries names those as well.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Says when images were made (`SOURCE_DATE_EPOCH`): seconds since 1970-01-01T00:00:00Z. It
    /// reaches configs and annotations, never layers.
    #[must_use]
    pub fn created(mut self, seconds: u64) -> Self {
        self.created = Created(seconds);
        self
    }

    /// Brings builtin bases along, by name and version.
    #[must_use]
    pub fn builtins(
        mut self,
        builtins: impl Fn(&str, u32) -> Option<BuiltinBase> + Send + Sync + 'a,
    ) -> Self {
        self.builtins = Box::new(builtins);
        self
    }

    /// Names a file or directory that is written to, so that it is never taken for input. The
    /// cache is one by itself.
    #[must_use]
    pub fn output(mut self, path: impl Into<PathBuf>) -> Self {
        self.outputs.push(path.into());
        self
    }

    /// Builds an image.
    ///
    /// # Errors
    /// [`Error`]; nothing but whole layers is then in the cache.
    pub fn build(&self, image: &ImageSpec) -> Result<Built, Error> {
        self.build_spec(&image.clone().into_spec()?)
    }

    /// Builds the images of a spec. The spec's `root` is not looked at: the builder's counts.
    ///
    /// # Errors
    /// [`Error`]; nothing but whole layers is then in the cache.
    pub fn build_spec(&self, spec: &Spec) -> Result<Built, Error> {
        self.build_plan(&self.plan(spec)?)
    }

    /// Builds a plan that [`Builder::plan`] made.
    ///
    /// # Errors
    /// [`Error`]; nothing but whole layers is then in the cache.
    pub fn build_plan(&self, plan: &Plan) -> Result<Built, Error> {
        let tree = DiskTree::open(&self.root)?;
        let hold = self.enter_cache().map_err(BuildError::from)?;
        let (tiers, told) = (self.tiers(plan), self.told(plan));
        self.within(&tree, self.use_records, |context| {
            let context = Context { tiers: &tiers, told: &told, ..context };
            let resolved = resolve(plan, context)?;
            Ok(build(resolved, context, self.finished.unwrap_or(&|_| {}))?.holding(hold))
        })
    }

    /// Holds a plan against the files and bases there are, and returns all that would keep it from
    /// being built, as far as that shows without reading the layers' files; see
    /// [`build::check`](crate::build::check()). Writes nothing, but what it found out of bases into a
    /// cache that is there.
    ///
    /// # Errors
    /// [`Error`] if the root can't be opened, or it was cancelled.
    pub fn check_plan(&self, plan: &Plan) -> Result<Vec<crate::build::BuildError>, Error> {
        let tree = DiskTree::open(&self.root)?;
        let use_records = self.use_records && self.cache.is_dir();
        let told = self.told(plan);
        self.within(&tree, use_records, |context| {
            Ok(crate::build::check(plan, Context { told: &told, ..context })?)
        })
    }

    /// Finds out what a build of a plan would do, without compressing anything: see
    /// [`build::foresee`](crate::build::foresee()). Makes no cache where there is none.
    ///
    /// # Errors
    /// [`Error`], as a build would meet it.
    pub fn foresee_plan(&self, plan: &Plan) -> Result<Foresight, Error> {
        self.looking(plan, |context| Ok(foresee(plan, context)?))
    }

    /// Finds out why a build would make layers anew, by their places in the plan: see
    /// [`build::explain`](crate::build::explain()). Makes no cache where there is none.
    ///
    /// # Errors
    /// [`Error`], as a build would meet it.
    pub fn explain_plan(&self, plan: &Plan, layers: &[usize]) -> Result<Vec<Explanation>, Error> {
        self.looking(plan, |context| Ok(explain(plan, layers, context)?))
    }

    fn looking<T>(
        &self,
        plan: &Plan,
        look: impl FnOnce(Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tree = DiskTree::open(&self.root)?;
        let (tiers, told) = (self.tiers(plan), self.told(plan));
        let use_records = self.use_records && self.cache.is_dir();
        self.within(&tree, use_records, |context| look(Context { tiers: &tiers, told: &told, ..context }))
    }

    fn within<T>(
        &self,
        tree: &DiskTree,
        use_records: bool,
        work: impl FnOnce(Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let store = self.store();
        let records = self.local_records();
        let (stat, last, blocks) = match (&*self.cache, &self.caching.scratch) {
            (cache, None) => {
                (StatCache::new(cache, tree.path()), LastBuilds::new(cache), BlockIndexes::new(cache))
            }
            (cache, Some(_)) => (
                StatCache::read_only(cache, tree.path()),
                LastBuilds::read_only(cache),
                BlockIndexes::read_only(cache),
            ),
        };
        work(Context {
            tree,
            stayed: None,
            skip: &self.skipped(),
            // A check makes no cache where there is none.
            bases: &self.places(&store, store.root().is_dir()),
            store: &store,
            records: if use_records { Some(&records) } else { None },
            tiers: &[],
            told: &[],
            step_keys: &[],
            workplace: Some(&self.workplace(tree, &store)),
            stat: if use_records { Some(&stat) } else { None },
            last: if use_records { Some(&last) } else { None },
            blocks: if use_records { Some(&blocks) } else { None },
            verifies: self.verifies,
            pool: &self.pool,
            budget: &Budget::new(self.memory),
            observer: self.observer,
            cancel: &self.cancel,
            host: &self.host,
            created: self.created,
        })
    }

    /// Plans a spec without building it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan(&self, spec: &Spec) -> Result<Plan, PlanError> {
        plan(spec, &self.name_of(spec), &self.images, self)
    }

    fn name_of(&self, spec: &Spec) -> String {
        let own = spec.name.as_ref().map(|name| name.value.clone());
        let first = || spec.images.first().map(|image| image.name.value.clone());
        own.or_else(|| self.name.clone()).or_else(first).unwrap_or_default()
    }

    #[cfg(not(feature = "registry"))]
    fn places(&self, _: &Store, _: bool) -> Layouts<'_> {
        Layouts { root: &self.root }
    }

    /// Returns where blobs are kept.
    #[must_use]
    pub fn store(&self) -> Store {
        match &self.caching.scratch {
            None => Store::new(&self.cache),
            Some(scratch) => scratch.clone(),
        }
    }

    fn local_records(&self) -> LocalRecords {
        match self.caching.scratch {
            None => LocalRecords::new(&self.cache),
            Some(_) => LocalRecords::read_only(&self.cache),
        }
    }

    /// Makes what is written to, and takes a share in the cache. Before anything is looked at: a cache
    /// inside the root must be known, to be passed over.
    fn enter_cache(&self) -> Result<Option<Hold>, BlobError> {
        let place = self.caching.scratch.as_ref().map_or(&*self.cache, Store::root);
        std::fs::create_dir_all(place).map_err(|source| BlobError::File {
            action: "create",
            path: place.to_owned(),
            source,
        })?;
        if self.caching.scratch.is_some() && !self.cache.is_dir() {
            return Ok(None);
        }
        Ok(Hold::share(&self.cache, self.caching.scratch.is_none(), &self.cancel)?)
    }

    fn skipped(&self) -> Vec<FileId> {
        let scratch = self.caching.scratch.as_ref().map(Store::root);
        let paths =
            std::iter::once(&*self.cache).chain(scratch).chain(self.outputs.iter().map(|path| &**path));
        paths.filter_map(file_id).collect()
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path.metadata().ok()?;
    Some(FileId { device: metadata.dev(), inode: metadata.ino() })
}

impl Surroundings for Builder<'_> {
    fn builtin(&self, name: &str, version: u32) -> Option<BuiltinBase> {
        (self.builtins)(name, version)
    }

    fn base_platform(&self, layout: &str) -> Option<Platform> {
        let layout = Layout::open(self.root.join(layout)).ok()?;
        let root = layout.sole().ok()?;
        let amd64 = Platform::linux_amd64();
        let open = |platform| Base::open(&layout, &root, platform).ok();
        open(Some(&amd64)).or_else(|| open(None)).map(|base| base.platform)
    }
}

/// Layouts below a root.
#[cfg(not(feature = "registry"))]
struct Layouts<'a> {
    root: &'a Path,
}

#[cfg(not(feature = "registry"))]
impl crate::build::Bases for Layouts<'_> {
    fn open(&self, base: &crate::plan::BaseName) -> Result<crate::build::OpenBase, BlobError> {
        let crate::plan::BaseName::Layout(directory) = base else {
            let fault = crate::blob::PlaceFault::Unsuitable;
            let source = "this program is built without registries".into();
            return Err(BlobError::Place { place: format!("the image `{base}`"), fault, source });
        };
        let layout = Layout::open(self.root.join(directory))?;
        let root = layout.sole()?;
        Ok(crate::build::OpenBase { source: Arc::new(layout), root })
    }
}

impl Built {
    /// Pushes the only image to a repository and gives it the reference's tag (`latest` where it
    /// names none).
    ///
    /// # Errors
    /// [`BlobError`]; the tag then means what it meant before.
    ///
    /// # Panics
    /// If several images were built: push them with [`Built::push_image`].
    #[cfg(feature = "registry")]
    pub fn push(&self, registry: &Registry, reference: &Reference) -> Result<CopyReport, BlobError> {
        let [image] = &self.images[..] else { panic!("`push` is for a single image: use `push_image`") };
        self.push_image(image, registry, reference, &CopyOptions::default())
    }

    /// Pushes one of the images to a repository and gives it the reference's tag (`latest` where
    /// it names none). Blobs come before the manifests that name them, and the tag comes last.
    ///
    /// # Errors
    /// [`BlobError`]; the tag then means what it meant before.
    #[cfg(feature = "registry")]
    pub fn push_image(
        &self,
        image: &BuiltImage,
        registry: &Registry,
        reference: &Reference,
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        self.push_image_as(image, registry, std::slice::from_ref(reference), options)
    }

    /// Pushes one of the images to any number of repositories, under the references' tags. What one
    /// repository has the registry takes over for its others, where it can; all tags come last.
    ///
    /// # Errors
    /// [`BlobError`]; tags that weren't given yet then mean what they meant before.
    #[cfg(feature = "registry")]
    pub fn push_image_as(
        &self,
        image: &BuiltImage,
        registry: &Registry,
        references: &[Reference],
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        let (source, roots) = (self.source(), std::slice::from_ref(&image.root));
        let mut report = CopyReport::default();
        let mut targets = targets(registry, references);
        for (target, tags) in &mut targets {
            *tags = target.untagged(&image.root, tags, &source)?;
            report += copy(roots, &source, target, options)?;
            if references.len() > 1 {
                target.assume(roots, &source);
            }
        }
        for (target, tags) in &targets {
            report += target.tag_all(&image.root, tags, &source, options)?;
        }
        Ok(report)
    }

    /// Adds images to an OCI layout, each under its names, taking them from what had them.
    ///
    /// # Errors
    /// [`BlobError`]; the layout's names then mean what they meant before, or already the new.
    pub fn write_layout(
        &self,
        images: &[BuiltImage],
        layout: &Layout,
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        let report = copy(&roots(images), &self.source(), layout, options)?;
        for image in images {
            for name in &image.ref_names {
                layout.tag(&image.root, name)?;
            }
        }
        Ok(report)
    }

    /// Writes images into an archive and completes it.
    ///
    /// # Errors
    /// [`BlobError`]; a file that was there is then still the old one.
    pub fn write_archive(
        &self,
        images: &[BuiltImage],
        archive: ArchiveWriter<'_>,
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        let report = copy(&roots(images), &self.source(), &archive, options)?;
        let named = |image: &BuiltImage| {
            let named = ArchiveImage::new(image.root.clone(), image.name.clone());
            image.tags.iter().cloned().fold(named, ArchiveImage::reference)
        };
        archive.finish(&images.iter().map(named).collect::<Vec<_>>())?;
        Ok(report)
    }
}

/// The repositories that references name, each once and with its tags.
#[cfg(feature = "registry")]
fn targets(registry: &Registry, references: &[Reference]) -> Vec<(RemoteRepository, Vec<String>)> {
    let mut targets: Vec<(RemoteRepository, Vec<String>)> = Vec::new();
    for reference in references {
        let repository = reference.repository();
        let known = targets.iter().position(|(target, _)| target.repository() == repository);
        let at = known.unwrap_or_else(|| {
            targets.push((registry.repository(repository), Vec::new()));
            targets.len() - 1
        });
        let tags = &mut targets[at].1;
        let tag = reference.clone().or_latest().tag().map(str::to_owned);
        tags.extend(tag.filter(|tag| !tags.contains(tag)));
    }
    targets
}

fn roots(images: &[BuiltImage]) -> Vec<crate::oci::Descriptor> {
    images.iter().map(|image| image.root.clone()).collect()
}
