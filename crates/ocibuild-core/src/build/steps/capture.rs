//! What a step made, captured: written into the store, held against what is recorded where that is wanted,
//! taken over, and recorded by what it holds. In this order, so that nothing is left of what fails on the way.

use std::path::Path;

use crate::base::Listing;
use crate::build::Context;
use crate::build::find::asking;
use crate::build::steps::progress::{Lost, Progress, tree_key};
use crate::build::steps::run::{Captured, Stopped};
use crate::build::steps::{StepFault, read};
use crate::cache::Record;
use crate::digest::DiffId;
use crate::event::Event;
use crate::files::{DiskTree, FileKind, FileTree as _, display};
use crate::layer::{self, Made, ManifestKeys, Origin, Workshop};
use crate::plan::PlannedStep;
use crate::step::{OutputTree, Private, Run};

impl Progress<'_> {
    /// Writes what the step made into the store, and takes it out of the step's directory.
    pub(super) fn capture(
        &self,
        index: usize,
        private: &Private,
        run: &Run<'_>,
    ) -> Result<Captured, Stopped> {
        let (step, context) = (&self.plan.steps[index], self.context);
        let work = if step.in_place { self.place.root.to_owned() } else { private.work() };
        let tree = DiskTree::open(&work)?;
        check_outputs(step, &tree, run)?;
        if step.in_place {
            self.check_inputs(index)?;
        }
        let paths: Vec<&[u8]> = step.outputs.iter().map(|output| output.path.as_bytes()).collect();
        let search = || run.search(&tree, &paths, context.cancel);
        context.pool.install(search).map_err(|fault| Stopped::Build(fault.into()))??;
        let made = self.write(step, &tree)?;
        let tree = self.take_over(index, &made.record, &work, &paths);
        let tree = tree.inspect_err(|_| self.discard(&made))?;
        made.new.iter().for_each(|record| self.keep(record));
        Ok((made.record, tree))
    }

    /// Writes what a step made into the store. No record of it is kept yet.
    fn write(&self, step: &PlannedStep, tree: &DiskTree) -> Result<Made, Stopped> {
        let context = self.context;
        let warnings = |event: &Event| {
            if matches!(event, Event::Warning(_)) {
                context.observer.event(event);
            }
        };
        let outputs = read::outputs(step);
        // The bytes are at hand: what other places say of such content isn't asked.
        let here = Context { tiers: &[], ..context };
        let write = || {
            asking(self.plan, true, here, |workshop| {
                let workshop =
                    Workshop { tree, stat: None, inspects: false, observer: &warnings, ..workshop };
                layer::build(&outputs, &Listing::empty(), ManifestKeys::default(), workshop)
            })
        };
        let (made, _) = context
            .pool
            .install(write)
            .map_err(|fault| Stopped::Build(fault.into()))?
            .map_err(|fault| Stopped::Fault(StepFault::Outputs(Box::new(fault))))?;
        Ok(made)
    }

    /// Takes what was captured out of the directory that it was made in, if it is what it should be.
    fn take_over(
        &self,
        index: usize,
        record: &Record,
        work: &Path,
        paths: &[&[u8]],
    ) -> Result<OutputTree, Stopped> {
        self.hold_against_records(index, record)?;
        let context = self.context;
        if self.plan.steps[index].in_place {
            // What is in the checkout is the user's, and may be another thing by now than what was written.
            return self.unpack(record, Origin::Store).map_err(|lost| match lost {
                Lost::Gone(fault) => Stopped::Build(fault.into()),
                Lost::Unfit(fault) => Stopped::Fault(fault.into()),
            });
        }
        let adopt = || self.trees.adopt(&tree_key(record), work, paths, context.cancel);
        Ok(context.pool.install(adopt).map_err(|fault| Stopped::Build(fault.into()))??)
    }

    /// Makes sure, where that is to be verified, that a step made what something would have answered with.
    /// By the bytes of a tar of it: a blob, and the key of its content, depend on who compressed that.
    fn hold_against_records(&self, index: usize, record: &Record) -> Result<(), Stopped> {
        if !self.context.verifies || self.plan.steps[index].always {
            return Ok(());
        }
        let (_, keys) = self.keys(index);
        for key in &keys {
            let Some(answer) = self.ask(key).map_err(Stopped::Build)? else { continue };
            if held(&answer.record).ne(held(record)) {
                let place = self.context.place(answer.origin);
                return Err(StepFault::Unlike { place }.into());
            }
        }
        Ok(())
    }

    /// Takes what was written for a step that failed after all out of the store, unless it is also what
    /// something else made: what isn't new was there before, and what is recorded by now others made as well.
    /// Where records aren't looked at nobody knows which it is, so it stays.
    fn discard(&self, made: &Made) {
        let Some(records) = self.context.records else { return };
        let is_known = |record: &Record| !matches!(records.get(&record.key), Ok(None));
        for record in made.new.iter().filter(|record| !is_known(record)) {
            let layers = record.layers.iter().map(|layer| &layer.descriptor);
            for blob in layers.chain(&record.inventory) {
                // What stays is named by nothing.
                let _ = self.context.store.remove(&blob.digest);
            }
        }
    }

    /// Makes sure that what a step ran on in place is what its key is made of.
    fn check_inputs(&self, index: usize) -> Result<(), Stopped> {
        let inputs = read::inputs(&self.plan.steps[index]);
        let look = || self.contents(&inputs, "inputs of steps", self.context.tree);
        let seen = self.context.pool.install(look).map_err(|fault| Stopped::Build(fault.into()))??;
        match seen.root == self.steps.known[index].inputs {
            true => Ok(()),
            false => Err(Stopped::Fault(StepFault::Changed)),
        }
    }
}

/// Makes sure that a command made all that its step names.
fn check_outputs(step: &PlannedStep, tree: &DiskTree, run: &Run<'_>) -> Result<(), StepFault> {
    for output in &step.outputs {
        let (path, span) = (output.path.clone(), output.span);
        match tree.metadata(path.as_bytes()) {
            Ok(seen) if seen.kind == FileKind::Symlink => return Err(StepFault::LinkAsOutput { path, span }),
            Ok(_) => {}
            Err(_) => {
                let nearby = nearby(tree, &path).iter().map(|name| run.masked(name)).collect();
                return Err(StepFault::NoOutput { path, span, nearby });
            }
        }
    }
    Ok(())
}

/// The tar bytes that a record answers with.
fn held(record: &Record) -> impl Iterator<Item = DiffId> {
    record.layers.iter().map(|layer| layer.diff_id)
}

/// Names of what is in the directory in which something is missing.
fn nearby(tree: &DiskTree, path: &str) -> Vec<String> {
    const MOST: usize = 8;
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let listed = tree.read_dir(parent.as_bytes()).unwrap_or_default();
    let mut names: Vec<String> = listed.iter().map(|(name, _)| display(name)).collect();
    names.sort();
    names.truncate(MOST);
    names
}
