//! The config of an image, as planned and as inherited.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::oci::{self, Empty};
use crate::plan::expand::Expander;
use crate::spec::{self, Located};

/// Fills in what the spec says of a config.
pub(super) fn plan(config: &spec::Config, expander: &mut Expander<'_>) -> oci::Config {
    let list = |list: &Option<Located<Vec<String>>>| list.as_ref().map(|list| list.value.clone());
    let text = |text: &Option<Located<String>>| text.as_ref().map(|text| text.value.clone());
    let env = config
        .env
        .iter()
        .filter_map(|(name, value)| Some(format!("{}={}", name.value, expander.text(value)?)));
    let env: Vec<String> = env.collect();
    let volumes: BTreeMap<String, Empty> = config
        .volumes
        .iter()
        .filter_map(|volume| expander.checked(volume, spec::check::image_directory))
        .map(|volume| (volume, Empty {}))
        .collect();
    let workdir = config.workdir.as_ref();
    oci::Config {
        user: text(&config.user),
        exposed_ports: Some(config.expose.iter().map(|port| (port.to_string(), Empty {})).collect()),
        env: Some(env),
        entrypoint: list(&config.entrypoint),
        cmd: list(&config.cmd),
        volumes: Some(volumes),
        working_dir: workdir.and_then(|path| expander.checked(path, spec::check::image_directory)),
        labels: Some(expander.map(&config.labels)),
        stop_signal: text(&config.stop_signal),
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        ..oci::Config::default()
    }
}

fn healthcheck(check: &spec::Healthcheck) -> oci::Healthcheck {
    let nanoseconds = |time: &Option<Located<Duration>>| {
        time.as_ref().map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    };
    oci::Healthcheck {
        test: check.test.value.clone(),
        interval: nanoseconds(&check.interval),
        timeout: nanoseconds(&check.timeout),
        start_period: nanoseconds(&check.start_period),
        start_interval: nanoseconds(&check.start_interval),
        retries: check.retries.as_ref().map_or(0, |retries| u64::from(retries.value)),
    }
}

/// Lays a config over the one it inherits from.
///
/// Environment and labels are merged by name, ports and volumes united; all else is replaced where
/// it is given. An entrypoint takes the inherited arguments away, which were meant for another.
pub fn merge(base: oci::Config, own: oci::Config) -> oci::Config {
    let cmd = if own.entrypoint.is_some() { own.cmd } else { own.cmd.or(base.cmd) };
    let mut other = base.other;
    other.extend(own.other);
    oci::Config {
        user: own.user.or(base.user),
        exposed_ports: unite(base.exposed_ports, own.exposed_ports),
        env: merge_env(base.env, own.env),
        entrypoint: own.entrypoint.or(base.entrypoint).filter(|words| !words.is_empty()),
        cmd: cmd.filter(|words| !words.is_empty()),
        volumes: unite(base.volumes, own.volumes),
        working_dir: own.working_dir.or(base.working_dir),
        labels: unite(base.labels, own.labels),
        stop_signal: own.stop_signal.or(base.stop_signal),
        healthcheck: own.healthcheck.or(base.healthcheck),
        other,
    }
}

fn unite<T>(
    base: Option<BTreeMap<String, T>>,
    own: Option<BTreeMap<String, T>>,
) -> Option<BTreeMap<String, T>> {
    let mut united = base.unwrap_or_default();
    united.extend(own.unwrap_or_default());
    Some(united).filter(|map| !map.is_empty())
}

/// Keeps the base's order; a name of its own takes the place of the base's.
fn merge_env(base: Option<Vec<String>>, own: Option<Vec<String>>) -> Option<Vec<String>> {
    let mut merged = base.unwrap_or_default();
    for variable in own.unwrap_or_default() {
        let name = |variable: &str| {
            variable.split_once('=').map_or(variable.to_owned(), |(name, _)| name.to_owned())
        };
        match merged.iter_mut().find(|known| name(known) == name(&variable)) {
            Some(known) => *known = variable,
            None => merged.push(variable),
        }
    }
    Some(merged).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_config_is_laid_over_its_base() {
        let base = oci::Config {
            user: Some("1".to_owned()),
            env: words(&["PATH=/bin", "A=1"]),
            entrypoint: words(&["/base"]),
            cmd: words(&["serve"]),
            ..oci::Config::default()
        };
        let own = oci::Config { env: words(&["A=2", "B=3"]), ..oci::Config::default() };
        let merged = merge(base.clone(), own);
        assert_eq!(merged.env, words(&["PATH=/bin", "A=2", "B=3"]));
        assert_eq!((merged.entrypoint, merged.cmd), (words(&["/base"]), words(&["serve"])));
        let own = oci::Config { entrypoint: words(&["/own"]), ..oci::Config::default() };
        let merged = merge(base, own);
        assert_eq!(
            (merged.entrypoint, merged.cmd, merged.user),
            (words(&["/own"]), None, Some("1".to_owned()))
        );
    }
}
