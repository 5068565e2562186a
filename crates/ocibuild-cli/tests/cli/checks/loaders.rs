//! Whether a program finds its libraries is asked of the system's own loaders: what they say, the checks
//! have to say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ocibuild_testkit::skip::{Missing, root};
use ocibuild_testkit::{require, run_any, tool};

use super::*;

const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
const MUSL: &str = "/lib/ld-musl-x86_64.so.1";
const GLIBC_SELF: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// A C library of this machine, for 64 bits of Intel's.
fn library(path: &str) -> Result<PathBuf, Missing> {
    let found = fs::canonicalize(path).ok().filter(|_| cfg!(target_arch = "x86_64"));
    found.ok_or_else(|| Missing::new(format!("`{path}`")))
}

/// A program that needs `liba.so`, which needs `libb.so`.
#[derive(Clone, Copy)]
struct Case<'a> {
    interpreter: &'a str,
    /// What the linker is told for the program, and for `liba.so`.
    program: &'a [&'a str],
    liba: &'a [&'a str],
    /// The directories that the libraries are in.
    a_in: &'a [&'a str],
    b_in: &'a [&'a str],
    /// Those that have one for 32 bits.
    small_in: &'a [&'a str],
    environment: &'a str,
}

const NEW: &str = "-Wl,--enable-new-dtags";
const OLD: &str = "-Wl,--disable-new-dtags";
const BESIDE: &str = "-Wl,-rpath,$ORIGIN/lib";

fn cases<'a>(interpreter: &'a str) -> Vec<Case<'a>> {
    const IN: &[&str] = &["app/lib"];
    let plain =
        Case { interpreter, program: &[], liba: &[], a_in: IN, b_in: IN, small_in: &[], environment: "" };
    let mut cases = vec![
        plain,
        Case { program: &[NEW, BESIDE], ..plain },
        Case { program: &[OLD, BESIDE], ..plain },
        Case { program: &[NEW, "-Wl,-rpath,/app/lib"], liba: &[NEW, "-Wl,-rpath,$ORIGIN"], ..plain },
        Case { program: &[OLD, BESIDE], liba: &[NEW, "-Wl,-rpath,/nowhere"], ..plain },
        Case { program: &[OLD, BESIDE], liba: &[OLD, "-Wl,-rpath,/nowhere"], ..plain },
        Case { program: &[NEW, BESIDE], b_in: &["usr/lib"], ..plain },
        Case { environment: "/app/lib", ..plain },
        Case { environment: "/nowhere:/app/lib", program: &[NEW, "-Wl,-rpath,/nowhere"], ..plain },
        Case { environment: "/app/lib", b_in: &["app"], ..plain },
        Case { program: &[NEW, BESIDE], b_in: &[], small_in: &["usr/lib"], ..plain },
        Case { environment: "/app/lib", b_in: &["usr/lib"], small_in: &["app/lib"], ..plain },
        Case { program: &[NEW, "-Wl,-rpath,${ORIGIN}/../app/lib"], liba: &[NEW, BESIDE], ..plain },
    ];
    for directory in [
        &["lib"],
        &["usr/lib"],
        &["lib64"],
        &["usr/lib64"],
        &["usr/local/lib"],
        &["usr/local/lib64"],
        &["lib/x86_64-linux-gnu"],
        &["usr/lib/x86_64-linux-gnu"],
        &["usr/local/lib/x86_64-linux-gnu"],
        &["opt/lib"],
    ] {
        cases.push(Case { a_in: directory, b_in: directory, ..plain });
    }
    cases
}

impl Case<'_> {
    /// Makes what is in the image beside the C libraries.
    fn make(&self, bench: &Bench, root: &str) {
        let shared = ["-shared", "-nostdlib", "-fPIC"];
        let to = |directory: &str, name: &str| format!("{root}/{directory}/{name}");
        let (b, a) = (format!("made/{root}/libb.so"), format!("made/{root}/liba.so"));
        let named = |name: &'static str| [&shared[..], &[name]].concat();
        compile(bench, &b, "int b(void) { return 0; }", &named("-Wl,-soname,libb.so"));
        let with_b = [&named("-Wl,-soname,liba.so"), self.liba, &["-Wl,--no-as-needed", &b]].concat();
        compile(bench, &a, "int b(void); int a(void) { return b(); }", &with_b);
        let interpreter = format!("-Wl,--dynamic-linker={}", self.interpreter);
        let needs = ["-Wl,--no-as-needed", "-lm", "-lpthread", "-Wl,--unresolved-symbols=ignore-all"];
        let arguments = [self.program, &[&*interpreter, &*a], &needs].concat();
        compile(bench, &to("app", "p"), "int a(void); int main(void) { return a(); }", &arguments);
        for (directories, file) in [(self.a_in, &a), (self.b_in, &b)] {
            for directory in directories {
                let name = file.rsplit('/').next().unwrap();
                fs::create_dir_all(bench.path(&to(directory, ""))).unwrap();
                fs::copy(bench.path(file), bench.path(&to(directory, name))).unwrap();
            }
        }
        for directory in self.small_in {
            let small = [&named("-Wl,-soname,libb.so")[..], &["-m32"]].concat();
            compile(bench, &to(directory, "libb.so"), "int b(void) { return 0; }", &small);
        }
    }
}

