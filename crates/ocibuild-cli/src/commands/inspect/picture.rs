//! An image as a picture: one page of HTML that needs nothing else.
//!
//! `facts` knows what is to be told, `tree` which files are drawn one by one, `page` writes both
//! down for people without scripts, and `page.js` draws them for all others.

mod config;
mod facts;
mod html;
mod page;
mod tree;

use std::path::{Path, PathBuf};

use ocibuild_core::base::Base;
use ocibuild_core::contents::Contents;
use serde_json::json;

use crate::commands::inspect::image::{Image, Inspection};
use crate::failure::Failure;
use crate::image_files;
use crate::image_place::FoundImage;
use crate::options::Options;
use crate::progress::Reporter;
use crate::{file, text};

use facts::Facts;

/// As much of a page as the trees of all its images may take, in bytes.
const TREES: usize = 1_300_000;

/// As many rows as the tables of all images may have together, so long as each has a few.
const ROWS: usize = 120;

/// Where a page goes.
#[derive(Debug)]
pub(super) enum Place {
    Stdout,
    File(PathBuf),
}

impl Place {
    /// Reads `FILE`, where `-` is standard output.
    pub(super) fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdout } else { Self::File(path.to_owned()) }
    }

    /// Refuses, before anything is read, what couldn't be written then.
    ///
    /// # Errors
    /// [`Failure::Result`].
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => file::check(path).map_err(|source| failure(path, source)),
        }
    }
}

fn failure(path: &Path, source: std::io::Error) -> Failure {
    Failure::Result { what: "--html", path: path.to_owned(), source, is_built: false }
}

/// Draws an image, and tells where it went.
///
/// # Errors
/// [`Failure`] if its layers can't be read, or the page can't be written.
pub(super) fn draw(
    inspection: &Inspection,
    found: &FoundImage,
    place: &Place,
    options: &Options,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let drawn: Vec<&Image> = inspection.images.iter().filter(|image| image.is_runnable()).collect();
    if drawn.is_empty() {
        // The reason is that of anything that needs an image.
        Base::sole(found.source.as_ref(), &found.root).map_err(|error| image_files::failure(error, found))?;
        return Err(Failure::usage("there is nothing to draw: this isn't an image with layers of files"));
    }
    let mut known: Option<Contents> = None;
    let mut images = Vec::new();
    for image in &drawn {
        images.push(read(image, found, &mut known, drawn.len(), options)?);
    }
    let page = page::write(inspection, &images);
    match place {
        Place::Stdout => text::print(&page),
        Place::File(path) => {
            file::write(path, page.as_bytes()).map_err(|source| failure(path, source))?;
            let line = format!("{} in {}", text::bytes(page.len() as u64), path.display());
            reporter.summary(&line, &json!({ "file": path.display().to_string(), "bytes": page.len() }));
            Ok(())
        }
    }
}

/// Reads the files of one of `count` images. What images have in common is read once.
fn read<'i>(
    image: &'i Image,
    found: &FoundImage,
    known: &mut Option<Contents>,
    count: usize,
    options: &Options,
) -> Result<Facts<'i>, Failure> {
    let fault = |error| image_files::failure(error, found);
    let base = Base::open(found.source.as_ref(), &image.descriptor, None).map_err(fault)?;
    let contents = image_files::read(found, &base, known.as_ref(), false, options)?;
    let facts = Facts::new(image, &contents.merged().map_err(fault)?, TREES / count, (ROWS / count).max(10));
    match known {
        Some(known) => known.layers.extend(contents.layers),
        None => *known = Some(contents),
    }
    Ok(facts)
}
