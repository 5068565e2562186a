//! How far the steps of a plan are: what each made, once that is known, and where the bytes are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::blob::{BlobError, Source as _, many};
use crate::build::find::{at_once, chain, find, holds, source};
use crate::build::steps::known::is_of_step;
use crate::build::steps::{Steps, Workplace, read};
use crate::build::{BuildError, Context, StepFault};
use crate::cache::Record;
use crate::compress::codec_id;
use crate::event::{Cancelled, Event, LayerOutcome, Warning};
use crate::files::{DiskTree, FileTree, MountedTree};
use crate::key::{Key, KeyWriter};
use crate::layer::{self, Answer, Origin, StepKey};
use crate::plan::{Plan, PlannedStep};
use crate::step::{self, OutputTree, OutputTrees, StepError};

/// A step of which it is known what it made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FinishedStep {
    /// Its place in [`Plan::steps`].
    pub index: usize,
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is.
    pub label: String,
    /// The blob of what it made, and what is known of that.
    pub record: Record,
    /// The keys that it goes by.
    pub keys: Vec<Key>,
    /// Whether its command ran, and what answered if not.
    pub outcome: LayerOutcome,
    /// What the place beside the cache is called that has it.
    pub place: Option<String>,
    /// How long that took.
    pub elapsed: Duration,
    pub(in crate::build) origin: Origin,
    /// Whether a place beside the cache answered for it, or for something that it was made of.
    pub(super) is_foreign: bool,
}

impl FinishedStep {
    /// Returns what a cache that has its blob is to be told, so that it answers for the step: under the
    /// key of what it made, and under those it goes by.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.record.content.iter().chain(&self.keys).map(|key| self.record.under(*key))
    }

    /// The key of what it made: the same for all that is the same.
    pub(super) fn root(&self) -> Key {
        self.record.content.expect("records that answer for steps have one, and captured ones as well")
    }
}

/// Whoever fails tells how; the steps that need it aren't started then.
pub(in crate::build) type Fallible<T> = Result<T, BuildError>;

/// The steps of a plan on their way.
pub(in crate::build) struct Progress<'a> {
    pub(super) plan: &'a Plan,
    pub(super) steps: &'a Steps,
    pub(super) context: Context<'a>,
    pub(super) place: &'a Workplace<'a>,
    pub(super) trees: OutputTrees,
    pub(super) host: step::Host<'a>,
    states: Vec<Mutex<State>>,
    /// Held by whoever makes a step, brings back what it made, or makes it again: one at a time. Taken after
    /// that of a step which needs it, and never while a state is held.
    making: Vec<Mutex<()>>,
}

