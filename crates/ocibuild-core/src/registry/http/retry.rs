//! Trying again: for how long faults are borne, and how long to wait before the next try.
//!
//! Only failures that come one after another count: anything that goes well in between, such as
//! bytes of an upload that the registry confirms, fills the budget again. Pauses double from
//! [`first_pause`] up to fifty times that, each a quarter shorter or longer by
//! chance, so that who failed together doesn't come back together. A registry that says by
//! `Retry-After` when it wants to be asked again is asked then, and not a second later. Under a
//! limit on the rate it counts, too, that others get on, up to [`OTHERS`] times.
//!
//! With the defaults a fault that doesn't end is one after ten tries and 43 s of pauses (53 s at
//! most), besides what the registry asked to wait, five minutes in all at most. What is unlikely to
//! pass, or took long to show, is tried four times (1.4 s of pauses): a host that never gave a sign of
//! life, or speaks something else than HTTP, is mostly a typo, and a request that stands still was
//! waited for for [`idle_timeout`] each time.
//!
//! [`first_pause`]: crate::registry::RegistryOptions::first_pause
//! [`idle_timeout`]: crate::registry::RegistryOptions::idle_timeout

use std::error::Error;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::registry::RegistryError;
use crate::registry::error::GaveUp;
use crate::registry::http::date::http_date;
use crate::registry::http::host::Signs;

/// How long a registry is waited for, at most, because it asked for that.
pub(crate) const MAX_WISH: Duration = Duration::from_secs(5 * 60);
/// The longest pause, in first pauses.
const LONGEST: u32 = 50;
/// What is unlikely to pass may fail so often.
const FEW: u32 = 4;
/// How often it counts that others get on where the registry limits the rate.
const OTHERS: u32 = 50;
/// How long after the time that a registry asks for it is asked, at most.
const LATENESS: Duration = Duration::from_millis(250);

/// How failures are counted of one thing that is tried.
pub(crate) struct Patience {
    attempts: u32,
    first_pause: Duration,
    about: Option<Digest>,
    /// Tries that failed since something went well.
    tries: u32,
    /// How much of `attempts` they used up.
    spent: u32,
    /// What the registry asked to wait, in all.
    wished: Duration,
    /// Since when it is being tried.
    since: Instant,
    /// What else had gone well at the host when the last try failed.
    successes: Option<u64>,
    /// How often that filled the budget.
    by_others: u32,
}

impl Patience {
    pub(crate) fn new(attempts: u32, first_pause: Duration) -> Self {
        let since = Instant::now();
        let (about, wished, successes) = (None, Duration::ZERO, None);
        Self { attempts, first_pause, about, tries: 0, spent: 0, wished, since, successes, by_others: 0 }
    }

    /// Says which blob or manifest it is about, for those who hear of it.
    #[must_use]
    pub(crate) fn about(mut self, digest: Digest) -> Self {
        self.about = Some(digest);
        self
    }

    pub(crate) fn subject(&self) -> Option<Digest> {
        self.about
    }

    /// Something went well: what failed before doesn't count any more.
    pub(crate) fn progressed(&mut self) {
        *self = Self { about: self.about, ..Self::new(self.attempts, self.first_pause) };
    }

    /// Counts a failure, and tells how long to wait before the next try; nothing if there should be
    /// none. `luck` is a random number.
    pub(crate) fn failed(&mut self, error: &RegistryError, signs: Signs, luck: u64) -> Option<Duration> {
        let wish = error.retry_after();
        // Who shares a limit with others gets on as they do; but not for ever, as what gets on may be no
        // more than questions about the very thing that is refused.
        let others_do = self.successes.is_some_and(|before| before != signs.successes);
        if is_limit(error) && others_do && self.by_others < OTHERS {
            let by_others = self.by_others + 1;
            self.progressed();
            self.by_others = by_others;
        }
        self.successes = Some(signs.successes);
        self.tries += 1;
        self.spent += match is_unlikely_to_pass(error, signs) {
            true => self.attempts.div_ceil(FEW),
            false => 1,
        };
        self.wished = self.wished.saturating_add(wish.unwrap_or_default());
        if self.spent >= self.attempts || self.wished > MAX_WISH {
            return None;
        }
        let pause = self.pause(luck);
        Some(wish.map_or(pause, |wish| wish + pause.min(LATENESS)))
    }

