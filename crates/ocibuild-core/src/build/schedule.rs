//! Tasks that need each other, run side by side: never more than so many at once.
//!
//! Knows nothing of what a task is: whoever starts one says where it runs. The thread that calls waits,
//! and does no work of its own.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

/// As long as a thread of a pool that has nothing to do sleeps.
const TICK: Duration = Duration::from_millis(1);

/// A task of a graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    /// The tasks that must be done before.
    pub(super) after: Vec<usize>,
    /// What it has for itself while it runs: no other task that names the same runs at that time.
    pub(super) claims: Vec<String>,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It wasn't started, because this one before it failed.
    Skipped(usize),
    /// It wasn't started, because all was stopped.
    Stopped,
}

/// Tells that a task ended: once, whatever becomes of who has it.
pub(super) struct Signal {
    task: usize,
    sender: Sender<(usize, bool)>,
    is_done: bool,
}

impl Signal {
    /// Ends the task.
    pub(super) fn end(mut self, is_done: bool) {
        self.is_done = is_done;
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // Nobody listens any more only where the caller panicked.
        let _ = self.sender.send((self.task, self.is_done));
    }
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended(Ending),
}

/// Runs tasks, in their order where nothing else decides. `start` has a task begun on another thread,
/// and says how it ended by the signal. Once `stops` says so, nothing more is started.
///
/// A task that needs one that failed, or was skipped, is skipped; of the latter, because of what failed
/// first.
pub(super) fn run(
    tasks: &[Task],
    most: usize,
    stops: &dyn Fn() -> bool,
    mut start: impl FnMut(usize, Signal),
) -> Vec<Ending> {
    let (sender, receiver) = channel();
    let mut board = Board { tasks, states: vec![State::Waiting; tasks.len()], claimed: BTreeSet::new() };
    let mut running = 0;
    loop {
        board.skip();
        while running < most.max(1) && !stops() {
            let Some(next) = board.next() else { break };
            board.begin(next);
            running += 1;
            start(next, Signal { task: next, sender: sender.clone(), is_done: false });
        }
        if running == 0 {
            break;
        }
        let (task, is_done) = next(&receiver);
        board.end(task, is_done);
        running -= 1;
    }
    let ending = |state| match state {
        State::Ended(ending) => ending,
        State::Waiting | State::Running => Ending::Stopped,
    };
    board.states.into_iter().map(ending).collect()
}

/// Waits for the next task to end. A thread of a pool works meanwhile: the pool may have no other.
fn next(receiver: &Receiver<(usize, bool)>) -> (usize, bool) {
    const HELD: &str = "this thread holds a sender itself";
    if rayon::current_thread_index().is_none() {
        return receiver.recv().expect(HELD);
    }
    loop {
        match receiver.try_recv() {
            Ok(ended) => return ended,
            Err(TryRecvError::Disconnected) => unreachable!("{HELD}"),
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
            Err(TryRecvError::Empty) => std::thread::sleep(TICK),
        }
    }
}

struct Board<'t> {
    tasks: &'t [Task],
    states: Vec<State>,
    claimed: BTreeSet<&'t str>,
}

