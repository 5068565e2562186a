//! How much is asked of one host at once.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{Sink, Source};
use ocibuild_core::registry::{Registry, RegistryOptions};
use ocibuild_serve::{Fault, Script, ServeOptions, When};

use super::{Bench, Unknown};
use crate::{layer, noise, options, repository};

const DELAY: Duration = Duration::from_millis(150);

fn slow(method: &str, part: &str) -> Bench {
    Bench::start(Script::new().on(When::asked(method, part), Fault::Delay(DELAY)))
}

/// Tells how many times the delay passes while eight threads do something at once.
fn delays(work: impl Fn(u8) + Sync) -> u128 {
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..8 {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
    begun.elapsed().as_millis() / DELAY.as_millis()
}

fn bounded(requests: usize, uploads: usize) -> RegistryOptions {
    let mut options = options();
    (options.requests, options.uploads) = (requests, uploads);
    options
}

#[test]
fn requests_are_bounded_for_each_host_by_itself() {
    let (one, other) = (slow("HEAD", ""), slow("HEAD", ""));
    let registry = Registry::new(bounded(2, 8));
    let (near, far) = (one.connect(&registry), other.connect(&registry));
    assert!(delays(|_| assert!(!near.exists(&layer(b"x").0).unwrap())) >= 4);
    // Four turns of two for all eight of one host; half as many for four each of two.
    let both = delays(|number| {
        let repository = if number % 2 == 0 { &near } else { &far };
        assert!(!repository.exists(&layer(b"x").0).unwrap());
    });
    assert!((2..4).contains(&both), "{both}");
}

#[test]
fn uploads_are_bounded_by_themselves() {
    let bench = slow("PUT", "/uploads/");
    let repository = bench.connect(&Registry::new(bounded(8, 2)));
    let push = |number| {
        let (one, content) = layer(&[number; 100]);
        repository.push(&one, &content).unwrap();
    };
    assert!(delays(push) >= 4);
}

#[test]
fn an_upload_may_be_fed_by_the_registry_it_goes_to() {
    let bench = Bench::with(ServeOptions::default());
    let registry = Registry::new(bounded(1, 1));
    let (from, to) = (bench.connect(&registry), registry.repository(&repository(&bench.host(), "b")));
    let all: Vec<_> = (0..6).map(|number| layer(&noise(1_000_000 + number))).collect();
    for (descriptor, content) in &all {
        from.push(descriptor, content).unwrap();
    }
    let (from, to) = (Arc::new(from), Arc::new(to));
    thread::scope(|scope| {
        for (descriptor, _) in &all {
            let (from, to) = (Arc::clone(&from), Arc::clone(&to));
            scope.spawn(move || {
                let content = Unknown(from.fetch(descriptor).unwrap());
                to.push(descriptor, &content).unwrap();
            });
        }
    });
    assert!(to.missing(&all.into_iter().map(|(one, _)| one).collect::<Vec<_>>()).unwrap().is_empty());
}