    fn pause(&self, luck: u64) -> Duration {
        let factor = 1_u32.checked_shl(self.tries - 1).unwrap_or(LONGEST).min(LONGEST);
        let pause = self.first_pause * factor;
        let spread = pause / 2 * u32::try_from(luck % 1024).unwrap_or_default() / 1024;
        pause - pause / 4 + spread
    }

    /// Adds to an error how often it came.
    pub(crate) fn give_up(&self, error: RegistryError) -> RegistryError {
        if self.tries < 2 {
            return error;
        }
        let (tries, time) = (self.tries, self.since.elapsed());
        RegistryError::GaveUp(GaveUp { error: Box::new(error), tries, time })
    }
}

fn is_unlikely_to_pass(error: &RegistryError, signs: Signs) -> bool {
    match error {
        RegistryError::Connect { .. } => !signs.is_reached,
        RegistryError::TimedOut { .. } => true,
        // What answers isn't HTTP: another protocol's port, or TLS.
        RegistryError::Broken { source, .. } => signs.successes == 0 && is_parse_fault(source.as_ref()),
        _ => false,
    }
}

fn is_parse_fault(error: &(dyn Error + 'static)) -> bool {
    let is_one = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
    is_one || error.source().is_some_and(is_parse_fault)
}

fn is_limit(error: &RegistryError) -> bool {
    let is_busy = |status| status == 429 || status == 503 && error.retry_after().is_some();
    matches!(error, RegistryError::Status { status, .. } if is_busy(*status))
}

/// Reads how long a server wants to be left alone
/// ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds, or a time,
/// which counts from what the server's own clock says in `Date`.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let (then, now) = http_date(value).zip(date.and_then(http_date))?;
    Some(Duration::from_secs(then.saturating_sub(now)))
}

