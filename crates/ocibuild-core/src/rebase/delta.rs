//! What an image has over its base beside files: config, history, annotations; found by taking the
//! base's away from the image's, so that laying it over another base goes by the rules of a build.
//!
//! A value that both have counts as inherited, and a variable of its own that the old base has, too,
//! comes before those that it hasn't. What the base has and the image hasn't tells that the
//! image was built with an `inherit` that leaves it out; then a field of which neither says anything
//! counts as left out, too.

use std::collections::BTreeMap;

use crate::cache::BuiltLayer;
use crate::image::{CREATED_BY, Created, Overlay, complete_history};
use crate::oci::{self, Config, History, ImageConfig, annotation};
use crate::plan::{BaseName, ConfigPlaces, Foundation, PlannedAnnotations, PlannedVariant};
use crate::rebase::Part;
use crate::reference::Reference;
use crate::spec::{Field, Inherit, Located};

/// Returns what the image is to be on the base of this name, as a build would have planned it, and
/// its own layers.
pub(super) fn delta(part: &Part, onto: Option<Reference>, created: Created) -> (PlannedVariant, Overlay) {
    let (image, old) = (&part.image.config, &part.old.config);
    let platform = part.image.platform.clone();
    let foundation = match onto {
        Some(name) => {
            Foundation::Image { base: BaseName::Remote(name), platform: platform.clone(), span: None }
        }
        None => Foundation::Scratch,
    };
    let (with, below) = (image.config.clone().unwrap_or_default(), old.config.clone().unwrap_or_default());
    let inherit = inherit(image, old, &with, &below);
    let author = image.author.clone();
    let variant = PlannedVariant {
        platform,
        foundation,
        layers: Vec::new(),
        config: config(&with, &below, &inherit),
        places: ConfigPlaces::default(),
        builtin: Config::default(),
        author: author.filter(|_| !(inherit.takes(Field::Author) && image.author == old.author)),
        annotations: annotations(part),
        inherit: inherit.clone(),
    };
    let own = part.own();
    let overlay = Overlay {
        layers: own
            .layers
            .into_iter()
            .zip(own.diff_ids)
            .map(|(blob, id)| BuiltLayer::new(blob, id))
            .collect(),
        history: history(part, created),
        other: over(&image.other, &old.other, inherit == Inherit::All),
    };
    (variant, overlay)
}

/// What a field of both configs tells of whether it was inherited.
#[derive(PartialEq, Eq)]
enum Evidence {
    Taken,
    Left,
    None,
}

/// Finds out what the image took over.
fn inherit(image: &ImageConfig, old: &ImageConfig, with: &Config, below: &Config) -> Inherit {
    let evidence = [
        (Field::User, single(&with.user, &below.user)),
        (Field::Expose, names(&with.exposed_ports, &below.exposed_ports)),
        (Field::Env, variables(with.env.as_deref(), below.env.as_deref())),
        (Field::Entrypoint, command(&with.entrypoint, &below.entrypoint)),
        (Field::Cmd, command(&with.cmd, &below.cmd)),
        (Field::Volumes, names(&with.volumes, &below.volumes)),
        (Field::Workdir, single(&with.working_dir, &below.working_dir)),
        (Field::Labels, names(&with.labels, &below.labels)),
        (Field::StopSignal, single(&with.stop_signal, &below.stop_signal)),
        (Field::Healthcheck, single(&with.healthcheck, &below.healthcheck)),
        (Field::StopTimeout, single(&with.stop_timeout, &below.stop_timeout)),
        (Field::Shell, command(&with.shell, &below.shell)),
        (Field::Author, single(&image.author, &old.author)),
    ];
    let unknown_left = below.other.keys().any(|name| !with.other.contains_key(name));
    if !unknown_left && evidence.iter().all(|(_, evidence)| *evidence != Evidence::Left) {
        return Inherit::All;
    }
    let taken = evidence.into_iter().filter(|(_, evidence)| *evidence == Evidence::Taken);
    let taken: Vec<Located<Field>> = taken.map(|(field, _)| field.into()).collect();
    if taken.is_empty() { Inherit::Nothing } else { Inherit::Only(taken) }
}

fn single<T: PartialEq>(with: &Option<T>, below: &Option<T>) -> Evidence {
    match (with, below) {
        (_, None) => Evidence::None,
        (None, Some(_)) => Evidence::Left,
        (Some(with), Some(below)) if with == below => Evidence::Taken,
        _ => Evidence::None,
    }
}

/// An empty list takes a command away, too; that it isn't there tells nothing.
fn command(with: &Option<Vec<String>>, below: &Option<Vec<String>>) -> Evidence {
    match below {
        Some(_) if with == below => Evidence::Taken,
        _ => Evidence::None,
    }
}

fn names<T>(with: &Option<BTreeMap<String, T>>, below: &Option<BTreeMap<String, T>>) -> Evidence {
    let has = |name: &String| with.as_ref().is_some_and(|with| with.contains_key(name));
    all(below.iter().flatten().map(|(name, _)| has(name)))
}

