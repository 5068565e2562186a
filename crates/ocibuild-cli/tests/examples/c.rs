//! `examples/c`: a static program on nothing.

use crate::example::Example;
use crate::ocibuild::amd64;
use crate::service::{Service, visitor};
use ocibuild_testkit::{docker, require, tool};

const NONE: [&str; 0] = [];

#[test]
fn c_service() {
    require!(amd64());
    let (docker, visitor) = (require!(docker()), require!(visitor()));
    require!(tool("cc"));
    require!(tool("make"));
    let example = Example::new("c");
    let first = example.build();
    assert_eq!(first.ran, ["compile"]);

    let image = example.load(&docker);
    let service = Service::start(&docker, &image, visitor, 8080);
    assert_eq!(service.ask(8080, "/"), "hello from C");
    service.check_health();
    service.stop();

    example.touch();
    let again = example.build();
    assert_eq!((again.ran.as_slice(), &again.line), (&[][..], &first.line), "nothing changed");

    example.edit("config/greeter.conf", "hello", "good day");
    let configured = example.build();
    assert_eq!(configured.ran, NONE, "a configuration isn't compiled");
    assert_ne!(configured.line, first.line);

    example.edit("src/http.c", "ok\\n", "well\\n");
    let edited = example.build();
    assert_eq!(edited.ran, ["compile"]);
    assert_ne!(edited.line, configured.line);

    assert_eq!(example.run_step("test"), ["test"]);
    assert_eq!(example.run_step("test"), NONE, "it has passed");
}
