//! What steps read and make, as copies of a layer that nobody writes: so it is looked up, hashed and
//! captured in the one way that there is for files.

use std::sync::Arc;

use crate::oci::Compression;
use crate::pattern::Selection;
use crate::plan::{
    Foundation, From, Ignore, PlannedCopy, PlannedInput, PlannedLayer, PlannedPath, PlannedStep, Split,
};
use crate::spec::{Preserve, Trust};

/// How outputs are compressed: they are read about as often as they are written.
pub(super) const COMPRESSION: Compression = Compression::Zstd { level: 3 };

/// What of the root a step's command sees. Programs and scripts keep that they can be run; all other
/// modes are made alike, so that nothing depends on an umask.
pub(super) fn inputs(step: &PlannedStep) -> PlannedLayer {
    let excluded: Vec<String> =
        step.inputs.iter().filter(|input| input.is_excluded).map(|input| input.path.clone()).collect();
    let ignore = match excluded.is_empty() {
        true => Ignore::Nothing,
        false => Ignore::Given(Arc::from(excluded.join("\n").into_bytes())),
    };
    let copy = |input: &PlannedInput| {
        let from = From {
            path: input.path.clone(),
            literal: input.literal.clone(),
            glob: input.glob.clone(),
            ignore: ignore.clone(),
            allow_empty: false,
            ..plain(None)
        };
        PlannedCopy::of_files(from, input.literal.clone(), Preserve::default(), input.span)
    };
    layer(step, step.inputs.iter().filter(|input| !input.is_excluded).map(copy).collect())
}

/// Tells whether a path is one of a step's inputs, or lies in one.
pub(super) fn is_input(step: &PlannedStep, path: &[u8]) -> bool {
    let covers = |input: &&PlannedInput| match &input.glob {
        Some(glob) => glob.covers(path),
        None => {
            let rest = path.strip_prefix(&input.literal[..]);
            input.literal.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        }
    };
    let (excluded, included): (Vec<_>, Vec<_>) = step.inputs.iter().partition(|input| input.is_excluded);
    included.iter().any(covers) && !excluded.iter().any(covers)
}

/// What the command sees of the steps that its step needs: what they made, where they made it.
pub(super) fn needs(steps: &[PlannedStep], step: &PlannedStep) -> PlannedLayer {
    let of = |need: &usize| made_by(&steps[*need], Some(*need));
    layer(step, step.needs.iter().flat_map(of).collect())
}

/// What a step made, in the directory that it made it in. As of inputs, only that something can be run is
/// kept of modes, and names of one file are files: umasks and file systems differ.
pub(super) fn outputs(step: &PlannedStep) -> PlannedLayer {
    layer(step, made_by(step, None))
}

fn made_by(step: &PlannedStep, mount: Option<usize>) -> Vec<PlannedCopy> {
    let copy = |output: &PlannedPath| {
        let literal = output.path.clone().into_bytes();
        let from = From { path: output.path.clone(), literal: literal.clone(), ..plain(mount) };
        PlannedCopy::of_files(from, literal, Preserve::NOTHING, output.span)
    };
    step.outputs.iter().map(copy).collect()
}

/// Everything at a path, programs for other machines as well: what comes into an image is looked at there.
fn plain(step: Option<usize>) -> From {
    From {
        step,
        path: String::new(),
        literal: Vec::new(),
        glob: None,
        patterns: [Vec::new(), Vec::new()],
        selection: Selection::new(Vec::new(), Vec::new()),
        ignore: Ignore::Nothing,
        // An output may be an empty directory.
        allow_empty: true,
        allow_foreign: true,
        whole: true,
    }
}

fn layer(step: &PlannedStep, copies: Vec<PlannedCopy>) -> PlannedLayer {
    PlannedLayer {
        name: step.name.clone(),
        label: step.label.clone(),
        platforms: Vec::new(),
        foundation: Foundation::Scratch,
        compression: COMPRESSION,
        split: Split::Whole,
        manifests: Vec::new(),
        trust: Trust::Content,
        extras: Vec::new(),
        copies,
        remove: Vec::new(),
        comment: None,
    }
}