/// A random number: machines that failed together shouldn't come back together, and the standard
/// library seeds its hashers from the system.
pub(crate) fn luck() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{RegistryOptions, ServerMessage};

    const KNOWN: Signs = Signs { is_reached: true, successes: 0 };

    fn answered(status: u16, retry_after: Option<u64>) -> RegistryError {
        let retry_after = retry_after.map(Duration::from_secs);
        let (method, url) = ("GET".to_owned(), "http://r.io/".to_owned());
        RegistryError::Status { method, url, status, message: ServerMessage::default(), retry_after }
    }

    fn refused() -> RegistryError {
        let (method, url) = ("GET".to_owned(), "http://r.io/".to_owned());
        RegistryError::Connect { method, url, source: "refused".into() }
    }

    fn patience() -> Patience {
        let options = RegistryOptions::default();
        Patience::new(options.attempts, options.first_pause)
    }

    /// The pauses until it is given up, in milliseconds.
    fn pauses(error: &RegistryError, signs: Signs, luck: u64) -> Vec<u128> {
        let mut patience = patience();
        let pauses: Vec<u128> = std::iter::from_fn(|| patience.failed(error, signs, luck))
            .map(|pause| pause.as_millis())
            .take(100)
            .collect();
        assert_eq!(patience.tries as usize, pauses.len() + 1);
        pauses
    }

    #[test]
    fn pauses_double_up_to_ten_seconds_give_or_take_a_quarter() {
        let middle = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000];
        assert_eq!(pauses(&answered(503, None), KNOWN, 512), middle);
        let (least, most) =
            (pauses(&answered(503, None), KNOWN, 0), pauses(&answered(503, None), KNOWN, 1023));
        for (at, pause) in middle.into_iter().enumerate() {
            assert_eq!(least[at], pause * 3 / 4);
            assert!((pause * 124 / 100..=pause * 125 / 100).contains(&most[at]), "{most:?}");
        }
        assert!(most.iter().sum::<u128>() < 54_000);
    }

    #[test]
    fn a_host_that_never_spoke_and_what_stands_still_are_given_up_on_sooner() {
        let unknown = Signs { is_reached: false, successes: 0 };
        assert_eq!(pauses(&refused(), unknown, 512), [200, 400, 800]);
        assert_eq!(pauses(&refused(), KNOWN, 512).len(), 9);
        let (method, url) = ("GET".to_owned(), "http://r.io/".to_owned());
        let still = RegistryError::TimedOut { method, url, after: Duration::from_secs(120) };
        assert_eq!(pauses(&still, KNOWN, 512).len(), 3);
    }

    #[test]
    fn as_often_as_the_caller_says() {
        for attempts in 1..12 {
            for signs in [KNOWN, Signs { is_reached: false, successes: 0 }] {
                let mut patience = Patience::new(attempts, Duration::from_millis(1));
                let error = refused();
                let tries = std::iter::from_fn(|| patience.failed(&error, signs, 7)).count() + 1;
                let most = if signs.is_reached { attempts } else { attempts.min(4) };
                assert!(tries as u32 <= most && tries as u32 >= most.min(3), "{attempts}: {tries}");
            }
        }
    }

    #[test]
    fn what_goes_well_in_between_fills_the_budget_again() {
        let mut patience = patience();
        for _ in 0..20 {
            for expected in [200, 400, 800, 1600] {
                let pause = patience.failed(&answered(500, None), KNOWN, 512).unwrap();
                assert_eq!(pause.as_millis(), expected);
            }
            patience.progressed();
        }
    }

    #[test]
    fn a_limit_that_lets_others_through_is_no_failure() {
        let mut patience = patience();
        for successes in 0..50 {
            let signs = Signs { is_reached: true, successes };
            assert!(patience.failed(&answered(429, None), signs, 512).is_some());
        }
        // One that only lets others through isn't waited for for ever.
        let more = (50..).map(|successes| {
            patience.failed(&answered(429, None), Signs { is_reached: true, successes }, 512)
        });
        assert!(more.take_while(Option::is_some).count() < 20);
        patience.progressed();
        // Other faults are this request's own, whatever becomes of others.
        let counted = (50..).map(|successes| {
            patience.failed(&answered(500, None), Signs { is_reached: true, successes }, 512)
        });
        assert!(counted.take_while(Option::is_some).count() < 10);
    }

    #[test]
    fn what_the_registry_asks_for_is_kept_and_little_more() {
        for (seconds, tries) in [(0, 9), (5, 9), (40, 7), (300, 1), (301, 0), (3600, 0), (u64::MAX, 0)] {
            let pauses = pauses(&answered(429, Some(seconds)), KNOWN, 1023);
            assert_eq!(pauses.len(), tries, "{seconds}");
            let wanted = u128::from(seconds) * 1000;
            assert!(pauses.iter().all(|pause| (wanted..=wanted + 250).contains(pause)), "{pauses:?}");
        }
    }

    #[test]
    fn wishes_are_read_as_seconds_and_as_times() {
        let now = Some("Sat, 21 Nov 2026 16:00:30 GMT");
        let seconds = |value, date| retry_after(value, date).map(|wish| wish.as_secs());
        assert_eq!(seconds(" 5 ", None), Some(5));
        assert_eq!(seconds("0", None), Some(0));
        assert_eq!(seconds("99999999999999999999999", None), Some(u64::MAX));
        assert_eq!(seconds("Sat, 21 Nov 2026 16:00:42 GMT", now), Some(12));
        assert_eq!(seconds("Sat, 21 Nov 2026 16:00:00 GMT", now), Some(0));
        // Without a clock that it goes by, a time says nothing.
        assert_eq!(seconds("Sat, 21 Nov 2026 16:00:42 GMT", None), None);
        for text in ["", "-1", "+1", "1.5", "soon", "0x10"] {
            assert_eq!(seconds(text, now), None, "{text}");
        }
    }

    #[test]
    fn giving_up_tells_how_often_and_how_long() {
        let mut patience = patience();
        patience.failed(&answered(502, None), KNOWN, 0);
        assert!(matches!(patience.give_up(answered(502, None)), RegistryError::Status { .. }));
        patience.failed(&answered(502, None), KNOWN, 0);
        let error = patience.give_up(answered(502, None)).to_string();
        assert_eq!(error, "GET `http://r.io/` was answered 502, tried 2 times over 0.0 s");
    }

    #[test]
    fn luck_varies() {
        assert!((0..20).map(|_| luck() % 1024).collect::<std::collections::BTreeSet<_>>().len() > 5);
    }
}
