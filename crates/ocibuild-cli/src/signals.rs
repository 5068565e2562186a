//! Ctrl-C and SIGTERM: the first stops the run in good order, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ocibuild_core::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit;
use crate::failure::Failure;

/// What stops a run: a signal, or a part of it that failed.
pub(crate) struct Stop {
    signalled: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Stop {
    /// Catches signals from now on.
    ///
    /// # Errors
    /// [`Failure::Signals`] if the system doesn't let them be caught.
    pub(crate) fn on_signals() -> Result<Self, Failure> {
        let stop = Self { signalled: Arc::default(), stopped: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the flag is looked at before it is set, so only a second signal ends us.
            flag::register_conditional_shutdown(signal, i32::from(exit::INTERRUPTED), stop.signalled.clone())
                .and_then(|_| flag::register(signal, stop.signalled.clone()))
                .and_then(|_| flag::register(signal, stop.stopped.clone()))
                .map_err(Failure::Signals)?;
        }
        Ok(stop)
    }

    /// What the library looks at. A part of a run that fails may set it, too.
    pub(crate) fn cancel(&self) -> Cancel {
        Cancel::on(Arc::clone(&self.stopped))
    }

    /// Makes one for a part of the run, which is stopped by [`Stop::halt`] alone.
    pub(crate) fn part(&self) -> Self {
        Self { signalled: Arc::clone(&self.signalled), stopped: Arc::default() }
    }

    /// Stops what looks at this.
    pub(crate) fn halt(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Tells whether this was stopped.
    pub(crate) fn is_halted(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Tells whether there was a signal.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    /// Lets work begin once more after a part of it failed, unless there was a signal.
    pub(crate) fn reset(&self) {
        self.stopped.store(false, Ordering::SeqCst);
        // A signal in between set the first flag before the second.
        if self.signalled.load(Ordering::SeqCst) {
            self.stopped.store(true, Ordering::SeqCst);
        }
    }
}
