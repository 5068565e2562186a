//! Images put together from layers that are all there.

use crate::blob::Memory;
use crate::build::bases::{Found, Foundations};
use crate::build::{BuildError, BuiltImage, FinishedLayer, built};
use crate::cache::{BuiltLayer, carried};
use crate::image::{Created, OwnLayer, assemble, assemble_index};
use crate::oci::{MediaType, Platform};
use crate::plan::{Plan, PlannedImage, PlannedLayer};

/// What an image for a platform says of a layer: the same whatever answered for it.
fn carry(planned: &PlannedLayer, layer: &FinishedLayer, platform: &Platform) -> Vec<BuiltLayer> {
    let place = planned.platforms.iter().position(|own| own == platform);
    let manifest = place.and_then(|place| layer.manifest_keys.get(place));
    carried(&layer.record, manifest)
}

pub(super) fn put_together(
    plan: &Plan,
    image: &PlannedImage,
    foundations: &Foundations,
    layers: &[FinishedLayer],
    memory: &Memory,
    created: Created,
) -> Result<BuiltImage, BuildError> {
    let fault = |source| BuildError::Image { image: image.name.clone(), source };
    let mut assembled = Vec::with_capacity(image.variants.len());
    for variant in &image.variants {
        let base = foundations.base(&variant.foundation).map(Found::base);
        let built = |index: &usize| carry(&plan.layers[*index], &layers[*index], &variant.platform);
        let built: Vec<Vec<BuiltLayer>> = variant.layers.iter().map(built).collect();
        let own = variant.layers.iter().zip(&built).flat_map(|(index, built)| {
            let (layer, comment) = (&layers[*index], plan.layers[*index].comment.as_deref());
            let count = built.len();
            let part = move |number| Some((number + 1, count)).filter(|_| count > 1);
            let own =
                move |(number, built)| OwnLayer { name: &layer.name, comment, built, part: part(number) };
            built.iter().enumerate().map(own)
        });
        let own: Vec<OwnLayer<'_>> = own.collect();
        let image = assemble(variant, base, &own, created).map_err(fault)?;
        memory.insert(MediaType::CONFIG, image.config.clone());
        memory.insert(MediaType::MANIFEST, image.manifest.clone());
        assembled.push((image, variant));
    }
    let root = match &assembled[..] {
        [(only, _)] => only.descriptor.clone(),
        several => memory.insert(MediaType::INDEX, assemble_index(several)),
    };
    Ok(BuiltImage {
        name: image.name.clone(),
        tags: image.tags.clone(),
        ref_names: image.ref_names(),
        root,
        layers: built::layer_numbers(image),
    })
}
