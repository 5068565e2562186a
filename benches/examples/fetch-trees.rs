//! Fetches the trees to measure on: `cargo run -p ocibuild-benches --release --example fetch-trees -- DIR`.

use std::error::Error;
use std::path::PathBuf;

use ocibuild_benches::trees;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: fetch-trees DIR")?;
    let trees = trees::fetch(&PathBuf::from(directory))?;
    println!("{}\n{}", trees.npm.display(), trees.pip.display());
    Ok(())
}
