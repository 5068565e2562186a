//! What of the talk with a registry can be seen: requests, retries, warnings, counts.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ocibuild_serve::faults::Answer;
use ocibuild_serve::{Access, Fault, Recorder, Running, Script, ServeOptions, Server, Tokens, When};
use ocibuild_testkit::{Output, require, run_any, tool};
use serde_json::Value;

use crate::bench::{Bench, SPEC};
use crate::progress::shown;

const USER: &str = "somebody";
const PASSWORD: &str = "open-sesame";

/// A registry that misbehaves, and what it was asked.
struct Double {
    bench: Bench,
    server: Running,
    recorder: Recorder,
}

impl Double {
    fn with(faults: Script, access: Option<Access>) -> Self {
        let bench = Bench::with_spec(SPEC);
        let recorder = Recorder::new();
        let mut options = ServeOptions::default();
        options.recorder = Some(recorder.clone());
        options.faults = Some(Arc::new(faults));
        options.access = access;
        let server = Server::start(bench.tree.join("served"), options).unwrap();
        Self { bench, server, recorder }
    }

    fn image(&self) -> String {
        format!("{}/team/app:1", self.server.address())
    }

    /// Pushes, with the right credentials for whoever asks.
    fn push(&self, arguments: &[&str]) -> Output {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let config = serde_json::json!({ "auths": { self.server.address().to_string(): { "auth": auth } } });
        self.bench.tree.write("docker/config.json", config.to_string());
        let image = self.image();
        let words = [&["build", "--push", "-t", &image], arguments].concat();
        run_any(self.bench.command(&words).env("DOCKER_CONFIG", self.bench.tree.join("docker")))
    }

    /// The lines of requests, of which there has to be one for each that came.
    #[track_caller]
    fn requests(&self, said: &str) -> Vec<String> {
        let is_request = |line: &&str| ["GET", "HEAD", "POST", "PUT", "PATCH"].contains(&&*word(line, 0));
        let lines: Vec<String> = said.lines().filter(is_request).map(str::to_owned).collect();
        let mut told: Vec<String> = lines.iter().map(|line| word(line, 0)).collect();
        let mut asked: Vec<String> =
            self.recorder.exchanges().into_iter().map(|asked| asked.method).collect();
        told.sort();
        asked.sort();
        assert_eq!(told, asked, "{said}");
        lines
    }
}

fn word(line: &str, index: usize) -> String {
    line.split_whitespace().nth(index).unwrap_or_default().to_owned()
}

/// Runs of letters and digits that look like a token of the double's.
fn looks_like_a_token(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn each_request_is_told_and_no_secret_is() {
    let mut tokens = Tokens::default();
    tokens.credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
    let basic = Access::Basic { username: USER.to_owned(), password: PASSWORD.to_owned() };
    for access in [basic, Access::Tokens(tokens)] {
        let double = Double::with(Script::new(), Some(access));
        let output = double.push(&["-vv"]).expect_code(0);
        let said = output.errors();
        let lines = double.requests(&said);
        let home = format!("http://{}/", double.server.address());
        for line in &lines {
            // All stand in columns.
            assert!(line.find(&home) == Some(20), "`{line}`");
            assert!(word(line, 1).parse::<u16>().is_ok(), "`{line}`");
        }
        assert!(lines.iter().any(|line| word(line, 1) == "401"), "{said}");
        let secret = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        for word in [PASSWORD, &secret, "Basic", "Bearer", "Authorization", "?", "scope="] {
            assert!(!said.contains(word), "`{word}` is told:\n{said}");
        }
        // An upload's name is one of its own.
        let others: String = said.lines().filter(|line| !line.contains("/uploads/")).collect();
        assert!(!looks_like_a_token(&others), "{said}");
    }
}

#[test]
fn requests_are_for_who_asks_for_them() {
    let double = Double::with(Script::new(), None);
    let events = |output: &Output, name: &str| -> Vec<Value> {
        let text = output.errors();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == name).collect()
    };
    let said = double.push(&["-v"]).expect_code(0).errors();
    assert!(!said.contains("HEAD"), "{said}");
    let output = double.push(&["--progress", "json", "-v"]).expect_code(0);
    assert!(events(&output, "request").is_empty(), "{output}");
    double.recorder.clear();
    let output = double.push(&["--progress", "json", "-vv"]).expect_code(0);
    let requests = events(&output, "request");
    assert_eq!(requests.len(), double.recorder.exchanges().len(), "{output}");
    assert!(requests.iter().all(|request| request["seconds"].is_number() && request["status"].is_number()));
}

