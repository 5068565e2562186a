//! Builds an image of one program and pushes it: an embedder's whole job, with `ocibuild-core` and
//! nothing else.
//!
//! `embed PROGRAM CACHE REFERENCE` puts the file `PROGRAM` at `/app/server` of an image on scratch,
//! keeps layers in the directory `CACHE`, and pushes to `REFERENCE`, such as
//! `127.0.0.1:5000/team/app:1`. A registry elsewhere than on a loopback address is reached by
//! https; for that a program installs a TLS provider first, see `ocibuild_core::Registry`.

use std::path::Path;

use ocibuild_core::{Builder, Event, ImageSpec, LayerSpec, Platform, Registry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, cache, reference] = &arguments[..] else {
        return Err("usage: embed PROGRAM CACHE REFERENCE".into());
    };
    let program = Path::new(program).canonicalize()?;
    let (Some(root), Some(name)) = (program.parent(), program.file_name().and_then(|name| name.to_str()))
    else {
        return Err("the program's name is not UTF-8".into());
    };
    let progress = |event: &Event| eprintln!("{event:?}");

    let registry = Registry::default();
    let image = ImageSpec::scratch(Platform::linux_amd64())
        .layer(LayerSpec::named("app").copy(name, "/app/server").mode(0o755))
        .entrypoint(["/app/server"])
        .user("65532");
    let built = Builder::new(root, cache).observer(&progress).build(&image)?;
    built.push(&registry, &reference.parse()?)?;

    println!("{}", built.images[0].root.digest);
    Ok(())
}
