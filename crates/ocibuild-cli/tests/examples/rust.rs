//! `examples/rust`: a static program whose dependencies are fetched by a step of their own.

use crate::example::Example;
use crate::ocibuild::amd64;
use crate::service::{Service, visitor};
use ocibuild_testkit::{docker, require, run, tool};
use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::Path;
use std::process::Command;

const NONE: [&str; 0] = [];

/// A `PATH` that leads to the toolchain itself, as the example's README says: rustup's launchers look for
/// it in the user's home.
fn path() -> OsString {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"])).text();
    let before = env::var_os("PATH").unwrap_or_default();
    let directories = iter::once(Path::new(&sysroot).join("bin")).chain(env::split_paths(&before));
    env::join_paths(directories).expect("what was split can be joined")
}

#[test]
fn rust_service() {
    require!(amd64());
    let (docker, visitor) = (require!(docker()), require!(visitor()));
    require!(tool("rustc"));
    require!(tool("cc"));
    let example = Example::new("rust").with("PATH", path());
    let first = example.build();
    assert_eq!(first.ran, ["compile", "fetch"]);

    let image = example.load(&docker);
    let service = Service::start(&docker, &image, visitor, 8080);
    assert_eq!(service.ask(8080, "/"), "hello from Rust");
    service.check_health();
    service.stop();

    example.touch();
    let again = example.build();
    assert_eq!((again.ran.as_slice(), &again.line), (&[][..], &first.line), "nothing changed");

    example.edit("config/greeter.conf", "hello", "good day");
    let configured = example.build();
    assert_eq!(configured.ran, NONE, "a configuration isn't compiled");
    assert_ne!(configured.line, first.line);

    example.edit("src/http.rs", "// Who went away", "// Whoever went away");
    let reworded = example.build();
    assert_eq!(reworded.ran, ["compile"], "what is fetched doesn't depend on sources");
    assert_eq!(reworded.id, configured.id, "the same program, hence the same image");

    example.edit("src/http.rs", "\"ok\"", "\"well\"");
    let edited = example.build();
    assert_eq!(edited.ran, ["compile"]);
    assert_ne!(edited.line, configured.line);

    assert_eq!(example.run_step("test"), ["test"]);
    assert_eq!(example.run_step("test"), NONE, "it has passed");
}
