//! Trying again: how often, when, and who hears of it.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{Sink, Source, Target};
use ocibuild_core::event::Event;
use ocibuild_core::oci::{Descriptor, MediaType};
use ocibuild_core::registry::{Mirror, Registry, RegistryError};
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Fault, Script, When};

use super::{Bench, Told, fault};
use crate::recorder::{Recorder, Reply};
use crate::{layer, options, repository};

#[test]
fn nine_failures_in_a_row_are_borne_and_ten_are_not() {
    for failure in [Fault::status(500), Fault::status(503), Fault::status(408), Fault::ResetRequest(0)] {
        let bench = Bench::start(Script::new().on(When::asked("HEAD", "").times(9), failure.clone()));
        let told = Told::default();
        let registry = Registry::new(told.options());
        let repository = bench.connect(&registry);
        assert!(!repository.exists(&layer(b"one").0).unwrap());
        assert_eq!(told.reasons().len(), 9);
        let counts = registry.counts();
        assert_eq!((counts.requests, counts.retries), (10, 9));
        assert!(counts.waited > Duration::from_millis(50));

        let bench = Bench::start(Script::new().on(When::asked("HEAD", ""), failure));
        let repository = bench.connect(&registry);
        let error = fault(repository.exists(&layer(b"one").0).unwrap_err());
        let RegistryError::GaveUp(given_up) = &error else { panic!("{error:?}") };
        assert_eq!(given_up.tries, 10);
        assert!(error.to_string().contains(", tried 10 times over 0."), "{error}");
        assert_eq!(bench.recorder.exchanges().len(), 10);
        assert!(error.remedy().is_some());
    }
}

#[test]
fn what_is_tried_again_is_told_with_its_reason_and_its_blob() {
    let script = Script::new()
        .on(When::asked("HEAD", "").times(1), Fault::status(503))
        .on(When::asked("HEAD", "").skip(1).times(1), Fault::ResetRequest(0))
        .on(When::asked("HEAD", "").skip(2).times(1), Fault::status(429));
    let (bench, told) = (Bench::start(script), Told::default());
    let (one, _) = layer(b"one");
    let registry = Registry::new(told.options());
    bench.connect(&registry).exists(&one).unwrap();
    let shown: Vec<String> = told
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Request { method, status, .. } => format!("{method} {status:?}"),
            Event::Retry { reason, digest, wait, .. } => {
                assert_eq!(digest, Some(one.digest));
                assert!(!wait.is_zero() && wait < Duration::from_secs(1));
                reason
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "HEAD Some(503)",
        "503 Service Unavailable",
        "HEAD None",
        "the connection was reset",
        "HEAD Some(429)",
        "429 Too Many Requests",
        "HEAD Some(404)",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    for status in [400, 404, 405, 409, 416, 501, 505, 507] {
        let bench = Bench::start(Script::new().on(When::asked("POST", ""), Fault::status(status)));
        let (one, content) = layer(b"one");
        let error = fault(bench.connect(&Registry::new(options())).push(&one, &content).unwrap_err());
        assert!(matches!(error, RegistryError::Status { .. }), "{error:?}");
        assert_eq!(bench.recorder.count(|exchange| exchange.method == "POST"), 1, "{status}");
    }
}

/// Notes when each request came.
fn timed(faults: impl Fn(usize) -> Vec<Fault> + Send + Sync + 'static) -> (Bench, Arc<Mutex<Vec<Instant>>>) {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&times);
    let bench = Bench::start(move |_: &Asked| {
        let mut noted = noted.lock().unwrap();
        noted.push(Instant::now());
        faults(noted.len() - 1)
    });
    (bench, times)
}

#[test]
fn a_registry_that_asks_for_time_gets_it_from_all_requests_at_once() {
    let (bench, times) = timed(|before| match before {
        0 => vec![Fault::retry_after(429, 1)],
        _ => Vec::new(),
    });
    let registry = Registry::new(options());
    let repository = bench.connect(&registry);
    // The first has its answer before the others ask.
    thread::scope(|scope| {
        scope.spawn(|| repository.exists(&layer(b"one").0).unwrap());
        thread::sleep(Duration::from_millis(300));
        for _ in 0..7 {
            scope.spawn(|| repository.exists(&layer(b"two").0).unwrap());
        }
    });
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 9);
    for time in &times[1..] {
        let waited = *time - times[0];
        assert!((1000..2000).contains(&waited.as_millis()), "{waited:?}");
    }
    assert!(registry.counts().waited > Duration::from_secs(5));
}