#[test]
fn every_command_tells_its_requests() {
    let double = Double::with(Script::new(), None);
    double.push(&[]).expect_code(0);
    let image = double.image();
    let spec = SPEC.replace("layers = [\"app\"]", &format!("layers = [\"app\"]\nbase = \"{image}\""));
    double.bench.write("based.toml", spec);
    for words in [
        &["inspect", &image][..],
        &["validate", &image],
        &["ls", &image],
        &["diff", &image, &image],
        &["pull", &image],
        &["save", &image, "app.tar"],
        &["tag", &image, "2"],
        &["copy", &image, "oci:copied"],
        &["check", "-f", "based.toml"],
        &["lock", "-f", "based.toml"],
        &["rebase", &image, "--from", "oci:copied", "--onto", "oci:copied", "--output", "type=oci,dest=r"],
    ] {
        let output = double.bench.run(&[words, &["-vv"]].concat());
        let said = output.errors();
        assert!(said.contains(&format!("http://{}/v2/", double.server.address())), "{words:?}: {output}");
    }
}

#[test]
fn a_long_wait_is_told_and_a_short_one_is_not() {
    let faults = Script::new()
        .on(When::asked("POST", "uploads").times(1), Fault::retry_after(429, 2))
        .on(When::asked("PUT", "manifests").times(1), Fault::status(503));
    let double = Double::with(faults, None);
    let said = format!("{}\n", double.push(&[]).expect_code(0).errors());
    let told: Vec<&str> = said.lines().filter(|line| line.contains("retry ")).collect();
    let [told] = told[..] else { panic!("{said}") };
    assert!(told.ends_with(": retry 1, waiting 2 s: 429 Too Many Requests"), "{told}");
    assert!(said.contains("; 2 retries\n"), "{said}");
    double.bench.valid(&double.image());
    // What went well at once isn't worth a word.
    let said = double.push(&[]).expect_code(0).errors();
    assert!(!said.contains("retr"), "{said}");
}

#[test]
fn each_retry_is_told_to_programs_and_to_who_wants_more() {
    let faults = || Script::new().on(When::asked("PUT", "manifests").times(1), Fault::status(503));
    let said = Double::with(faults(), None).push(&["-v"]).expect_code(0).errors();
    assert!(said.contains(": retry 1, waiting ") && said.contains("ms: 503 Service Unavailable"), "{said}");
    let output = Double::with(faults(), None).push(&["--progress", "json"]).expect_code(0);
    let text = output.errors();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let retries: Vec<&Value> = lines.iter().filter(|line| line["event"] == "retry").collect();
    let [retry] = retries[..] else { panic!("{text}") };
    assert_eq!((&retry["method"], &retry["reason"]), (&"PUT".into(), &"503 Service Unavailable".into()));
    assert!(retry["wait"].as_f64().unwrap() > 0.0);
    assert_eq!(lines.last().unwrap()["registry"]["retries"], 1, "{text}");
}

