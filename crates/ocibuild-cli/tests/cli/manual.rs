//! Completions, manual pages and the version: what belongs to a program that is installed.

use std::process::{Command, Stdio};

use ocibuild_core::compress::codec_id;
use ocibuild_core::oci::Compression;
use ocibuild_testkit::{require, run, tool};

use crate::bench::Bench;
use crate::help::{commands, help};

#[test]
fn every_shell_knows_every_command() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bench.ok(&["completions", shell]).text();
        for word in commands().concat().iter().map(String::as_str).chain(["metadata-file", "threads"]) {
            assert!(script.contains(word), "{shell} doesn't know `{word}`");
        }
    }
    bench.run(&["completions", "cmd"]).expect_code(2);
}

#[test]
fn bash_completes() {
    let bash = require!(tool("bash"));
    let bench = Bench::new();
    bench.write("completions", bench.ok(&["completions", "bash"]).stdout);
    let complete = |words: &str| {
        let script = format!(
            "source ./completions; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _ocibuild ocibuild \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        run(Command::new(&bash).args(["--norc", "-c", &script]).current_dir(bench.path(""))).text()
    };
    assert_eq!(complete("ocibuild bu"), "build");
    assert_eq!(complete("ocibuild build --metadata"), "--metadata-file");
    assert_eq!(complete("ocibuild --progress j"), "json");
}

/// Text as a page's source has it.
fn in_roff(text: &str) -> String {
    text.replace('\\', "\\\\").replace('-', "\\-").replace('\'', "\\*(Aq")
}

#[test]
fn every_command_has_a_page_with_its_examples() {
    let bench = Bench::new();
    let listed = bench.ok(&["man", "--dir", "share/man1"]).text();
    let mut found: Vec<&str> = listed.lines().collect();
    let mut expected = Vec::new();
    for command in commands() {
        let name = [&["ocibuild".to_owned()], &command[..]].concat().join("-");
        let path = format!("share/man1/{name}.1");
        let page = String::from_utf8(bench.tree.read(format!("work/{path}"))).unwrap();
        let words: Vec<&str> = ["man"].into_iter().chain(command.iter().map(String::as_str)).collect();
        assert_eq!(String::from_utf8(bench.ok(&words).stdout).unwrap(), page);
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let text = help(&words, None);
        let examples = text.split_once("\nExamples:\n").unwrap().1.lines();
        for line in examples.take_while(|line| line.is_empty() || line.starts_with("  ")) {
            let line = in_roff(line.strip_prefix("  ").unwrap_or(line));
            assert!(page.lines().any(|there| there == line), "{path} has no line `{line}`:\n{page}");
        }
        expected.push(path);
    }
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn pages_do_not_depend_on_the_environment() {
    let bench = Bench::new();
    let page = bench.ok(&["man", "build"]).stdout;
    let mut command = bench.command(&["man", "build"]);
    command.env("OCIBUILD_THREADS", "3").env("OCIBUILD_PROGRESS", "").env("SOURCE_DATE_EPOCH", "9");
    assert!(run(&mut command).stdout == page);
    assert!(String::from_utf8_lossy(&page).contains("OCIBUILD_THREADS"));
}

#[test]
fn groff_has_nothing_to_say_of_the_pages() {
    let groff = require!(tool("groff"));
    let bench = Bench::new();
    bench.ok(&["man", "--dir", "pages"]);
    for page in bench.path("pages").read_dir().unwrap() {
        let mut command = Command::new(&groff);
        command
            .args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"])
            .arg(page.unwrap().path())
            .stdin(Stdio::null());
        assert_eq!(run(&mut command).errors(), "");
    }
}

#[test]
fn a_page_that_is_not_there_or_cannot_be_written() {
    let bench = Bench::new();
    let said = bench.run(&["man", "bild"]).expect_code(2).errors();
    assert!(said.contains("no command `bild`") && said.contains("`build`"), "{said}");
    let said = bench.run(&["man", "--dir", "hello"]).expect_code(3).errors();
    assert!(said.contains("hello/ocibuild.1` for `--dir`"), "{said}");
}

#[test]
fn the_version_has_what_decides_on_digests() {
    let bench = Bench::new();
    let version = bench.ok(&["version", "--format", "json"]).json();
    let gzip = codec_id(Compression::default());
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["codecs"]["gzip"], gzip.as_str());
    assert_eq!((version["spec"].as_u64(), version["compat"].as_u64()), (Some(1), Some(1)));
    let text = bench.ok(&["version"]).text();
    assert_eq!(text.lines().next(), Some(concat!("ocibuild ", env!("CARGO_PKG_VERSION"))));
    assert!(text.contains(gzip.as_str()) && text.contains("compat    1"), "{text}");
}
