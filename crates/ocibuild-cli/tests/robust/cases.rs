//! The cases that pushers fail in: four layers of 8 MiB are pushed by the program, and whatever
//! happens, it ends well and the registry has what was pushed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::layout::Layout;
use ocibuild_serve::faults::Asked;
use ocibuild_serve::{Access, Fault, Faults, Script, ServeOptions, Tokens, When};
use ocibuild_testkit::run;

use crate::bench::Bench;
use crate::double::{Double, has, normal, options, repository};
use crate::image::{Image, layer};

const UPLOADS: &str = "/blobs/uploads/";
const MIB: u64 = 1 << 20;
/// How many pushes are under way at once; those that only wait aren't counted.
const SIDE_BY_SIDE: usize = 3;
const LONGEST: Duration = Duration::from_secs(90);

/// Four layers of 8 MiB.
pub(crate) fn large() -> Image {
    let layers: Vec<_> = (1..=4).map(|seed| layer(8 << 20, seed)).collect();
    Image::new(&layers, "large")
}

/// Faults, and when each request came.
struct Timed(Arc<Mutex<Vec<Moment>>>, Box<dyn Faults>);

struct Moment {
    time: Instant,
    line: String,
    faults: usize,
}

impl Faults for Timed {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        let faults = self.1.faults(asked);
        let line = format!("{} {}", asked.method(), asked.path());
        self.0.lock().unwrap().push(Moment { time: Instant::now(), line, faults: faults.len() });
        faults
    }
}

type Check = fn(&[Moment]) -> Result<(), String>;

struct Case {
    name: &'static str,
    faults: Box<dyn Faults>,
    set: fn(&mut ServeOptions),
    /// How many requests have to meet a fault at least, so that the case is one.
    least: usize,
    check: Check,
    /// Most of its time is spent on waiting.
    waits: bool,
}

impl Case {
    fn new(name: &'static str, least: usize, faults: impl Faults + 'static) -> Self {
        let faults = Box::new(faults);
        Self { name, faults, set: |_| (), least, check: |_| Ok(()), waits: false }
    }

    fn on(name: &'static str, least: usize, when: When, fault: Fault) -> Self {
        Self::new(name, least, Script::new().on(when, fault))
    }

    fn set(self, set: fn(&mut ServeOptions)) -> Self {
        Self { set, ..self }
    }

    fn waiting(self, check: Check) -> Self {
        Self { check, waits: true, ..self }
    }
}

fn tokens(set: impl FnOnce(&mut Tokens)) -> Option<Access> {
    let mut tokens = Tokens::default();
    set(&mut tokens);
    Some(Access::Tokens(tokens))
}

