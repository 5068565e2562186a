//! The config of an image, as planned and as inherited.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::oci::{self, Empty};
use crate::plan::PlannedAnnotations;
use crate::plan::expand::Expander;
use crate::spec::{self, Annotations, Field, Inherit, Located, Pairs, Template};

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
        stop_timeout: config.stop_timeout.map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
        shell: list(&config.shell),
        on_build: Some(config.on_build.iter().map(|trigger| trigger.value.clone()).collect()),
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
        ..oci::Healthcheck::default()
    }
}

/// Fills in annotations.
pub(super) fn annotations(annotations: &Annotations, expander: &mut Expander<'_>) -> PlannedAnnotations {
    let mut scope = |pairs: &Pairs| {
        let pair = |(key, value): &(Located<String>, Located<Template>)| {
            let check = |text: &str| spec::check::annotation(key, text);
            Some((key.value.clone(), expander.checked(value, check)?))
        };
        pairs.iter().filter_map(pair).collect()
    };
    PlannedAnnotations {
        common: scope(&annotations.common),
        manifest: scope(&annotations.manifest),
        index: scope(&annotations.index),
        descriptor: scope(&annotations.descriptor),
    }
}

/// Leaves of a base's config what an image inherits. What this library doesn't know comes along
/// only where everything does; triggers (`OnBuild`) never do.
pub fn inherited(base: oci::Config, inherit: &Inherit) -> oci::Config {
    fn keep<T>(inherit: &Inherit, field: Field, value: Option<T>) -> Option<T> {
        value.filter(|_| inherit.takes(field))
    }
    oci::Config {
        user: keep(inherit, Field::User, base.user),
        exposed_ports: keep(inherit, Field::Expose, base.exposed_ports),
        env: keep(inherit, Field::Env, base.env),
        entrypoint: keep(inherit, Field::Entrypoint, base.entrypoint),
        cmd: keep(inherit, Field::Cmd, base.cmd),
        volumes: keep(inherit, Field::Volumes, base.volumes),
        working_dir: keep(inherit, Field::Workdir, base.working_dir),
        labels: keep(inherit, Field::Labels, base.labels),
        stop_signal: keep(inherit, Field::StopSignal, base.stop_signal),
        healthcheck: keep(inherit, Field::Healthcheck, base.healthcheck),
        stop_timeout: keep(inherit, Field::StopTimeout, base.stop_timeout),
        shell: keep(inherit, Field::Shell, base.shell),
        on_build: None,
        other: if *inherit == Inherit::All { base.other } else { BTreeMap::new() },
    }
}