/// Why what a step made can't be brought back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Its blob can't be had.
    #[error(transparent)]
    Gone(#[from] BlobError),
    /// It can't be unpacked.
    #[error(transparent)]
    Unfit(#[from] StepError),
}

impl Lost {
    /// Tells whether the blob is at fault, and not how it was read.
    fn is_of_the_blob(&self) -> bool {
        match self {
            Self::Gone(fault) => matches!(fault, BlobError::Missing { .. } | BlobError::Corrupt { .. }),
            Self::Unfit(fault) => fault.is_of_the_blob(),
        }
    }
}

/// What is known of a step by now.
#[derive(Default)]
struct State {
    finished: Option<Arc<FinishedStep>>,
    tree: Option<OutputTree>,
}

impl<'a> Progress<'a> {
    pub(in crate::build) fn new(
        plan: &'a Plan,
        steps: &'a Steps,
        context: Context<'a>,
        place: &'a Workplace<'a>,
    ) -> Self {
        let trees = OutputTrees::new(place.cache).over(place.below);
        let host = step::Host::new(place.root, place.cache, place.variables).over(place.below);
        let making = plan.steps.iter().map(|_| Mutex::default()).collect();
        let states = plan.steps.iter().map(|_| Mutex::default()).collect();
        Self { plan, steps, context, place, trees, host, states, making }
    }

    fn state(&self, index: usize) -> MutexGuard<'_, State> {
        self.states[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a step made, if that is known.
    pub(super) fn finished(&self, index: usize) -> Option<Arc<FinishedStep>> {
        self.state(index).finished.clone()
    }

    /// All that are finished, in the order of the plan.
    pub(super) fn all_finished(&self) -> Vec<FinishedStep> {
        let all = (0..self.states.len()).filter_map(|index| self.finished(index));
        all.map(|finished| (*finished).clone()).collect()
    }

    /// The steps as layers know them by now: by what they made.
    pub(in crate::build) fn realised(&self) -> Vec<StepKey> {
        let key = |(index, step): (usize, &PlannedStep)| StepKey {
            label: step.label.clone(),
            key: self.finished(index).map(|finished| finished.root()),
        };
        self.plan.steps.iter().enumerate().map(key).collect()
    }

    /// Asks for steps by their declared keys, side by side where others than the cache are asked. Tells of
    /// each whether something answers.
    pub(super) fn are_answered(&self, steps: &[usize]) -> Fallible<Vec<bool>> {
        let asked = many(steps, at_once(self.context), |index| {
            let start = Instant::now();
            Ok::<_, BuildError>((self.declared_answer(*index)?, start.elapsed()))
        })?;
        // In their order, whichever was answered first.
        for (index, (answer, elapsed)) in steps.iter().zip(asked) {
            if let Some((key, answer)) = answer {
                self.finish(*index, answer, (vec![key], false), elapsed);
            }
        }
        Ok(steps.iter().map(|index| self.finished(*index).is_some()).collect())
    }

    fn declared_answer(&self, index: usize) -> Fallible<Option<(Key, Answer)>> {
        if self.context.verifies || self.finished(index).is_some() {
            return Ok(None);
        }
        let Some(declared) = self.steps.known[index].declared else { return Ok(None) };
        Ok(self.ask(&declared)?.map(|answer| (declared, answer)))
    }

    fn is_answered(&self, index: usize) -> Fallible<bool> {
        Ok(self.are_answered(&[index])? == [true])
    }

    /// Makes a step finished whose needs are: by a record of what they made, or by running it.
    pub(super) fn make(&self, index: usize) -> Fallible<()> {
        let start = Instant::now();
        let _making = self.making[index].lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have needed it before its turn.
        if self.finished(index).is_some() || self.is_realised(index)? {
            return Ok(());
        }
        self.run_once(index, start)
    }

    /// Asks for a step by what its needs made, which is known. Tells whether something answers.
    pub(super) fn is_realised(&self, index: usize) -> Fallible<bool> {
        let start = Instant::now();
        let (realised, keys) = self.keys(index);
        let Some(answer) = self.realised_answer(index, &realised)? else { return Ok(false) };
        self.record(index, &answer, &realised);
        // It says what is made of what the needs made, not that these made it.
        let is_foreign = self.has_foreign_needs(index);
        self.finish(index, answer, (keys, is_foreign), start.elapsed());
        Ok(true)
    }

    fn realised_answer(&self, index: usize, realised: &Key) -> Fallible<Option<Answer>> {
        let made = self.place.made.and_then(|made| made.get(realised));
        if let Some(record) = made
            && holds(self.context.store, &record)?
        {
            return Ok(Some(Answer { record, origin: Origin::Store }));
        }
        let step = &self.plan.steps[index];
        // What needs nothing is recorded under both keys, and was asked for by the other.
        match step.always || self.context.verifies || step.needs.is_empty() {
            true => Ok(None),
            false => self.ask(realised),
        }
    }

    /// The key by what the needs made, and all keys that the step is recorded under: none if it runs
    /// always.
    pub(super) fn keys(&self, index: usize) -> (Key, Vec<Key>) {
        let step = &self.plan.steps[index];
        let known = &self.steps.known[index];
        let root = |need: &usize| self.finished(*need).map(|finished| finished.root());
        let made: Option<Vec<Key>> = step.needs.iter().map(root).collect();
        let made = made.expect("a step is made after those it needs");
        let realised = step::realised_key(&known.own, &made);
        let all = || known.declared.into_iter().chain([realised]).collect();
        (realised, if step.always { Vec::new() } else { all() })
    }

    fn run_once(&self, index: usize, start: Instant) -> Fallible<()> {
        let (record, tree) = self.run(index)?;
        // What the needs made may be another thing than before, where it had to be made again.
        let (realised, keys) = self.keys(index);
        if let Some(made) = self.place.made {
            made.note(realised, &record);
        }
        let answer = Answer { record, origin: Origin::Made };
        self.record(index, &answer, &realised);
        self.state(index).tree = Some(tree);
        self.finish(index, answer, (keys, self.has_foreign_needs(index)), start.elapsed());
        Ok(())
    }

    pub(super) fn ask(&self, key: &Key) -> Fallible<Option<Answer>> {
        Ok(find(std::slice::from_ref(key), &is_of_step, self.context)?)
    }

    /// Records what a step made under its keys, if its blob is in the store. What was made of what a place
    /// beside the cache has is known by that alone, and not by what the steps are: those who aren't told of
    /// the place aren't answered by it. `realised` is made of the needs' bytes that the answer is of: what
    /// they made may be another thing by now.
    fn record(&self, index: usize, Answer { record, origin }: &Answer, realised: &Key) {
        if matches!(origin, Origin::Place(_)) || self.plan.steps[index].always {
            return;
        }
        let declared = self.steps.known[index].declared.filter(|_| !self.has_foreign_needs(index));
        declared.iter().chain([realised]).for_each(|key| self.keep(&record.under(*key)));
    }

    fn has_foreign_needs(&self, index: usize) -> bool {
        self.is_any_foreign(self.plan.steps[index].needs.iter().copied())
    }

    /// Tells whether some of these steps were answered by a place beside the cache, or made of what was.
    pub(super) fn is_any_foreign(&self, mut steps: impl Iterator<Item = usize>) -> bool {
        steps.any(|step| self.finished(step).is_some_and(|step| step.is_foreign))
    }

    /// Keeps a record. A cache that can't be written to costs the next run time, and this one nothing.
    pub(super) fn keep(&self, record: &Record) {
        let Some(records) = self.context.records else { return };
        if let Err(fault) = records.put(record) {
            let warning = Warning::new(format!("a step is not cached: {}", chain(&fault)));
            self.context.observer.event(&Event::Warning(warning.hint("check the cache directory")));
        }
    }

    /// Notes of a step what it made, the keys that it goes by, and whether it is of something that a place
    /// beside the cache answered for.
    fn finish(&self, index: usize, answer: Answer, (keys, is_foreign): (Vec<Key>, bool), elapsed: Duration) {
        let step = &self.plan.steps[index];
        let Answer { record, origin } = answer;
        let (outcome, place) = (self.context.outcome(origin), self.context.place(origin));
        let (name, label) = (step.name.clone(), step.label.clone());
        let event = Event::StepFinished { step: label.clone(), outcome, elapsed };
        let is_foreign = is_foreign || matches!(origin, Origin::Place(_));
        let finished =
            FinishedStep { index, name, label, record, keys, outcome, place, elapsed, origin, is_foreign };
        self.state(index).finished = Some(Arc::new(finished));
        self.context.observer.event(&event);
    }

    /// The tree of what a finished step made: brought back from where it is, if it isn't at hand. If it
    /// is gone everywhere, the step runs again.
    pub(super) fn tree(&self, index: usize) -> Fallible<OutputTree> {
        let _making = self.making[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = self.state(index).tree.clone() {
            return Ok(tree);
        }
        let finished = self.finished(index).expect("trees of finished steps are asked for");
        let find = || self.trees.find(&tree_key(&finished.record), self.context.cancel);
        let found = self.context.pool.install(find)?.map_err(|fault| self.fault(index, fault.into()))?;
        let tree = match found {
            Some(tree) => Some(tree),
            None => self.restore(&finished)?,
        };
        if let Some(tree) = tree {
            self.know_by_content(&finished, &tree)?;
            self.state(index).tree = Some(tree.clone());
            return Ok(tree);
        }
        for need in &self.plan.steps[index].needs {
            if self.finished(*need).is_none() && !self.is_answered(*need)? {
                self.make_with_needs(*need)?;
            }
        }
        self.run_once(index, Instant::now())?;
        Ok(self.state(index).tree.clone().expect("a step that ran has its tree"))
    }

    /// Makes a step that nobody thought was needed, and what it needs.
    fn make_with_needs(&self, index: usize) -> Fallible<()> {
        for need in &self.plan.steps[index].needs {
            if !self.is_answered(*need)? {
                self.make_with_needs(*need)?;
            }
        }
        self.make(index)
    }

    /// Brings back what a step made. Returns nothing, and tells so, if it isn't there any more or isn't what
    /// it should be: the step may run again. Whatever else is in the way would be in the way of that as well.
    fn restore(&self, finished: &FinishedStep) -> Fallible<Option<OutputTree>> {
        let start = Instant::now();
        let lost = match self.bring_back(finished) {
            Ok(tree) => return Ok(Some(tree)),
            Err(lost) => lost,
        };
        self.context.cancel.check()?;
        match lost {
            Lost::Unfit(fault) if !fault.is_of_the_blob() => {
                Err(self.failed(finished.index, fault.into(), None, start))
            }
            lost => self.tell_of_loss(finished, &lost).map(|()| None),
        }
    }

    fn bring_back(&self, finished: &FinishedStep) -> Result<OutputTree, Lost> {
        let start = Instant::now();
        let tree = self.unpack(&finished.record, finished.origin)?;
        let (step, size) = (finished.label.clone(), finished.record.layers[0].descriptor.size);
        self.context.observer.event(&Event::StepRestored { step, size, elapsed: start.elapsed() });
        Ok(tree)
    }

    /// Unpacks the blob of what a step made.
    pub(super) fn unpack(&self, record: &Record, origin: Origin) -> Result<OutputTree, Lost> {
        let blob = &record.layers[0].descriptor;
        let unreadable = |source| BlobError::Read { digest: blob.digest, source };
        let bytes = source(&[origin], self.context).fetch(blob)?.open(0).map_err(unreadable)?;
        Ok(self.trees.extract(&tree_key(record), bytes, record.tar_size, self.context.cancel)?)
    }

    /// What a place says that its blob holds is no evidence: from when the bytes are here on, the step is
    /// known by what they are.
    fn know_by_content(&self, finished: &Arc<FinishedStep>, tree: &OutputTree) -> Fallible<()> {
        if !matches!(finished.origin, Origin::Place(_)) {
            return Ok(());
        }
        let step = &self.plan.steps[finished.index];
        let files = tree.tree();
        let look = || self.contents(&read::outputs(step), &format!("outputs of {}", step.label), files);
        let contents = self.context.pool.install(look)?;
        let contents = contents.map_err(|stopped| self.stopped(finished.index, stopped))?;
        let content = Some(layer::content_key(&contents.root, &codec_id(read::COMPRESSION)));
        if finished.record.content != content {
            let record = Record { content, ..finished.record.clone() };
            self.state(finished.index).finished =
                Some(Arc::new(FinishedStep { record, ..(**finished).clone() }));
        }
        Ok(())
    }

    /// Tells that what a step made is gone, and takes away what is left of it.
    fn tell_of_loss(&self, finished: &FinishedStep, lost: &Lost) -> Fallible<()> {
        if !matches!(finished.origin, Origin::Place(_)) && lost.is_of_the_blob() {
            // Else it would stand for what is made now.
            self.context.store.remove(&finished.record.layers[0].descriptor.digest)?;
        }
        let message = format!("what step `{}` made can't be brought back: {}", finished.label, chain(lost));
        self.context.observer.event(&Event::Warning(Warning::new(message).hint("it is run again")));
        Ok(())
    }

    /// Makes sure that what some steps made stayed as it was while it was read. Works in the pool.
    pub(super) fn stayed(&self, mut steps: impl Iterator<Item = usize>) -> Fallible<()> {
        steps.try_for_each(|index| {
            let Some(tree) = self.state(index).tree.clone() else { return Ok(()) };
            match tree.is_unchanged(self.context.cancel) {
                Ok(true) => Ok(()),
                Ok(false) => Err(self.fault(index, StepFault::Disturbed)),
                Err(fault) => Err(self.fault(index, fault.into())),
            }
        })
    }

    /// The root, with what some steps made mounted in it.
    pub(super) fn mounted(&self, steps: impl Iterator<Item = usize>) -> Fallible<MountedTree<'a>> {
        let mount = |index: usize| {
            let tree = self.tree(index)?;
            // That it stays is seen to by the tree that is kept with the step.
            let tree = DiskTree::open(tree.path());
            let tree = tree.map_err(|fault| self.fault(index, StepFault::Tree(fault)))?;
            Ok((index, Arc::new(tree) as Arc<dyn FileTree>))
        };
        let mounts = steps.map(mount).collect::<Fallible<Vec<_>>>()?;
        Ok(MountedTree::new(self.context.tree, mounts))
    }

    pub(super) fn fault(&self, index: usize, fault: StepFault) -> BuildError {
        // What fails because all is stopped hasn't failed.
        if self.context.cancel.is_cancelled() {
            return BuildError::Cancelled(Cancelled);
        }
        BuildError::step(self.plan, &self.plan.steps[index], fault)
    }
}

/// Names the tree of what a record says: by what it says that it holds, and by the blob. One that says
/// something wrong of its blob has a tree of its own.
pub(super) fn tree_key(record: &Record) -> Key {
    let mut key = KeyWriter::new("outputs", 1);
    key.optional("content", record.content.as_ref().map(Key::hex));
    for layer in &record.layers {
        key.digest("blob", &layer.descriptor.digest);
    }
    key.finish()
}
