//! Pushing to registries: layers while others are still being built, then what is missing, then
//! the tags.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ocibuild_core::blob::{BlobError, Source as _, Store};
use ocibuild_core::build::FinishedLayer;
use ocibuild_core::copy::{self, CopyOptions, CopyReport, Tally};
use ocibuild_core::event::Transfer;
use ocibuild_core::plan::Plan;
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{Registry, RemoteRepository};
use ocibuild_core::{Built, Cancel, Descriptor, Observer};

use crate::failure::Failure;
use crate::graph;
use crate::side_by_side::{by_registry, lock};

/// How many layers are sent at a time while others are being built.
const WORKERS: usize = 4;

/// The least bytes of a layer that are worth looking through an index for, which takes a question for
/// each platform; what is smaller goes when all is built.
const WORTH: u64 = 4 << 20;

/// Pushes the images of a plan.
pub(crate) struct Publisher<'a> {
    places: Vec<Place>,
    observer: &'a dyn Observer,
    cancel: Cancel,
    /// What went while layers were being built.
    early: Mutex<CopyReport>,
    fault: Mutex<Option<BlobError>>,
}

/// A repository, and what of the plan belongs there.
struct Place {
    repository: RemoteRepository,
    images: BTreeSet<usize>,
    layers: BTreeSet<usize>,
    /// Images and their tags, in the order of the plan.
    tags: Vec<(usize, String)>,
    /// The manifests of what the first tag means now, as far as it isn't known what they name; none
    /// before it was asked for.
    former: Mutex<Option<Vec<Descriptor>>>,
}

/// What went to registries, manifests included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    /// What was sent.
    pub(crate) uploaded: Tally,
    /// What didn't have to be: it was there, or in another of the registry's repositories.
    pub(crate) skipped: Tally,
    /// What of that the registry took over from another of its repositories.
    pub(crate) mounted: Tally,
}

/// A blob for places of one registry, in order: the second may mount it from the first.
type Errand = (Vec<usize>, Descriptor);

impl<'a> Publisher<'a> {
    /// Plans where images go: each repository gets a blob once, under however many tags.
    ///
    /// # Errors
    /// [`Failure::Usage`] if an image has no tag.
    pub(crate) fn new(
        plan: &Plan,
        registry: &Registry,
        observer: &'a dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        let mut places: Vec<Place> = Vec::new();
        for (index, image) in plan.images.iter().enumerate() {
            if image.tags.is_empty() {
                let failure = Failure::usage(format!("the image `{}` has no tag to push it to", image.name));
                return Err(failure
                    .with_hint("name one: `-t registry.example.com/team/app:1`, or `tags` in the spec"));
            }
            for tag in &image.tags {
                let place = place(&mut places, registry, tag.repository());
                place.images.insert(index);
                place.layers.extend(image.variants.iter().flat_map(|variant| variant.layers.clone()));
                place.tags.extend(tag.tag().map(|tag| (index, tag.to_owned())));
            }
        }
        let (early, fault) = (Mutex::default(), Mutex::default());
        Ok(Self { places, observer, cancel: cancel.clone(), early, fault })
    }

