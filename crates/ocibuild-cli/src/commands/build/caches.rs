//! The caches of a build: what the flags say of them, and telling one what was built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use clap::Args;
use ocibuild_core::blob::{BlobError, Store};
use ocibuild_core::build::{FinishedLayer, RanSteps};
use ocibuild_core::cache::{CacheError, Kept};
use ocibuild_core::event::Cancelled;
use ocibuild_core::event::Warning;
use ocibuild_core::plan::Plan;
use ocibuild_core::spec::{CacheMode, CachePlace};
use ocibuild_core::{Builder, Built, Cancel, Digest, Reference};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::environment;
use crate::failure::Failure;
use crate::object_stores;
use crate::options::Options;
use crate::parse;
use crate::progress::Reporter;

/// Which caches are asked and told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct CacheFlags {
    /// Ask this image, which was pushed before, or this cache repository for layers and steps that the
    /// machine's cache doesn't have, in place of the spec's `[cache]`; repeat it for more
    ///
    /// A layer whose key it knows is neither built nor downloaded: the registry takes it over where
    /// it can. Whoever may push to that name says what such layers are. What isn't there is a warning.
    /// With a scheme it is an object store: `s3://bucket/prefix`, `redis://host:6379/prefix`.
    #[arg(long, value_name = "REFERENCE", value_parser = parse::cache_place, conflicts_with = "no_cache")]
    pub(crate) cache_from: Vec<CachePlace>,

    /// Tell this cache repository what was built, once the images are pushed, in place of the spec's
    ///
    /// It is an image of its own, which holds records of many builds and branches; `--cache-from`
    /// reads it. Nothing is written where it has all of it. If it can't be written, that is a warning.
    /// With a scheme it is an object store, as for `--cache-from`.
    #[arg(long, value_name = "REFERENCE", value_parser = parse::cache_place, conflicts_with = "no_cache")]
    pub(crate) cache_to: Option<CachePlace>,

    /// Give it so much: `min`, records alone, whose blobs are where the images are pushed, or `max`,
    /// the blobs of layers as well, and what steps made [default: min]
    #[arg(long, value_name = "MODE", value_parser = parse::cache_mode, conflicts_with = "no_cache")]
    pub(crate) cache_mode: Option<CacheMode>,

    /// Write to no cache, neither the machine's nor another: what has to be made goes to a temporary
    /// directory (`TMPDIR`)
    #[arg(long)]
    pub(crate) cache_read_only: bool,

    /// Build every layer anew, run every step, and record none: what is recorded stays as it was; the
    /// images are the same either way
    #[arg(long)]
    pub(crate) no_cache: bool,
}

/// Where layers are looked for, and recorded.
pub(crate) struct Caches {
    from: Vec<CachePlace>,
    to: Option<CachePlace>,
    mode: Option<CacheMode>,
    is_used: bool,
    /// Whether none is asked, nor told, but the machine's own.
    is_offline: bool,
    /// The machine's own.
    pub(crate) store: Store,
    /// Where what is made goes, if nothing is to be written to.
    scratch: Option<TempDir>,
    /// Those beside it that are in no registry.
    stores: OnceLock<object_stores::Opened>,
    /// The blobs of layers that a place beside the machine's cache answered for.
    elsewhere: Mutex<BTreeMap<Digest, Answer>>,
    /// Those of them that turned out not to be there.
    gone: Mutex<BTreeSet<Digest>>,
    /// How often that happened at each place.
    losses: Mutex<BTreeMap<String, usize>>,
}

/// Who answered for a blob, and of which layer it is.
#[derive(PartialEq, Eq)]
struct Answer {
    place: String,
    layer: usize,
}

/// How often a place may name a layer's blob that isn't there before nothing that it named is believed.
const PATIENCE: usize = 2;

/// What a cache was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) place: String,
    pub(crate) kept: Kept,
}

impl Told {
    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "place": self.place,
            "records": self.kept.records,
            "uploaded": { "count": self.kept.blobs, "bytes": self.kept.bytes },
        })
    }
}