#[test]
fn what_is_counted_is_what_the_registry_counts() {
    let faults = Script::new()
        .on(When::asked("POST", "uploads").times(2), Fault::status(503))
        .on(When::asked("PUT", "manifests").times(1), Fault::status(500));
    let double = Double::with(faults, None);
    let layout = ["--output", "type=oci,dest=app.oci", "--metadata-file", "m.json"];
    let counts = |file: &str| -> Value {
        let text = fs::read_to_string(double.bench.path(file)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["registry"].clone()
    };
    let check = |counts: &Value| {
        let all = double.recorder.exchanges();
        let sum = |bytes: fn(&ocibuild_serve::Exchange) -> u64| all.iter().map(bytes).sum::<u64>();
        assert_eq!(counts["requests"], all.len(), "{counts}: {:?}", double.recorder.lines());
        assert_eq!(counts["bytes_sent"], sum(|one| one.received), "{counts}: {all:?}");
        // What a refusal says isn't always read.
        let wanted = sum(|one| if one.status.is_some_and(|status| status < 300) { one.sent } else { 0 });
        let received = counts["bytes_received"].as_u64().unwrap();
        assert!((wanted..=sum(|one| one.sent)).contains(&received), "{counts}: {all:?}");
        double.recorder.clear();
    };
    double.push(&layout).expect_code(0);
    let first = counts("m.json");
    check(&first);
    assert_eq!(first["retries"], 3, "{first}");
    assert!(first["waited"].as_f64().unwrap() > 0.3, "{first}");
    assert_eq!((&first["bytes_skipped"], &first["bytes_mounted"]), (&0.into(), &0.into()));

    double.push(&layout).expect_code(0);
    let again = counts("m.json");
    check(&again);
    assert_eq!((&again["retries"], &again["waited"]), (&0.into(), &0.0.into()));
    let whole = first["bytes_sent"].as_u64().unwrap();
    assert!(again["bytes_skipped"].as_u64().unwrap() <= whole && again["bytes_sent"].as_u64() < Some(whole));

    let copied = format!("{}/team/other:1", double.server.address());
    double.bench.ok(&["copy", &double.image(), &copied, "--metadata-file", "c.json"]);
    let copy = counts("c.json");
    check(&copy);
    assert!(copy["bytes_mounted"].as_u64() > Some(0), "{copy}");
    double.bench.ok(&["pull", &copied, "oci:pulled", "--metadata-file", "p.json"]);
    let pull = counts("p.json");
    check(&pull);
    assert!(pull["bytes_received"].as_u64() > Some(0) && pull["bytes_skipped"] == 0, "{pull}");
    double.bench.ok(&["copy", "oci:pulled", "oci:again", "--metadata-file", "l.json"]);
    assert_eq!(counts("l.json"), Value::Null);
}

#[test]
fn what_a_registry_warns_of_is_told_once() {
    let text = "299 - \"this registry moves on Monday\"";
    let warning = Fault::Answer(Answer::new(404).header("Warning", text));
    let double = Double::with(Script::new().on(When::asked("HEAD", ""), warning), None);
    let said = double.push(&[]).expect_code(0).errors();
    let line = format!("warning: `{}` says: this registry moves on Monday", double.server.address());
    assert_eq!(said.lines().filter(|told| *told == line).count(), 1, "{said}");
    assert_eq!(said.matches("Monday").count(), 1, "{said}");
    assert_eq!(double.push(&["-q"]).expect_code(0).errors(), "");
}

/// Reads `4.19` and `MB` in bytes.
fn bytes(number: &str, unit: &str) -> f64 {
    let unit = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        _ => panic!("{number} {unit}"),
    };
    number.parse::<f64>().unwrap() * unit
}

