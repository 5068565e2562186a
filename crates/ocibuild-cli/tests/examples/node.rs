//! `examples/node`: install apart from compile, and what ships apart from both.

use crate::example::{Example, debian};
use crate::ocibuild::amd64;
use crate::service::{Service, visitor};
use ocibuild_testkit::{docker, registry, require, tool};

const NONE: [&str; 0] = [];

#[test]
fn node_service() {
    require!(amd64());
    let (docker, visitor) = (require!(docker()), require!(visitor()));
    require!(tool("npm"));
    require!(debian());
    let example = Example::new("node");
    let first = example.build();
    assert_eq!(first.ran, ["compile", "install", "production", "runtime"]);

    let image = example.load(&docker);
    let service = Service::start(&docker, &image, visitor, 3000);
    assert_eq!(service.ask(3000, "/"), "hello from Node");
    service.check_health();
    service.stop();

    example.touch();
    let again = example.build();
    assert_eq!((again.ran.as_slice(), &again.line), (&[][..], &first.line), "nothing changed");

    example.edit("src/service.ts", "// What is answered.", "// What  is  answered,  and  how.");
    let reformatted = example.build();
    assert_eq!(reformatted.ran, ["compile"], "an installation doesn't depend on sources");
    assert_eq!(reformatted.id, first.id, "the same program, hence the same image");

    example.edit("src/service.ts", "\"ok\"", "\"well\"");
    let edited = example.build();
    assert_eq!(edited.ran, ["compile"]);
    assert_ne!(edited.line, first.line);

    example.edit("config/production.yaml", "hello", "good day");
    let configured = example.build();
    assert_eq!(configured.ran, NONE, "a configuration isn't compiled");
    assert_ne!(configured.line, edited.line);

    example.edit("package-lock.json", "\"lockfileVersion\": 3,", "\"lockfileVersion\":  3,");
    let locked = example.build();
    assert_eq!(locked.ran, ["install", "production"], "the same tree, hence nothing to compile");
    assert_eq!(locked.id, configured.id);

    assert_eq!(example.run_step("test"), ["test"]);
    assert_eq!(example.run_step("test"), NONE, "it has passed");
}

#[test]
fn node_service_on_a_fresh_machine() {
    require!(amd64());
    let registry = require!(registry());
    require!(tool("npm"));
    require!(debian());
    let example = Example::new("node");
    let (image, cache) = (format!("{registry}/examples/api:1"), format!("{registry}/examples/cache:main"));
    let first = example.push(&image, &["--cache-to", &cache, "--cache-mode", "max"]);
    assert_eq!(first.ran, ["compile", "install", "production", "runtime"]);

    let example = example.on_a_fresh_machine();
    let again = example.push(&image, &["--cache-from", &cache]);
    assert_eq!((again.ran.as_slice(), again.restored.as_slice()), (&[][..], &[][..]), "no bytes are moved");
    assert_eq!(again.line, first.line);

    let example = example.on_a_fresh_machine();
    example.edit("src/service.ts", "\"ok\"", "\"well\"");
    let edited = example.push(&image, &["--cache-from", &cache]);
    assert_eq!(edited.ran, ["compile"], "nobody installs anything");
    assert_eq!(edited.restored, ["install"], "what is compiled with is fetched, what ships isn't");
    assert_ne!(edited.line, first.line);
}
