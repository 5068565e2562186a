//! `examples/go`: a static program, and a configuration that needs no compiler.

use crate::example::Example;
use crate::ocibuild::amd64;
use crate::service::{Service, visitor};
use ocibuild_testkit::{docker, require, tool};

const NONE: [&str; 0] = [];

#[test]
fn go_service() {
    require!(amd64());
    let (docker, visitor) = (require!(docker()), require!(visitor()));
    require!(tool("go"));
    let example = Example::new("go");
    let first = example.build();
    assert_eq!(first.ran, ["compile"]);

    example.touch();
    let again = example.build();
    assert_eq!((again.ran.as_slice(), &again.line), (&[][..], &first.line), "nothing changed");

    example.edit("config/production.json", "hello", "good day");
    let configured = example.build();
    assert_eq!(configured.ran, NONE, "a configuration isn't compiled");
    assert_ne!(configured.line, first.line);

    let image = example.load(&docker);
    let service = Service::start(&docker, &image, visitor, 8080);
    assert_eq!(service.ask(8080, "/"), "good day from Go");
    service.check_health();
    service.stop();

    example.edit("service_test.go", "package main", "package main // with a comment");
    assert_eq!(example.build().ran, NONE, "what is compiled has no tests in it");

    example.edit("service.go", "// service answers", "// service, which answers");
    let reworded = example.build();
    assert_eq!(reworded.ran, ["compile"]);
    assert_eq!(reworded.id, configured.id, "the same program, hence the same image");

    example.edit("service.go", "\"ok\"", "\"well\"");
    let edited = example.build();
    assert_eq!(edited.ran, ["compile"]);
    assert_ne!(edited.line, configured.line);
}