#[test]
fn an_uploads_bar_tells_why_it_waits_and_stays_within_its_length() {
    let script = require!(tool("script"));
    let faults = Script::new()
        .on(When::asked("PUT", "uploads").times(1), Fault::retry_after(429, 2))
        .on(When::asked("PUT", "uploads").skip(1).times(1), Fault::ResetRequest(1 << 20))
        .on(When::asked("PATCH", "uploads"), Fault::Slow(3 << 20))
        .on(When::asked("PUT", "uploads").skip(2), Fault::Slow(6 << 20));
    let double = Double::with(faults, None);
    let noise = (0..4_u64 << 20).map(|n| (n.wrapping_mul(n).wrapping_mul(0x9E37_79B9) >> 13) as u8);
    double.bench.write("hello", noise.collect::<Vec<u8>>());
    let words = format!("build --copy hello:/hello --compression none --push -t {}", double.image());
    let pieces = shown(&double.bench, &script, 80, &words);
    let all = pieces.join("\n");
    let waits = pieces.iter().filter(|piece| piece.starts_with("send "));
    let waits: Vec<&String> = waits.filter(|piece| piece.contains("429 Too Many Requests")).collect();
    for left in ["2 s", "1 s"] {
        let words = format!(", waiting {left}: 429 Too Many Requests");
        assert!(waits.iter().any(|piece| piece.contains(&words)), "no `{words}` in\n{all}");
    }
    assert!(pieces.iter().any(|piece| piece.starts_with("send ") && piece.contains(", retry ")), "{all}");
    let mut count = 0;
    for piece in pieces.iter().filter(|piece| piece.starts_with("send ")) {
        let words: Vec<&str> = piece.split_whitespace().collect();
        // `4.19 MB/4.20 MB`
        let Some(at) = words.iter().position(|word| word.contains("B/")) else { continue };
        let (unit, all) = words[at].split_once('/').unwrap();
        let done = bytes(words[at - 1], unit);
        assert!(done <= bytes(all, words[at + 1]), "{piece}");
        count += 1;
    }
    assert!(count > 0, "{all}");
    assert!(all.contains("; 2 retries"), "{all}");
}

#[test]
fn who_is_refused_is_told_to_log_in_or_that_the_credentials_are_not_enough() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
    let denied = || Fault::Answer(Answer::new(403).body(denied));
    let double = Double::with(Script::new().on(When::any(), denied()), None);
    let said = double.bench.run(&["pull", &double.image()]).expect_code(5).errors();
    let login = format!("ocibuild login {}", double.server.address());
    let told = format!("403 DENIED: requested access is denied\n  hint: log in: `{login}`");
    assert!(said.contains(&told), "{said}");
    // The first request is refused for the want of credentials.
    let basic = Access::Basic { username: USER.to_owned(), password: PASSWORD.to_owned() };
    let double = Double::with(Script::new().on(When::any().skip(1), denied()), Some(basic));
    let said = double.push(&[]).expect_code(5).errors();
    assert!(said.contains("config.json") && said.contains("  hint: use credentials for this "), "{said}");
}

#[test]
fn what_is_no_registry_is_told() {
    let double = Double::with(Script::new().on(When::any(), Fault::status(200)), None);
    let said = double.bench.run(&["pull", &double.image()]).expect_code(4).errors();
    assert!(said.contains("  hint: registries don't answer like this: "), "{said}");
}

#[test]
fn a_registry_that_is_busy_for_longer_than_anybody_waits_says_for_how_long() {
    let double = Double::with(Script::new().on(When::any(), Fault::retry_after(429, 3600)), None);
    let said = double.push(&[]).expect_code(4).errors();
    assert!(
        said.contains("was answered 429, and wants to be left alone for 3600 seconds\n  hint: wait "),
        "{said}"
    );
    assert!(!said.contains("retry "), "{said}");
}

#[test]
fn a_host_that_is_not_there_is_given_up_on_soon_and_its_error_says_how_often_it_was_tried() {
    let bench = Bench::with_spec(SPEC);
    let said = bench.run(&["pull", "-v", "127.0.0.1:1/app:1"]).expect_code(4).errors();
    let retries: Vec<&str> = said.lines().filter(|line| line.contains(": retry ")).collect();
    assert_eq!(retries.len(), 3, "{said}");
    assert!(said.contains(", tried 4 times over "), "{said}");
}