fn variables(with: Option<&[String]>, below: Option<&[String]>) -> Evidence {
    let has = |one: &String| with.into_iter().flatten().any(|other| variable(other) == variable(one));
    all(below.into_iter().flatten().map(has))
}

fn variable(text: &str) -> &str {
    text.split_once('=').map_or(text, |(name, _)| name)
}

fn all(mut has: impl Iterator<Item = bool>) -> Evidence {
    match has.next() {
        None => Evidence::None,
        Some(first) if first && has.all(|has| has) => Evidence::Taken,
        Some(_) => Evidence::Left,
    }
}

/// Finds what was laid over the part of the base's config that was taken.
fn config(with: &Config, below: &Config, inherit: &Inherit) -> Config {
    let below = crate::plan::inherited_config(below.clone(), inherit);
    let entrypoint = match (&with.entrypoint, &with.cmd, &below.cmd) {
        // Whoever took the only command away wants none, of whatever kind.
        (None, None, Some(_)) => Some(Vec::new()),
        _ => replaced(&with.entrypoint, &below.entrypoint),
    };
    let cmd = match &entrypoint {
        // The base's arguments went with its entrypoint.
        Some(_) => with.cmd.clone(),
        None => replaced(&with.cmd, &below.cmd),
    };
    let env = with.env.iter().flatten().filter(|own| !below.env.iter().flatten().any(|one| one == *own));
    Config {
        user: differing(&with.user, &below.user),
        exposed_ports: added(&with.exposed_ports, &below.exposed_ports),
        env: Some(env.cloned().collect()),
        entrypoint,
        cmd,
        volumes: added(&with.volumes, &below.volumes),
        working_dir: differing(&with.working_dir, &below.working_dir),
        labels: added(&with.labels, &below.labels),
        stop_signal: differing(&with.stop_signal, &below.stop_signal),
        healthcheck: differing(&with.healthcheck, &below.healthcheck),
        stop_timeout: differing(&with.stop_timeout, &below.stop_timeout),
        shell: replaced(&with.shell, &below.shell),
        on_build: with.on_build.clone(),
        other: over(&with.other, &below.other, true),
    }
}

fn differing<T: PartialEq + Clone>(with: &Option<T>, below: &Option<T>) -> Option<T> {
    with.clone().filter(|_| with != below)
}

/// An empty list takes the base's away.
fn replaced(with: &Option<Vec<String>>, below: &Option<Vec<String>>) -> Option<Vec<String>> {
    match (with, below) {
        (None, Some(_)) => Some(Vec::new()),
        _ => differing(with, below),
    }
}

fn added<T: PartialEq + Clone>(
    with: &Option<BTreeMap<String, T>>,
    below: &Option<BTreeMap<String, T>>,
) -> Option<BTreeMap<String, T>> {
    let known = |name: &String| below.as_ref().and_then(|below| below.get(name));
    let own = with.iter().flatten().filter(|(name, value)| known(name) != Some(value));
    Some(own.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What isn't known is laid over the base's where that is taken over, and else stands alone.
fn over(
    with: &BTreeMap<String, serde_json::Value>,
    below: &BTreeMap<String, serde_json::Value>,
    taken: bool,
) -> BTreeMap<String, serde_json::Value> {
    let own = with.iter().filter(|(name, value)| !taken || below.get(*name) != Some(value));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What the image tells of its own layers. Where it says that we made them, it gets the time of the
/// new image, as it would by a build.
fn history(part: &Part, created: Created) -> Vec<History> {
    let all = &part.image.config.history;
    let mut old = part.old.config.history.clone();
    complete_history(&mut old, part.below());
    let own = match all.strip_prefix(&old[..]) {
        Some(own) => own,
        None => behind(all, part.below()),
    };
    let ours = |entry: &History| entry.created_by.as_ref().is_some_and(|by| by.starts_with(CREATED_BY));
    let timed = |entry: &History| match ours(entry) {
        true => History { created: Some(created.to_string()), ..entry.clone() },
        false => entry.clone(),
    };
    own.iter().map(timed).collect()
}

/// The entries behind those of so many layers.
fn behind(history: &[History], layers: usize) -> &[History] {
    let mut places = history.iter().enumerate().filter(|(_, entry)| !entry.empty_layer);
    let start = match layers.checked_sub(1) {
        None => 0,
        Some(last) => places.nth(last).map_or(history.len(), |(at, _)| at + 1),
    };
    &history[start..]
}

/// The manifest's annotations, but for those that every build sets anew. A time that isn't the
/// config's was given by the spec.
fn annotations(part: &Part) -> PlannedAnnotations {
    let config: &oci::ImageConfig = &part.image.config;
    let is_own = |(name, value): &(&String, &String)| match name.as_str() {
        annotation::BASE_NAME | annotation::BASE_DIGEST => false,
        annotation::CREATED => config.created.as_ref() != Some(*value),
        _ => true,
    };
    let own = part.image.manifest.annotations.iter().filter(is_own);
    let manifest = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    PlannedAnnotations { manifest, ..PlannedAnnotations::default() }
}
