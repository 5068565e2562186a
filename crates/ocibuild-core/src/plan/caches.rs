//! The places that are asked for layers and told of them.

use super::{PlannedImage, Planner};
use crate::oci::Platform;
use crate::spec::{self, CachePlace, Fault, Located, Template};

impl Planner<'_> {
    /// What the spec asks for layers: each image once, however many platforms its name is made of.
    pub(super) fn cache_from(&mut self, images: &[PlannedImage]) -> Vec<CachePlace> {
        self.cache_places(&self.spec.cache.from, images)
    }

    /// The one place that is told of layers, whatever the platform.
    pub(super) fn cache_to(&mut self, images: &[PlannedImage]) -> Option<CachePlace> {
        let to = self.spec.cache.to.as_ref()?;
        let mut found = self.cache_places(std::slice::from_ref(to), images);
        if found.len() > 1 {
            let fault = Fault::new("the cache is another place on each platform", to.span);
            self.fault(fault.hint("write `to` without names of platforms: it is written once a run"));
        }
        found.pop()
    }

    fn cache_places(&mut self, names: &[Located<Template>], images: &[PlannedImage]) -> Vec<CachePlace> {
        let mut found: Vec<CachePlace> = Vec::new();
        let mut platforms: Vec<Platform> = Vec::new();
        let of_images = images.iter().flat_map(|image| &image.variants).map(|variant| &variant.platform);
        let of_steps = self.steps.planned.iter().filter_map(|step| step.platform.as_ref());
        for platform in of_images.chain(of_steps) {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        if platforms.is_empty() {
            platforms.push(Platform::linux_amd64());
        }
        for platform in &platforms {
            let mut expander = self.expander(platform);
            for name in names {
                let Some(text) = expander.text(name) else { continue };
                match spec::check::cache_place(&text) {
                    Ok(place) if found.contains(&place) => {}
                    Ok(place) => found.push(place),
                    Err(error) => expander.faults.push(Fault::of(error, name.span)),
                }
            }
            self.absorb(expander.faults);
        }
        found
    }
}