fn cases(image: &Image) -> Vec<Case> {
    let layers: Vec<String> = image.data().map(|layer| layer.digest.hex().to_owned()).collect();
    let [first, second] = [layers[0].clone(), layers[1].clone()];
    let upload = || When::any().with(UPLOADS);
    let bytes = |script: Script, times: usize, fault: Fault| {
        let put = When::asked("PUT", UPLOADS).times(times);
        script.on(put, fault.clone()).on(When::asked("PATCH", UPLOADS).times(times), fault)
    };
    let manifest = || When::asked("PUT", "/manifests/");
    let date = |asked: &Asked, times: &Mutex<u32>| {
        let mut times = times.lock().unwrap();
        let is_it = asked.method() == "PUT" && asked.path().contains("/manifests/") && *times < 1;
        *times += u32::from(is_it);
        is_it.then(|| Fault::retry_after(429, http_date(4))).into_iter().collect()
    };
    let dates = Mutex::new(0);
    vec![
        Case::on(
            "429 with `Retry-After: 5` twice, a manifest",
            2,
            manifest().times(2),
            Fault::retry_after(429, 5),
        )
        .waiting(manifest_waits),
        Case::on(
            "429 with `Retry-After: 5` twice, uploads",
            2,
            When::asked("POST", UPLOADS).times(2),
            Fault::retry_after(429, 5),
        )
        .waiting(uploads_wait),
        Case::new("429 with a date as `Retry-After`", 1, move |asked: &Asked| date(asked, &dates))
            .waiting(date_is_kept),
        Case::on("upload 503 three times", 3, upload().times(3), Fault::status(503)),
        Case::on(
            "one layer's upload 503 three times",
            3,
            When::asked("PUT", UPLOADS).with(&first).times(3),
            Fault::status(503),
        ),
        Case::new("upload reset eight times", 8, bytes(Script::new(), 8, Fault::ResetRequest(MIB))),
        Case::new("one layer's upload reset eight times", 8, OneUpload::new(8, 900_000)),
        Case::on("upload reset eight times before a byte", 8, upload().times(8), Fault::ResetRequest(0)),
        Case::new("blob PUT reply lost", 2, bytes(Script::new(), 2, Fault::LoseReply)),
        Case::on("manifest PUT reply lost", 1, manifest().times(1).each(), Fault::LoseReply),
        Case::on("manifest PUT 500 twice", 2, manifest().times(2), Fault::status(500)),
        Case::on("a body limit of 4 MiB", 1, When::any(), Fault::BodyLimit(4 * MIB)),
        Case::on("a HEAD that says yes for a missing blob", 1, When::asked("HEAD", &second), Fault::Lie),
        Case::on("a HEAD that says yes for every blob", 1, When::asked("HEAD", "/blobs/"), Fault::Lie),
        Case::on(
            "a token revoked mid-push",
            1,
            When::any().with(UPLOADS).with("digest=").times(1),
            Fault::RevokeTokens,
        )
        .set(|options| options.access = tokens(|_| ())),
        Case::new("tokens good for four requests each", 0, |_: &Asked| Vec::new())
            .set(|options| options.access = tokens(|tokens| tokens.uses = Some(4))),
        Case::new(
            "a registry that forgets upload sessions",
            2,
            bytes(Script::new(), 2, Fault::ForgetUploads),
        ),
        Case::new("a proxy that closes idle connections", 0, |_: &Asked| Vec::new())
            .set(|options| options.idle_timeout = Duration::from_millis(1)),
        Case::new("every request answered 502 once", 10, Once::new(Fault::status(502))),
        Case::new("every reply lost once", 10, Once::new(Fault::LoseReply)),
        Case::on("slow all the time", 10, When::any(), Fault::Slow(16 * MIB)),
        Case::on("408 to what is sent", 2, When::any().with("digest=").times(2), Fault::status(408)),
        Case::on(
            "what was made shows late",
            5,
            When::asked("PUT", ""),
            Fault::Hide(Duration::from_millis(700)),
        ),
    ]
}

/// Resets the requests of the first upload that sends much.
struct OneUpload {
    times: usize,
    at: u64,
    first: Mutex<Option<(String, usize)>>,
}

impl OneUpload {
    fn new(times: usize, at: u64) -> Self {
        Self { times, at, first: Mutex::default() }
    }
}

impl Faults for OneUpload {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        let path = asked.path().split('?').next().unwrap_or_default();
        if !matches!(asked.method(), "PUT" | "PATCH") || !path.contains(UPLOADS) {
            return Vec::new();
        }
        let length = asked.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let mut first = self.first.lock().unwrap();
        if first.is_none() && length.is_none_or(|length| length <= self.at) {
            return Vec::new();
        }
        let (upload, count) = first.get_or_insert_with(|| (path.to_owned(), 0));
        let is_it = upload == path && *count < self.times;
        *count += usize::from(is_it);
        if is_it { vec![Fault::ResetRequest(self.at)] } else { Vec::new() }
    }
}

/// The same fault for each question, once, whichever upload it is about.
struct Once(Fault, Mutex<BTreeSet<String>>);

impl Once {
    fn new(fault: Fault) -> Self {
        Self(fault, Mutex::default())
    }
}

impl Faults for Once {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        let line = format!("{} {}", asked.method(), normal(asked.path()));
        if self.1.lock().unwrap().insert(line) { vec![self.0.clone()] } else { Vec::new() }
    }
}

/// Seconds between two requests, held against what was asked for.
fn kept(wait: Duration, least: f64) -> Result<(), String> {
    let wait = wait.as_secs_f64();
    match (least..=least + 1.0).contains(&wait) {
        true => Ok(()),
        false => Err(format!("it waited for {wait:.2} s instead of {least} to {}", least + 1.0)),
    }
}

fn manifest_waits(moments: &[Moment]) -> Result<(), String> {
    let puts: Vec<_> = moments
        .iter()
        .filter(|moment| moment.line.starts_with("PUT") && moment.line.contains("/manifests/"))
        .collect();
    kept(puts[1].time - puts[0].time, 5.0)?;
    kept(puts[2].time - puts[1].time, 5.0)
}