    /// Runs a build, and sends each layer that it makes as soon as it is in the store.
    ///
    /// A push that fails stops the build: [`Publisher::fault`] then says why. A build that fails
    /// stops the pushes, those under way as well: nothing will name what they send.
    pub(crate) fn alongside<T, E>(
        &self,
        store: &Store,
        build: impl FnOnce(&(dyn Fn(&FinishedLayer) + Sync)) -> Result<T, E>,
    ) -> Result<T, E> {
        // A channel, as the threads that build must not wait for a registry.
        let (sender, receiver) = mpsc::channel::<Errand>();
        let receiver = Mutex::new(receiver);
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| self.work(&receiver, store));
            }
            let hand_over = move |layer: &FinishedLayer| {
                for errand in self.errands(layer) {
                    // Nobody listens any more once a push failed.
                    let _ = sender.send(errand);
                }
            };
            let result = build(&hand_over);
            if result.is_err() {
                self.cancel.cancel();
            }
            drop(hand_over);
            result
        })
    }

    /// What was there before may be there still: about those one question a repository, asked
    /// later, is enough.
    fn errands(&self, layer: &FinishedLayer) -> Vec<Errand> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            if !place.layers.contains(&layer.index) {
                continue;
            }
            match groups.iter_mut().find(|(registry, _)| *registry == place.registry()) {
                Some((_, group)) => group.push(at),
                None => groups.push((place.registry(), vec![at])),
            }
        }
        let made = || layer.blobs().filter(|(_, outcome)| !outcome.is_reused());
        let blobs = || made().map(|(built, _)| built.descriptor.clone());
        groups.into_iter().flat_map(|(_, group)| blobs().map(move |blob| (group.clone(), blob))).collect()
    }

    fn work(&self, receiver: &Mutex<Receiver<Errand>>, store: &Store) {
        loop {
            // Bound, so that the lock is free before the errand begins.
            let errand = lock(receiver).recv();
            let Ok((places, blob)) = errand else { return };
            for place in places {
                if let Err(fault) = self.send(&self.places[place], &blob, store) {
                    self.fail(fault);
                    return;
                }
            }
        }
    }

    fn send(&self, place: &Place, blob: &Descriptor, store: &Store) -> Result<(), BlobError> {
        self.cancel.check()?;
        if !place.is_urgent(blob)? {
            return Ok(());
        }
        let content = store.fetch(blob)?;
        let options = self.options(&self.cancel);
        let transfer = copy::push(blob, content.as_ref(), &place.repository, &options)?;
        let mut early = lock(&self.early);
        match transfer {
            Transfer::Sent => early.sent.add(blob.size),
            Transfer::Mounted => early.mounted.add(blob.size),
            // It is found to be there once more.
            _ => {}
        }
        Ok(())
    }

    /// Notes the first failure, and stops what else is running.
    fn fail(&self, fault: BlobError) {
        lock(&self.fault).get_or_insert(fault);
        self.cancel.cancel();
    }

    /// Takes what stopped the run, if a push did.
    pub(crate) fn fault(&self) -> Option<BlobError> {
        lock(&self.fault).take().filter(|fault| !matches!(fault, BlobError::Cancelled(_)))
    }

    /// Sends whatever is missing still, children before parents, and then moves the tags that don't
    /// mean the images yet: all of them last. Tells what all of that came to.
    ///
    /// # Errors
    /// [`BlobError`]; tags that weren't moved yet then mean what they meant before.
    pub(crate) fn finish(&self, built: &Built) -> Result<Traffic, BlobError> {
        let registry = |place: &&Place| place.registry().to_owned();
        let bring = |place: &Place, cancel: &Cancel| self.bring(place, built, cancel);
        let brought = by_registry(&self.places, registry, &self.cancel, bring)?;
        let (mut total, mut whole) = (*lock(&self.early), Tally::default());
        for Brought { report, all, .. } in &brought {
            total += *report;
            whole += *all;
        }
        for (place, brought) in self.places.iter().zip(&brought) {
            for (root, tags) in &brought.left {
                let options = self.options(&self.cancel);
                total += place.repository.tag_all(root, tags, &built.source(), &options)?;
            }
        }
        let mut skipped = whole;
        skipped.blobs = skipped.blobs.saturating_sub(total.sent.blobs);
        skipped.bytes = skipped.bytes.saturating_sub(total.sent.bytes);
        Ok(Traffic { uploaded: total.sent, skipped, mounted: total.mounted })
    }

    /// Brings a place all that belongs there, but for its tags.
    fn bring(&self, place: &Place, built: &Built, cancel: &Cancel) -> Result<Brought, BlobError> {
        let source = built.source();
        let root = |index: &usize| built.images[*index].root.clone();
        let mut left = Vec::new();
        for index in &place.images {
            let own = place.tags.iter().filter(|(other, _)| other == index);
            let tags: Vec<&str> = own.map(|(_, tag)| tag.as_str()).collect();
            let root = root(index);
            let untagged = place.repository.untagged(&root, &tags, &source)?;
            left.push((root, untagged));
        }
        let roots: Vec<Descriptor> = place.images.iter().map(root).collect();
        let report = copy::copy(&roots, &source, &place.repository, &self.options(cancel))?;
        if self.places.len() > 1 {
            place.repository.assume(&roots, &source);
        }
        Ok(Brought { report, all: graph::measure(&source, &roots)?, left })
    }

    fn options(&self, cancel: &Cancel) -> CopyOptions<'a> {
        CopyOptions::new().observer(self.observer).cancel(cancel.clone())
    }
}

impl Place {
    /// Tells whether a blob should go ahead of its image. Mostly images change little: what the one
    /// has that is there now is found out with one question, so that none is asked for each layer.
    fn is_urgent(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        let Some((_, tag)) = self.tags.first() else { return Ok(true) };
        // Held meanwhile: the others wait for the answer.
        let mut former = lock(&self.former);
        let parts = match &mut *former {
            Some(parts) => parts,
            former => former.insert(self.repository.recall(tag)?),
        };
        if !parts.is_empty() && blob.size < WORTH {
            return Ok(false);
        }
        parts.drain(..).try_for_each(|part| self.repository.recall(&part.digest.to_string()).map(drop))?;
        Ok(true)
    }

    fn registry(&self) -> &str {
        self.repository.repository().registry()
    }
}

/// What came of bringing a place what belongs there.
struct Brought {
    report: CopyReport,
    /// Everything that belongs there.
    all: Tally,
    /// Images, and the tags that are to be moved to them.
    left: Vec<(Descriptor, Vec<String>)>,
}

fn place<'p>(places: &'p mut Vec<Place>, registry: &Registry, repository: &Repository) -> &'p mut Place {
    let known = places.iter().position(|place| place.repository.repository() == repository);
    let index = known.unwrap_or_else(|| {
        places.push(Place {
            repository: registry.repository(repository),
            images: BTreeSet::new(),
            layers: BTreeSet::new(),
            tags: Vec::new(),
            former: Mutex::default(),
        });
        places.len() - 1
    });
    &mut places[index]
}
