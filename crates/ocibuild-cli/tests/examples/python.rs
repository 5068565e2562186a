//! `examples/python`: wheels, their installation, and a service that isn't compiled at all.

use crate::example::{Example, debian};
use crate::ocibuild::amd64;
use crate::service::{Service, visitor};
use ocibuild_testkit::{docker, require, tool};

const NONE: [&str; 0] = [];

#[test]
fn python_service() {
    require!(amd64());
    let (docker, visitor) = (require!(docker()), require!(visitor()));
    require!(tool("pip3"));
    require!(debian());
    let example = Example::new("python");
    let first = example.build();
    assert_eq!(first.ran, ["install", "runtime", "wheels"]);

    let image = example.load(&docker);
    let service = Service::start(&docker, &image, visitor, 8080);
    assert_eq!(service.ask(8080, "/"), "hello from Python");
    service.check_health();
    service.stop();

    example.touch();
    let again = example.build();
    assert_eq!((again.ran.as_slice(), &again.line), (&[][..], &first.line), "nothing changed");

    assert_eq!(example.run_step("test"), ["test"]);
    assert_eq!(example.run_step("test"), NONE, "it has passed");

    example.edit("greeter/service.py", "\"ok\\n\"", "\"well\\n\"");
    let edited = example.build();
    assert_eq!(edited.ran, NONE, "sources are copied as they are");
    assert_ne!(edited.line, first.line);

    example.edit("requirements.txt", "# The lockfile:", "# The lock file:");
    let reworded = example.build();
    assert_eq!(reworded.ran, ["install", "wheels"]);
    assert_eq!(reworded.id, edited.id, "the same packages, hence the same image");
}