/// Two of the four are told to wait: the others may go on or wait with them.
fn uploads_wait(moments: &[Moment]) -> Result<(), String> {
    let posts: Vec<_> = moments.iter().filter(|moment| moment.line.starts_with("POST")).collect();
    let refused: Vec<_> = posts.iter().filter(|moment| moment.faults > 0).collect();
    let early = posts.iter().filter(|moment| moment.time < refused[0].time + Duration::from_secs(5)).count();
    if early > posts.len() - 2 {
        return Err(format!("{early} of {} uploads begin before their time", posts.len()));
    }
    let last = posts.last().map_or(Duration::ZERO, |moment| moment.time - refused[1].time);
    if last > Duration::from_secs(6) { Err(format!("the last begins after {last:?}")) } else { Ok(()) }
}

fn date_is_kept(moments: &[Moment]) -> Result<(), String> {
    let puts: Vec<_> = moments
        .iter()
        .filter(|moment| moment.line.starts_with("PUT") && moment.line.contains("/manifests/"))
        .collect();
    // A date has no parts of a second: it was between 3 and 4 ahead.
    let wait = (puts[1].time - puts[0].time).as_secs_f64();
    if (3.0..=5.0).contains(&wait) {
        Ok(())
    } else {
        Err(format!("it waited for {wait:.2} s instead of 3 to 5"))
    }
}

/// The date as HTTP has it, some seconds from now.
fn http_date(seconds: u64) -> String {
    let (then, form) = (format!("--date={seconds} seconds"), "+%a, %d %b %Y %H:%M:%S GMT");
    run(Command::new("date").args(["--utc", &then, form]).env("LC_ALL", "C")).text()
}

/// Waits for a program that may hang, and gives how it ended and what it said.
pub(crate) fn ends(mut child: Child) -> Result<String, String> {
    let mut pipe = child.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut said = String::new();
        pipe.read_to_string(&mut said).map(|_| said).unwrap_or_default()
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if begun.elapsed() > LONGEST => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let said = said.join().unwrap();
    match status {
        Some(0) => Ok(said),
        Some(code) => Err(format!("exit {code}: {said}")),
        None => Err(format!("it doesn't end: {said}")),
    }
}

/// A row of the table, or what went wrong.
fn row(case: Case, source: &Path, image: &Image) -> Result<String, String> {
    let Case { name, faults, set, least, check, .. } = case;
    let moments = Arc::new(Mutex::new(Vec::new()));
    let double = Double::with(Timed(Arc::clone(&moments), faults), set);
    let (bench, target) = (Bench::new(), double.name("team/app:1"));
    let mut command = bench.command(&["push", source.to_str().unwrap(), &target]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let ended = ends(command.spawn().unwrap());
    let time = begun.elapsed();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let met = moments.iter().filter(|moment| moment.faults > 0).count();
    let log = || {
        moments.iter().fold(String::new(), |mut log, moment| {
            let _ = writeln!(
                log,
                "    {:6.2} {} {}",
                (moment.time - begun).as_secs_f64(),
                moment.faults,
                moment.line
            );
            log
        })
    };
    ended.map_err(|fault| format!("{fault}{}", log()))?;
    check(&moments).map_err(|fault| format!("{fault}\n{}", log()))?;
    if met < least {
        return Err(format!("{met} faults were met instead of {least}\n{}", log()));
    }
    let uploaded = double.uploaded();
    let view = double.view();
    has(&repository(&format!("{}/team/app", view.address()), options()), "1", image)?;
    let resent = (uploaded as f64 - image.size() as f64) / MIB as f64;
    Ok(format!("| {name} | {:.1} s | {} | {resent:.1} MiB |", time.as_secs_f64(), moments.len()))
}

#[test]
fn a_push_survives() {
    let directory = tempfile::tempdir().unwrap();
    let (image, source) = (large(), directory.path().join("large.oci"));
    image.put(&Layout::open_or_create(&source).unwrap(), "1");
    let (waiting, working): (Vec<_>, Vec<_>) = cases(&image).into_iter().partition(|case| case.waits);
    let count = waiting.len() + working.len();
    let (working, faults) = (Mutex::new(working.into_iter()), Mutex::new(Vec::new()));
    let judge = |case: Case| {
        let name = case.name;
        match row(case, &source, &image) {
            Ok(row) => println!("{row}"),
            Err(fault) => faults.lock().unwrap().push(format!("{name}: {fault}")),
        }
    };
    println!("| case | time | requests | sent again |\n|---|---|---|---|");
    thread::scope(|scope| {
        for case in waiting {
            scope.spawn(|| judge(case));
        }
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(case) = { working.lock().unwrap().next() } {
                    judge(case);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {count} cases:\n{}", faults.len(), faults.join("\n"));
}
