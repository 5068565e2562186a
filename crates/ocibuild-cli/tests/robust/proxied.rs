//! Debian's docker-registry, behind a proxy that has bad days: what the double does, a real registry
//! may do otherwise, with uploads in chunks above all.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use ocibuild_core::layout::Layout;

use crate::bench::Bench;
use crate::cases::{ends, large};
use crate::debian::Debian;
use crate::double::{has, normal, options, repository};
use crate::front::{Front, Reply, Rules, Seen};
use crate::image::Image;

const MIB: u64 = 1 << 20;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    /// It breaks off in the middle of its body.
    Cut,
    /// Its answer is lost.
    Lost,
    /// It is answered 503, and the registry hears nothing of it.
    Busy,
}

/// A bound on bodies, and a mishap to requests by some method, so many times for each question.
struct Proxy {
    limit: u64,
    mishap: Option<(Mishap, &'static str, usize)>,
    met: Mutex<BTreeMap<String, usize>>,
}

impl Proxy {
    fn length(seen: &Seen) -> u64 {
        seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default()
    }

    /// Whether this happens to the request now; it is counted where it is asked for last.
    fn happens(&self, wanted: Mishap, seen: &Seen) -> bool {
        let Some((mishap, method, times)) = self.mishap else { return false };
        let is_small = mishap == Mishap::Cut && Self::length(seen) < MIB;
        if mishap != wanted || method != seen.method || is_small || Self::length(seen) > self.limit {
            return false;
        }
        let mut met = self.met.lock().unwrap();
        let count = met.entry(question(seen)).or_default();
        *count += 1;
        *count <= times
    }

    fn count(&self) -> usize {
        let times = self.mishap.map_or(0, |(.., times)| times);
        self.met.lock().unwrap().values().map(|count| times.min(*count)).sum()
    }
}

/// What is asked, whichever upload and whichever state of it it is about.
fn question(seen: &Seen) -> String {
    let path = normal(&seen.path);
    let digest = path.split(['?', '&']).find(|part| part.starts_with("digest=")).unwrap_or_default();
    let range = seen.header("content-range").unwrap_or_default();
    format!("{} {} {digest} {range}", seen.method, path.split('?').next().unwrap_or_default())
}

impl Rules for Proxy {
    fn before(&self, seen: &Seen) -> Option<Reply> {
        if Self::length(seen) > self.limit {
            return Some(Reply::new(413));
        }
        self.happens(Mishap::Busy, seen).then(|| Reply::new(503))
    }

    fn cut(&self, seen: &Seen) -> Option<usize> {
        self.happens(Mishap::Cut, seen).then(|| Self::length(seen) as usize / 2)
    }

    fn loses(&self, seen: &Seen) -> bool {
        self.happens(Mishap::Lost, seen)
    }
}

/// A row of the table.
fn row(name: &str, proxy: Proxy, debian: &Debian, source: &Path, image: &Image) -> Result<String, String> {
    let (front, proxy) = (Front::bind(None), Arc::new(proxy));
    front.run(debian.host.parse().unwrap(), proxy.clone());
    let path = name.replace(|c: char| !c.is_ascii_lowercase(), "");
    let bench = Bench::new();
    let target = format!("{}/{path}/app:1", front.address(0));
    let mut command = bench.command(&["push", source.to_str().unwrap(), &target]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let ended = ends(command.spawn().unwrap());
    let (time, seen) = (begun.elapsed(), front.seen());
    let lines: Vec<_> = seen.iter().map(|seen| format!("{} {}", seen.status, question(seen))).collect();
    ended.map_err(|fault| format!("{fault}\n{}", lines.join("\n")))?;
    has(&repository(&format!("{}/{path}/app", debian.host), options()), "1", image)?;
    let is_upload = |seen: &&Seen| seen.path.contains("/blobs/uploads/") && seen.status != 413;
    let sent: u64 = seen.iter().filter(is_upload).map(|seen| seen.body.len() as u64).sum();
    if proxy.mishap.is_some() && proxy.count() == 0 {
        return Err(format!("nothing happened\n{}", lines.join("\n")));
    }
    let again = (sent as f64 - image.size() as f64) / MIB as f64;
    Ok(format!(
        "| {name} | {} | {:.1} s | {} | {again:.1} MiB |",
        proxy.count(),
        time.as_secs_f64(),
        seen.len()
    ))
}

#[test]
fn a_real_registry_behind_a_bad_proxy_gets_images_whole() {
    let Some(debian) = Debian::start(|_| String::new()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (image, source) = (large(), directory.path().join("large.oci"));
    image.put(&Layout::open_or_create(&source).unwrap(), "1");
    let (none, limit) = (u64::MAX, 4 * MIB);
    let cases = [
        ("nothing", none, None),
        ("each upload cut in its midst", none, Some((Mishap::Cut, "PUT", 1))),
        ("a limit of 4 MiB", limit, None),
        ("a limit, and chunks cut in their midst", limit, Some((Mishap::Cut, "PATCH", 1))),
        ("a limit, and the replies to chunks lost", limit, Some((Mishap::Lost, "PATCH", 1))),
        ("the reply to every PUT lost", none, Some((Mishap::Lost, "PUT", 1))),
        ("the reply to three POSTs lost", none, Some((Mishap::Lost, "POST", 3))),
        ("every PUT answered 503 twice", none, Some((Mishap::Busy, "PUT", 2))),
        ("a limit, and chunks answered 503 twice", limit, Some((Mishap::Busy, "PATCH", 2))),
    ];
    let faults = Mutex::new(Vec::new());
    println!("| case | mishaps | time | requests | sent again |\n|---|---|---|---|---|");
    thread::scope(|scope| {
        for (name, limit, mishap) in cases {
            let (debian, source, image, faults) = (&debian, &source, &image, &faults);
            scope.spawn(move || {
                match row(name, Proxy { limit, mishap, met: Mutex::default() }, debian, source, image) {
                    Ok(row) => println!("{row}"),
                    Err(fault) => faults.lock().unwrap().push(format!("{name}: {fault}")),
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}
