//! Any text read as a spec, and any spec planned.

use std::collections::BTreeMap;

use ocibuild_core::oci::{Config, Platform};
use ocibuild_core::plan::{self, BuiltinBase, Plan, PlanError, Surroundings};
use ocibuild_core::spec::{Fault, LayerSpec, Sources, Spec, SpecError};

/// Where nothing is but one builtin base and layouts of images for one platform.
struct Somewhere;

impl Surroundings for Somewhere {
    fn builtin(&self, name: &str, version: u32) -> Option<BuiltinBase> {
        let layer = || LayerSpec::named("static").directory("/tmp").mode(0o1777).into_layer();
        (name == "static" && version == 1)
            .then(|| BuiltinBase::new(layer().expect("the layer is sound"), Config::default()))
    }

    fn base_platform(&self, layout: &str) -> Option<Platform> {
        layout.contains("arm").then(Platform::linux_arm64)
    }
}

/// Reads a spec: every fault has a place within the text and can be shown, the same text gives
/// the same, and what is accepted can be validated and planned.
pub fn check(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let given = BTreeMap::from([("given".to_owned(), "1.4.2".to_owned())]);
    let parsed = Spec::parse(source, &given);
    assert_eq!(parsed, Spec::parse(source, &given), "parsing isn't repeatable");
    match parsed {
        Err(error) => check_error(&error, source),
        Ok(spec) => check_spec(&spec, source),
    }
}

fn check_spec(spec: &Spec, source: &str) {
    assert!(!spec.images.is_empty(), "a spec without images was accepted");
    check_faults(&spec.warnings, source);
    let warnings = spec.validate().expect("what was accepted is valid");
    assert!(warnings.len() <= spec.warnings.len());
    match plan::plan(spec, "fuzz", &[], &Somewhere) {
        Ok(plan) => check_plan(&plan, spec),
        Err(PlanError::Spec(error)) => check_error(&error, source),
        Err(error) => panic!("{error}"),
    }
}

fn check_plan(plan: &Plan, spec: &Spec) {
    assert_eq!(plan.images.len(), spec.images.len());
    let mut used = vec![false; plan.layers.len()];
    for image in &plan.images {
        assert!(!image.variants.is_empty());
        assert!(!image.ref_names().is_empty());
        assert!(image.tags.iter().all(|tag| tag.tag().is_some()), "a tag without a tag");
        for variant in &image.variants {
            variant.layers.iter().for_each(|layer| used[*layer] = true);
        }
    }
    assert!(used.iter().all(|used| *used), "a layer is planned for nobody");
    let again = plan::plan(spec, "fuzz", &[], &Somewhere).expect("it was planned before");
    assert_eq!(format!("{plan:?}"), format!("{again:?}"), "planning isn't repeatable");
}

fn check_error(error: &SpecError, source: &str) {
    assert!(!error.faults.is_empty(), "an error without faults");
    check_faults(&error.faults, source);
    assert!(!error.to_string().is_empty());
    let text = error.render(&Sources::of("ocibuild.toml", source));
    assert!(text.starts_with("ocibuild.toml:") && text.ends_with('\n'), "{text:?}");
    let shown = |c: char| c == '\n' || !c.is_control();
    assert!(text.chars().all(shown), "a control character reaches the terminal: {text:?}");
}

fn check_faults(faults: &[Fault], source: &str) {
    let (lines, sources) = (source.split('\n').count(), Sources::of("f", source));
    for fault in faults {
        assert!(!fault.message.is_empty());
        assert!(!fault.render(&sources).is_empty());
        // What comes from outside the text has no place in it, and says so.
        let Some(span) = fault.span else {
            assert!(fault.message.contains("given"), "a fault without a place: {fault:?}");
            continue;
        };
        assert!(span.start <= span.end, "{fault:?}");
        assert!(source.get(span.start..span.end).is_some(), "a place outside the text: {fault:?}");
        let place = sources.position(span);
        assert!((1..=lines).contains(&place.line) && place.column >= 1, "{fault:?} at {place:?}");
    }
    let starts = faults.iter().filter_map(|fault| fault.span).map(|span| span.start);
    assert!(starts.is_sorted(), "faults out of order");
}
