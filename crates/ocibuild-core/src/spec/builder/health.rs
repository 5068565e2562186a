//! Health checks made by programs.

use std::time::Duration;

use crate::spec::Healthcheck;

impl Healthcheck {
    /// Sets the time between two checks.
    #[must_use]
    pub fn interval(mut self, time: Duration) -> Self {
        self.interval = Some(time.into());
        self
    }

    /// Sets the time a check may take.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time.into());
        self
    }

    /// Sets the time a container has to start, in which a failure doesn't count.
    #[must_use]
    pub fn start_period(mut self, time: Duration) -> Self {
        self.start_period = Some(time.into());
        self
    }

    /// Sets the time between two checks while it starts.
    #[must_use]
    pub fn start_interval(mut self, time: Duration) -> Self {
        self.start_interval = Some(time.into());
        self
    }

    /// Sets the failures in a row that make it unhealthy.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries.into());
        self
    }
}