/// Lays a config over the one it inherits from.
///
/// Environment and labels are merged by name, ports and volumes united; all else is replaced where
/// it is given. An entrypoint takes the inherited arguments away, which were meant for another; an
/// empty list takes a command away. Triggers (`OnBuild`) are the config's own alone.
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
        stop_timeout: own.stop_timeout.or(base.stop_timeout),
        shell: own.shell.or(base.shell).filter(|words| !words.is_empty()),
        on_build: own.on_build.filter(|lines| !lines.is_empty()),
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

    fn set<T>(pairs: &[(&str, T)]) -> Option<BTreeMap<String, T>>
    where
        T: Clone,
    {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn labels(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn health(word: &str) -> Option<oci::Healthcheck> {
        Some(oci::Healthcheck { test: vec![word.to_owned()], ..oci::Healthcheck::default() })
    }

    /// A base with every field.
    fn base() -> oci::Config {
        oci::Config {
            user: text("1"),
            exposed_ports: set(&[("80/tcp", Empty {})]),
            env: words(&["PATH=/bin", "A=1"]),
            entrypoint: words(&["/base"]),
            cmd: words(&["serve"]),
            volumes: set(&[("/data", Empty {})]),
            working_dir: text("/srv"),
            labels: labels(&[("a", "1"), ("b", "1")]),
            stop_signal: text("SIGINT"),
            healthcheck: health("/check"),
            stop_timeout: Some(30),
            shell: words(&["/bin/bash", "-c"]),
            on_build: words(&["RUN make"]),
            other: [("ArgsEscaped".to_owned(), serde_json::Value::Bool(true))].into(),
        }
    }

    fn over(own: oci::Config) -> oci::Config {
        merge(inherited(base(), &Inherit::All), own)
    }

    #[test]
    fn what_is_not_given_is_the_bases_but_for_triggers() {
        assert_eq!(over(oci::Config::default()), oci::Config { on_build: None, ..base() });
    }

    #[test]
    fn the_environment_is_merged_by_name_in_the_bases_order() {
        let merged = over(oci::Config { env: words(&["A=2", "B=3"]), ..oci::Config::default() });
        assert_eq!(merged.env, words(&["PATH=/bin", "A=2", "B=3"]));
    }

    #[test]
    fn labels_are_merged_by_name() {
        let merged =
            over(oci::Config { labels: labels(&[("b", "2"), ("c", "2")]), ..oci::Config::default() });
        assert_eq!(merged.labels, labels(&[("a", "1"), ("b", "2"), ("c", "2")]));
    }

    #[test]
    fn ports_and_volumes_are_united() {
        let merged = over(oci::Config {
            exposed_ports: set(&[("53/udp", Empty {})]),
            volumes: set(&[("/more", Empty {}), ("/data", Empty {})]),
            ..oci::Config::default()
        });
        assert_eq!(merged.exposed_ports, set(&[("53/udp", Empty {}), ("80/tcp", Empty {})]));
        assert_eq!(merged.volumes, set(&[("/data", Empty {}), ("/more", Empty {})]));
    }

    #[test]
    fn an_entrypoint_takes_the_bases_arguments_away() {
        let merged = over(oci::Config { entrypoint: words(&["/own"]), ..oci::Config::default() });
        assert_eq!((merged.entrypoint, merged.cmd), (words(&["/own"]), None));
        let own =
            oci::Config { entrypoint: words(&["/own"]), cmd: words(&["run"]), ..oci::Config::default() };
        assert_eq!(over(own).cmd, words(&["run"]));
        let merged = over(oci::Config { cmd: words(&["run"]), ..oci::Config::default() });
        assert_eq!((merged.entrypoint, merged.cmd), (words(&["/base"]), words(&["run"])));
    }

    #[test]
    fn an_empty_list_takes_a_command_away() {
        let merged = over(oci::Config { entrypoint: words(&[]), ..oci::Config::default() });
        assert_eq!((merged.entrypoint, merged.cmd), (None, None));
        let merged = over(oci::Config { cmd: words(&[]), ..oci::Config::default() });
        assert_eq!((merged.entrypoint, merged.cmd), (words(&["/base"]), None));
        assert_eq!(over(oci::Config { shell: words(&[]), ..oci::Config::default() }).shell, None);
    }

    #[test]
    fn all_else_is_replaced() {
        let own = oci::Config {
            user: text("2"),
            working_dir: text("/own"),
            stop_signal: text("SIGTERM"),
            healthcheck: health("NONE"),
            stop_timeout: Some(0),
            shell: words(&["/bin/sh"]),
            on_build: words(&["COPY . /"]),
            ..oci::Config::default()
        };
        let merged = over(own.clone());
        let base = inherited(base(), &Inherit::All);
        let both = oci::Config {
            exposed_ports: base.exposed_ports,
            env: base.env,
            entrypoint: base.entrypoint,
            cmd: base.cmd,
            volumes: base.volumes,
            labels: base.labels,
            other: base.other,
            ..own
        };
        assert_eq!(merged, both);
    }

    #[test]
    fn nothing_is_inherited_where_nothing_is_wanted() {
        assert_eq!(inherited(base(), &Inherit::Nothing), oci::Config::default());
        assert_eq!(inherited(base(), &Inherit::Only(Vec::new())), oci::Config::default());
    }

    #[test]
    fn a_listed_field_is_inherited_alone() {
        let pick = |names: &[&str]| {
            let fields = names.iter().map(|name| Located::from(name.parse::<Field>().unwrap()));
            inherited(base(), &Inherit::Only(fields.collect()))
        };
        let (all, none) = (base(), oci::Config::default());
        let cases = [
            ("user", oci::Config { user: all.user, ..none.clone() }),
            ("expose", oci::Config { exposed_ports: all.exposed_ports, ..none.clone() }),
            ("env", oci::Config { env: all.env, ..none.clone() }),
            ("entrypoint", oci::Config { entrypoint: all.entrypoint, ..none.clone() }),
            ("cmd", oci::Config { cmd: all.cmd, ..none.clone() }),
            ("volumes", oci::Config { volumes: all.volumes, ..none.clone() }),
            ("workdir", oci::Config { working_dir: all.working_dir, ..none.clone() }),
            ("labels", oci::Config { labels: all.labels, ..none.clone() }),
            ("stop-signal", oci::Config { stop_signal: all.stop_signal, ..none.clone() }),
            ("healthcheck", oci::Config { healthcheck: all.healthcheck, ..none.clone() }),
            ("stop-timeout", oci::Config { stop_timeout: all.stop_timeout, ..none.clone() }),
            ("shell", oci::Config { shell: all.shell, ..none.clone() }),
            ("author", none.clone()),
        ];
        for (name, expected) in cases {
            assert_eq!(pick(&[name]), expected, "{name}");
        }
        let two = pick(&["env", "user"]);
        assert_eq!((two.env, two.user, two.cmd), (base().env, base().user, None));
    }
}