impl Caches {
    /// # Errors
    /// [`Failure`] if there is no room for what is made.
    pub(crate) fn new(args: &CacheFlags, is_offline: bool, cache: &Path) -> Result<Self, Failure> {
        let temporary = environment::temporary();
        let make = || tempfile::Builder::new().prefix("ocibuild-").tempdir_in(&temporary);
        let made = args.cache_read_only.then(make).transpose().map_err(|source| {
            let fault = BlobError::File { action: "create a directory in", path: temporary.clone(), source };
            Failure::Place { error: fault, origin: crate::failure::Origin::Files, cache: None }
        });
        let scratch = made?;
        let store = match &scratch {
            None => Store::new(cache),
            Some(scratch) => Store::over(scratch.path(), cache),
        };
        Ok(Self {
            from: args.cache_from.clone(),
            to: args.cache_to.clone(),
            mode: args.cache_mode,
            is_used: !args.no_cache,
            is_offline,
            store,
            scratch,
            stores: OnceLock::new(),
            elsewhere: Mutex::default(),
            gone: Mutex::default(),
            losses: Mutex::default(),
        })
    }

    pub(crate) fn apply<'b>(&'b self, builder: Builder<'b>, plan: Option<&Plan>, push: bool) -> Builder<'b> {
        let builder = builder.use_records(self.is_used).without_blobs(lock(&self.gone).iter().copied());
        let builder = match &self.from[..] {
            [] => builder,
            places => builder.cache_from(places.iter().cloned()),
        };
        let builder = self.to.iter().cloned().fold(builder, Builder::cache_to);
        let builder = self.mode.into_iter().fold(builder, Builder::cache_mode);
        let builder =
            self.scratch.iter().fold(builder, |builder, _| builder.cache_read_only(self.store.clone()));
        let builder = match self.stores.get() {
            None => builder,
            Some(stores) => builder.cache_stores(object_stores::Shared(&**stores)),
        };
        let tags = plan.into_iter().filter(|_| push).flat_map(|plan| &plan.images);
        let tags: Vec<Reference> = tags.flat_map(|image| image.tags.clone()).collect();
        builder.pushes_to(tags)
    }

    /// Opens the places that are in no registry, for all attempts of the run.
    ///
    /// # Errors
    /// [`Failure`] if one can't be meant.
    pub(crate) fn open_stores(
        &self,
        plan: &Plan,
        options: &Options,
        reporter: &Reporter,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        if !self.is_used {
            return Ok(());
        }
        let flags = self.from.iter().chain(&self.to);
        let from = plan.cache_from.iter().filter(|_| self.from.is_empty());
        let to = plan.cache_to.iter().filter(|_| self.to.is_none());
        let opened = object_stores::open(flags, from.chain(to), options, reporter, cancel)?;
        if let Some(opened) = opened {
            let _ = self.stores.set(opened);
        }
        Ok(())
    }

    /// Tells whether places beside the machine's cache are to answer for layers; the spec may name some.
    pub(crate) fn is_asked(&self, spec_names_some: bool) -> bool {
        self.is_used && (spec_names_some || !self.from.is_empty())
    }

    /// Tells whether a place in a registry is asked for layers.
    pub(crate) fn asks_registries(&self, plan: &Plan) -> bool {
        let places = if self.from.is_empty() { &plan.cache_from } else { &self.from };
        self.is_used && places.iter().any(|place| place.image().is_some())
    }

    /// The registry that is told of what was built, if one is.
    pub(crate) fn told_registry(
        &self,
        target: Option<(CachePlace, CacheMode)>,
        push: bool,
    ) -> Option<String> {
        let (place, mode) = target?;
        let is_told = push || mode == CacheMode::Max;
        place.image().filter(|_| is_told).map(|image| image.repository().registry().to_owned())
    }

    /// Notes which blobs of a layer a place beside the machine's cache has, and returns them.
    pub(crate) fn note(&self, layer: &FinishedLayer) -> Vec<Digest> {
        let blobs = layer.blobs().map(|(built, _)| built.descriptor.digest).zip(layer.places());
        let answer = |place: &str| Answer { place: place.to_owned(), layer: layer.index };
        let answers = blobs.filter_map(|(blob, place)| Some((blob, answer(place?))));
        let answers: Vec<(Digest, Answer)> = answers.collect();
        let blobs = answers.iter().map(|(blob, _)| *blob).collect();
        lock(&self.elsewhere).extend(answers);
        blobs
    }

    /// Tells whether a blob is one that a place beside the machine's cache was said to have.
    pub(crate) fn is_elsewhere(&self, digest: &Digest) -> bool {
        lock(&self.elsewhere).contains_key(digest)
    }