impl Board<'_> {
    /// The first task that nothing holds back.
    fn next(&self) -> Option<usize> {
        let is_done = |task: &usize| self.states[*task] == State::Ended(Ending::Done);
        let is_free = |task: &Task| task.claims.iter().all(|claim| !self.claimed.contains(&**claim));
        (0..self.tasks.len()).find(|index| {
            let task = &self.tasks[*index];
            self.states[*index] == State::Waiting && task.after.iter().all(is_done) && is_free(task)
        })
    }

    fn begin(&mut self, index: usize) {
        self.states[index] = State::Running;
        self.claimed.extend(self.tasks[index].claims.iter().map(|claim| &**claim));
    }

    fn end(&mut self, index: usize, is_done: bool) {
        self.states[index] = State::Ended(if is_done { Ending::Done } else { Ending::Failed });
        for claim in &self.tasks[index].claims {
            self.claimed.remove(&**claim);
        }
    }

    /// Skips what needs what failed, and what needs that.
    fn skip(&mut self) {
        loop {
            let because = |task: &usize| match self.states[*task] {
                State::Ended(Ending::Failed) => Some(*task),
                State::Ended(Ending::Skipped(because)) => Some(because),
                _ => None,
            };
            let skipped = (0..self.tasks.len()).find_map(|index| {
                let is_waiting = self.states[index] == State::Waiting;
                let because = self.tasks[index].after.iter().find_map(because).filter(|_| is_waiting)?;
                Some((index, because))
            });
            let Some((index, because)) = skipped else { return };
            self.states[index] = State::Ended(Ending::Skipped(because));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn task(after: &[usize], claims: &[&str]) -> Task {
        Task { after: after.to_vec(), claims: claims.iter().map(|claim| (*claim).to_owned()).collect() }
    }

    /// Runs tasks on threads, each for some milliseconds; returns their endings, the order in which they
    /// ended, and how many ran at once at most.
    fn run_all(tasks: &[Task], most: usize, fails: &[usize]) -> (Vec<Ending>, Vec<usize>, usize) {
        let (order, now, peak) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicUsize::new(0));
        let endings = std::thread::scope(|scope| {
            run(tasks, most, &|| false, |index, signal| {
                let (order, now, peak) = (&order, &now, &peak);
                scope.spawn(move || {
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                    order.lock().expect("nobody panicked").push(index);
                    signal.end(!fails.contains(&index));
                });
            })
        });
        (endings, order.into_inner().expect("nobody panicked"), peak.into_inner())
    }

    #[test]
    fn tasks_overlap_up_to_the_bound_and_come_after_what_they_need() {
        let tasks = [
            task(&[], &[]),
            task(&[0], &[]),
            task(&[0], &[]),
            task(&[0], &[]),
            task(&[0], &[]),
            task(&[1, 2, 3, 4], &[]),
        ];
        for most in 1..=4 {
            let (endings, order, peak) = run_all(&tasks, most, &[]);
            assert!(endings.iter().all(|ending| *ending == Ending::Done));
            assert_eq!((order[0], order[5], peak), (0, 5, most));
        }
        // None would be no bound at all, but a standstill.
        assert_eq!(run_all(&tasks, 0, &[]).2, 1);
    }

    #[test]
    fn what_needs_a_failure_is_skipped_and_all_else_is_done() {
        let tasks = [task(&[], &[]), task(&[0], &[]), task(&[1], &[]), task(&[], &[]), task(&[3], &[])];
        let (endings, ..) = run_all(&tasks, 2, &[0]);
        let expected = [Ending::Failed, Ending::Skipped(0), Ending::Skipped(0), Ending::Done, Ending::Done];
        assert_eq!(endings, expected);
    }

    #[test]
    fn tasks_that_claim_the_same_dont_overlap() {
        let tasks = [task(&[], &["~/.npm"]), task(&[], &["~/.npm"]), task(&[], &["~/.npm"])];
        assert_eq!(run_all(&tasks, 3, &[]).2, 1);
    }

    #[test]
    fn once_stopped_nothing_is_started() {
        let tasks = [task(&[], &[]), task(&[], &[]), task(&[0], &[])];
        let stopped = AtomicBool::new(false);
        let endings = run(&tasks, 1, &|| stopped.load(Ordering::SeqCst), |_, signal| {
            stopped.store(true, Ordering::SeqCst);
            signal.end(false);
        });
        assert_eq!(endings, [Ending::Failed, Ending::Stopped, Ending::Skipped(0)]);
    }

    #[test]
    fn a_task_whose_thread_panics_has_failed() {
        let endings = run(&[task(&[], &[])], 1, &|| false, |_, signal| {
            let thread = std::thread::spawn(move || {
                let _signal = signal;
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            assert!(thread.join().is_err());
        });
        assert_eq!(endings, [Ending::Failed]);
    }
}