/// Tells whether the program of an image starts, in a file system of its own.
fn starts(bench: &Bench, libc: &[(&str, &Path)], root: &str, environment: &str) -> bool {
    for (path, file) in libc {
        let to = bench.path(&format!("{root}{path}"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    // `$ORIGIN` is known by `/proc`, which containers have.
    let script = "mount --bind /proc \"$1/proc\" || exit 99; exec chroot \"$1\" /app/p";
    let proc = bench.path(&format!("{root}/proc"));
    fs::create_dir(&proc).unwrap();
    let mut command = Command::new("unshare");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if !environment.is_empty() {
        command.env("LD_LIBRARY_PATH", environment);
    }
    let output = run_any(command.args(["--mount", "sh", "-c", script, "sh"]).arg(bench.path(root)));
    assert_ne!(output.code, Some(99), "{}", output.errors());
    fs::remove_dir(proc).unwrap();
    for (path, _) in libc {
        fs::remove_file(bench.path(&format!("{root}{path}"))).unwrap();
    }
    output.code == Some(0)
}

/// Builds an image of each case, and demands that something is told of those that don't start.
fn as_the_loader_says(libc: &[(&str, &Path)], cases: &[Case<'_>]) {
    let bench = Bench::new();
    let mut text = "version = 1\n[checks]\nfail-on = \"never\"\n[layers.libc]\ncopy = [\n".to_owned();
    for (number, (path, file)) in libc.iter().enumerate() {
        fs::copy(file, bench.path(&format!("libc{number}"))).unwrap();
        writeln!(text, "{{ from = \"libc{number}\", to = \"{path}\" }},").unwrap();
    }
    text.push_str("]\n");
    let mut expected = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("c{number}");
        case.make(&bench, &name);
        if starts(&bench, libc, &name, case.environment) {
            expected.push(name.clone());
        }
        writeln!(
            text,
            "[layers.{name}]\ncopy = [{{ from = \"{name}\", to = \"/\", preserve = [\"mode\"] }}]\n[images.{name}]\n\
             layers = [\"libc\", \"{name}\"]\nentrypoint = [\"/app/p\"]\nenv = {{ LD_LIBRARY_PATH = \"{}\" }}",
            case.environment
        )
        .unwrap();
    }
    bench.write("ocibuild.toml", text);
    bench.ok(&["build", "--checks-output", "found.json", "--checks-format", "json"]);
    let document = document(&bench);
    let told = |name: &String| {
        document["findings"].as_array().unwrap().iter().any(|finding| {
            finding["image"] == **name && finding["path"] == "app/p" && finding["severity"] != "note"
        })
    };
    let all: Vec<String> = (0..cases.len()).map(|number| format!("c{number}")).collect();
    let sound: Vec<String> = all.into_iter().filter(|name| !told(name)).collect();
    assert_eq!(sound, expected);
    assert!(expected.len() > 3 && expected.len() < cases.len() - 3, "both are there: {expected:?}");
}

#[test]
fn programs_are_judged_as_glibc_starts_them() {
    require!(root());
    require!(tool("gcc"));
    let (loader, libc) = (require!(library(GLIBC)), require!(library(GLIBC_SELF)));
    let math = require!(library("/lib/x86_64-linux-gnu/libm.so.6"));
    let threads = require!(library("/lib/x86_64-linux-gnu/libpthread.so.0"));
    let files = [
        (GLIBC, &*loader),
        (GLIBC_SELF, &*libc),
        ("/lib/x86_64-linux-gnu/libm.so.6", &*math),
        ("/lib/x86_64-linux-gnu/libpthread.so.0", &*threads),
    ];
    as_the_loader_says(&files, &cases(GLIBC));
}

#[test]
fn programs_are_judged_as_musl_starts_them() {
    require!(root());
    require!(tool("gcc"));
    let loader = require!(library(MUSL));
    // It has all of its C library, whatever names that goes by: the programs are glibc's.
    as_the_loader_says(&[(MUSL, &loader)], &cases(MUSL));
    // Under the name of glibc's loader as well, as what stands in for that has it.
    as_the_loader_says(&[(GLIBC, &loader), (MUSL, &loader)], &cases(GLIBC));
}