    /// Does without a blob from now on, and without the others of its layer that the same place named:
    /// the layer is made anew in any case, and each attempt finds but one. Where that happens again and
    /// again, it does without all that the place named.
    pub(crate) fn forget(&self, digest: &Digest, reporter: &Reporter) {
        let elsewhere = lock(&self.elsewhere);
        let Some(answer) = elsewhere.get(digest) else { return };
        let losses = {
            let mut losses = lock(&self.losses);
            let losses = losses.entry(answer.place.clone()).or_default();
            *losses += 1;
            *losses
        };
        let is_lost = |other: &Answer| match losses > PATIENCE {
            true => other.place == answer.place,
            false => other == answer,
        };
        let lost = elsewhere.iter().filter(|(_, other)| is_lost(other)).map(|(blob, _)| *blob);
        lock(&self.gone).extend(lost);
        reporter.clear();
        reporter.warn_text(&format!(
            "the layer `{digest}` can't be had from where it was found a moment ago; it is made anew"
        ));
    }

    /// Tells a cache what was built, if there is one to be told. That it can't be is no failure.
    ///
    /// # Errors
    /// [`Cancelled`] if it was.
    pub(crate) fn tell(
        &self,
        builder: &Builder<'_>,
        plan: &Plan,
        built: &Built,
        push: bool,
        reporter: &Reporter,
    ) -> Result<Option<Told>, Cancelled> {
        let Some((place, mode)) = builder.cache_target(plan) else {
            if let Some(place) = self.to.as_ref().filter(|_| self.is_offline && self.scratch.is_none()) {
                let warning = Warning::new(format!("the cache `{place}` is not written: nobody is asked"));
                reporter.warn(&warning.hint("leave out `--offline` where it is to be written"));
            }
            return Ok(None);
        };
        if mode == CacheMode::Min && !push {
            // A spec has it for those runs that push.
            if self.to.is_some() {
                let warning = Warning::new(format!("the cache `{place}` is not written: nothing is pushed"));
                reporter.warn(&warning.hint(
                    "its records would name blobs that are nowhere: add `--push`, or `--cache-mode max`",
                ));
            }
            return Ok(None);
        }
        Self::written(&place, builder.write_cache(plan, built), reporter)
    }

    /// Tells a cache what steps made, if there is one to be told. That it can't be is no failure.
    ///
    /// # Errors
    /// [`Cancelled`] if it was.
    pub(crate) fn tell_of_steps(
        &self,
        builder: &Builder<'_>,
        plan: &Plan,
        steps: &RanSteps,
        reporter: &Reporter,
    ) -> Result<Option<Told>, Cancelled> {
        let Some((place, mode)) = builder.cache_target(plan) else { return Ok(None) };
        if mode == CacheMode::Min {
            if self.to.is_some() {
                let warning = Warning::new(format!("the cache `{place}` is not told of steps"));
                reporter.warn(&warning.hint("it would have no bytes of theirs: add `--cache-mode max`"));
            }
            return Ok(None);
        }
        Self::written(&place, builder.write_step_cache(plan, steps), reporter)
    }

    /// Tells what came of writing a cache.
    fn written(
        place: &CachePlace,
        kept: Result<Option<Kept>, CacheError>,
        reporter: &Reporter,
    ) -> Result<Option<Told>, Cancelled> {
        match kept {
            Ok(kept) => {
                if let Some(Kept { left_out: count, told: all, .. }) = kept.filter(|kept| kept.left_out > 0) {
                    let message = format!(
                        "the cache `{place}` has no room for all of this build: {count} of {all} records \
                         are not kept there, or without their blobs"
                    );
                    let hint = "what they would have answered for is made anew, or read where it was pushed \
                                to; of one build a cache repository keeps 500 blobs in 20 GiB and 4,375 \
                                records in 7 MiB: split layers into fewer parts, or use an object store";
                    reporter.warn(&Warning::new(message).hint(hint));
                }
                Ok(kept.map(|kept| Told { place: place.to_string(), kept }))
            }
            Err(CacheError::Cancelled(cancelled)) => Err(cancelled),
            Err(fault) => {
                let hint = match &fault {
                    CacheError::NoCache { .. } => "name a tag of its own for it: it is not an image's",
                    CacheError::Contended { .. } => "the next build writes it",
                    _ => "the images are built all the same; the next build tries again",
                };
                let warning = Warning::new(format!("the cache is not written: {}", chain(&fault)));
                reporter.warn(&warning.hint(hint));
                Ok(None)
            }
        }
    }
}

fn chain(fault: &CacheError) -> String {
    let first: &dyn std::error::Error = fault;
    let all = std::iter::successors(Some(first), |fault| fault.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