#[test]
fn a_time_is_one_by_the_registrys_own_clock() {
    let recorder = Recorder::start(|_, before| match before.len() {
        0 => Reply::new(503)
            .header("Date", "Sat, 21 Nov 2026 16:00:30 GMT")
            .header("Retry-After", "Sat, 21 Nov 2026 16:00:31 GMT"),
        _ => Reply::new(404),
    });
    let begun = Instant::now();
    let repository = Registry::new(options()).repository(&repository(&recorder.host, "team/app"));
    assert!(!repository.exists(&layer(b"one").0).unwrap());
    assert!((1000..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[test]
fn who_asks_for_too_much_time_is_not_waited_for() {
    let bench = Bench::start(Script::new().on(When::any().times(1), Fault::retry_after(429, 3600)));
    let repository = bench.connect(&Registry::new(options()));
    let begun = Instant::now();
    let error = fault(repository.exists(&layer(b"one").0).unwrap_err());
    assert!(error.to_string().ends_with("429, and wants to be left alone for 3600 seconds"), "{error}");
    assert!(error.remedy().unwrap().contains("as long as the registry asks for"));
    // Nor does it hold up what others ask.
    assert!(!repository.exists(&layer(b"one").0).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_limit_on_the_rate_slows_down_and_fails_nothing() {
    let limited = When::any().beyond(5, Duration::from_millis(40));
    let bench = Bench::start(Script::new().on(limited, Fault::status(429)));
    let repository = bench.connect(&Registry::new(options()));
    let descriptors: Vec<Descriptor> = (0..60_u8).map(|n| layer(&[n]).0).collect();
    assert_eq!(repository.missing(&descriptors).unwrap().len(), 60);
}

#[test]
fn a_name_that_nobody_has_is_given_up_on_soon() {
    let host = Recorder::start(|_, _| Reply::new(200)).host.replace("127.0.0.1", "127.0.0.2");
    let told = Told::default();
    let repository = Registry::new(told.options()).repository(&repository(&host, "team/app"));
    let error = fault(repository.exists(&layer(b"one").0).unwrap_err());
    assert_eq!(told.reasons(), ["the connection was refused"; 3]);
    assert!(error.to_string().contains("tried 4 times over 0."), "{error}");
    assert!(matches!(error.last_try(), RegistryError::Connect { .. }));
    // What the system says of it isn't lost.
    let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    assert!(causes.map(ToString::to_string).any(|cause| cause.contains("refused")));
}

#[test]
fn a_mirror_that_is_out_of_order_has_no_more_patience_than_it_needs() {
    let registry = Bench::start(Script::new());
    let mirror = Bench::start(Script::new().on(When::any(), Fault::status(503)));
    let mut options = options();
    options.mirrors = vec![Mirror::new(&registry.host(), &mirror.host()).unwrap()];
    assert!(!registry.connect(&Registry::new(options)).exists(&layer(b"one").0).unwrap());
    assert_eq!(mirror.recorder.exchanges().len(), 4);
}

#[test]
fn warnings_are_told_once() {
    let warnings =
        r#"299 - "this repository goes bientôt", 110 cache "stale", 299 - "use \"team/new\" instead""#;
    let answer = Answer::new(404).header("Warning", warnings);
    let bench = Bench::start(Script::new().on(When::any(), Fault::Answer(answer)));
    let told = Told::default();
    let repository = bench.connect(&Registry::new(told.options()));
    for _ in 0..3 {
        assert!(!repository.exists(&layer(b"one").0).unwrap());
    }
    let warnings = told.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let host = bench.host();
    assert_eq!(warnings[0], format!("`{host}` says: this repository goes bientôt"));
    assert_eq!(warnings[1], format!("`{host}` says: use \"team/new\" instead"));
    // However many there are, not all of them are for people.
    let noisy = Recorder::start(|_, before| {
        Reply::new(404).header("Warning", format!("299 - \"number {}\"", before.len()))
    });
    let told = Told::default();
    let repository = Registry::new(told.options()).repository(&repository_of(&noisy));
    repository.missing(&(0..100_u8).map(|n| layer(&[n]).0).collect::<Vec<_>>()).unwrap();
    assert_eq!(told.warnings().len(), 32);
}

fn repository_of(recorder: &Recorder) -> ocibuild_core::reference::Repository {
    repository(&recorder.host, "team/app")
}

#[test]
fn all_that_moves_is_counted_and_told() {
    let script = Script::new().on(When::asked("PUT", "/uploads/").times(1), Fault::status(503));
    let (bench, told) = (Bench::start(script), Told::default());
    let registry = Registry::new(told.options());
    let repository = bench.connect(&registry);
    let (one, content) = layer(&[7; 300_000]);
    repository.push(&one, &content).unwrap();
    let manifest = Descriptor::of(MediaType::MANIFEST, b"{}");
    assert!(repository.resolve("v1").is_err() && repository.fetch(&manifest).is_err());
    ocibuild_core::blob::read_whole(&repository, &one, 1 << 20).unwrap();
    let counts = registry.counts();
    assert_eq!(counts.bytes_sent, 600_000);
    assert!((300_000..302_000).contains(&counts.bytes_received), "{counts:?}");
    let lines = bench.recorder.lines();
    assert_eq!(counts.requests, lines.len() as u64);
    let told = told.events();
    let urls: Vec<&String> = told
        .iter()
        .filter_map(|event| match event {
            Event::Request { url, .. } => Some(url),
            _ => None,
        })
        .collect();
    assert_eq!(urls.len(), lines.len());
    // Uploads have their digest, and mounts their source, in a query.
    assert!(lines.iter().any(|line| line.contains('?')) && urls.iter().all(|url| !url.contains('?')));
}
