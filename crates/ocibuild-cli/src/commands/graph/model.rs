//! What there is in a plan and what needs what, with what would become of it.

use std::time::Duration;

use ocibuild_core::build::{ForeseenStep, Foresight, Outlook};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::plan::Plan;

use crate::commands::foreseen;
use crate::text;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Step,
    Layer,
    Image,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Layer => "layer",
            Self::Image => "image",
        }
    }
}

/// What would become of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Hit,
    Runs,
    /// It runs, unless what it needs comes out as before.
    Depends,
    Unneeded,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Runs => "runs",
            Self::Depends => "depends",
            Self::Unneeded => "unneeded",
        }
    }
}

/// A step, a layer or an image.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) label: String,
    pub(super) outlook: State,
    /// Which cache answers, and what the place is called if it isn't the machine's.
    pub(super) cache: Option<LayerOutcome>,
    pub(super) place: Option<String>,
    /// How long it took when it last ran.
    pub(super) last: Option<Duration>,
    /// What it needs, which comes before it.
    pub(super) needs: Vec<usize>,
    pub(super) is_critical: bool,
}

impl Node {
    pub(super) fn id(&self) -> String {
        format!("{}:{}", self.kind.word(), self.label)
    }

    /// What would become of it, in words.
    pub(super) fn told(&self) -> String {
        let last = self.last.map(|last| format!(", {} last time", text::time(last))).unwrap_or_default();
        match (self.kind, self.outlook) {
            (_, State::Hit) => match &self.place {
                Some(place) => format!("hit, {place}"),
                None => "hit".to_owned(),
            },
            (Kind::Step, State::Runs) => format!("runs{last}"),
            // What it would run on is made anew, and nothing says that it ever ran on anything.
            (Kind::Step, State::Depends) if self.last.is_none() => "likely runs".to_owned(),
            (Kind::Step, State::Depends) => format!("runs if a need changes{last}"),
            (_, State::Unneeded) => "not needed".to_owned(),
            (Kind::Layer | Kind::Image, _) => "made".to_owned(),
        }
    }

    fn would_run(&self) -> bool {
        matches!(self.outlook, State::Runs | State::Depends)
    }
}

/// All of it: what is needed comes before what needs it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    /// The chain that takes longest, in the order in which it runs.
    pub(super) critical: Vec<usize>,
}

impl Graph {
    pub(super) fn has_step(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.kind == Kind::Step && node.name == name)
    }

    /// Adds what a build of images comes to.
    pub(super) fn add_images(&mut self, plan: &Plan, foresight: &Foresight) {
        let steps = self.add_steps(plan, &foresight.steps);
        let mut layers = vec![None; plan.layers.len()];
        for index in plan.own_layers() {
            let (layer, planned) = (&foresight.layers[index], &plan.layers[index]);
            let mut needs: Vec<usize> = planned.steps().map(|step| steps[step]).collect();
            needs.sort_unstable();
            needs.dedup();
            layers[index] = Some(self.nodes.len());
            self.nodes.push(Node {
                kind: Kind::Layer,
                name: layer.name.clone(),
                label: layer.label.clone(),
                outlook: if layer.is_hit() { State::Hit } else { State::Runs },
                cache: layer.blobs.first().map(|blob| blob.outcome).filter(|outcome| outcome.is_reused()),
                place: foreseen::places(layer, None).first().map(|place| (*place).to_owned()),
                last: None,
                needs,
                is_critical: false,
            });
        }
        for image in &foresight.images {
            let needs: Vec<usize> = image.layers.iter().filter_map(|layer| layers[*layer]).collect();
            let is_hit = needs.iter().all(|need| self.nodes[*need].outlook == State::Hit);
            self.nodes.push(Node {
                kind: Kind::Image,
                name: image.name.clone(),
                label: image.name.clone(),
                outlook: if is_hit { State::Hit } else { State::Runs },
                cache: None,
                place: None,
                last: None,
                needs,
                is_critical: false,
            });
        }
    }

    /// Adds steps, but for those that are there; returns the places of all.
    pub(super) fn add_steps(&mut self, plan: &Plan, foreseen: &[ForeseenStep]) -> Vec<usize> {
        let mut places = Vec::with_capacity(plan.steps.len());
        for (step, planned) in foreseen.iter().zip(&plan.steps) {
            let is_it = |node: &Node| node.kind == Kind::Step && node.label == step.label;
            let place = self.nodes.iter().position(is_it).unwrap_or_else(|| {
                let needs = planned.needs.iter().map(|need| places[*need]).collect();
                self.nodes.push(Node {
                    kind: Kind::Step,
                    name: step.name.clone(),
                    label: step.label.clone(),
                    outlook: match step.outlook {
                        Outlook::Hit(_) => State::Hit,
                        Outlook::Runs => State::Runs,
                        Outlook::Depends => State::Depends,
                        _ => State::Unneeded,
                    },
                    cache: foreseen::tier(step),
                    place: step.place.clone(),
                    last: step.last,
                    needs,
                    is_critical: false,
                });
                self.nodes.len() - 1
            });
            places.push(place);
        }
        places
    }

    /// What needs what: who needs it first.
    pub(super) fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.nodes.iter().enumerate();
        all.flat_map(|(index, node)| node.needs.iter().map(move |need| (index, *need)))
    }

    /// Finds the chain of what would run that takes longest, by how long it took last; of those that take
    /// as long, the one with more in it.
    pub(super) fn find_critical_path(&mut self) {
        let mut best: Vec<Option<(Duration, usize, Option<usize>)>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before = node.needs.iter().filter_map(|need| Some((best[*need]?, *need)));
            let before = before.max_by_key(|((time, count, _), _)| (*time, *count));
            best.push(node.would_run().then(|| {
                let ((time, count, _), need) =
                    before.map_or(((Duration::ZERO, 0, None), None), |(best, need)| (best, Some(need)));
                (time + node.last.unwrap_or_default(), count + 1, need)
            }));
        }
        let ends = best.iter().enumerate().filter_map(|(index, best)| Some(((*best)?, index)));
        let mut next = ends.max_by_key(|((time, count, _), _)| (*time, *count)).map(|(_, index)| index);
        while let Some(index) = next {
            self.critical.push(index);
            self.nodes[index].is_critical = true;
            next = best[index].and_then(|(_, _, need)| need);
        }
        self.critical.reverse();
    }

    /// How long the longest chain took.
    pub(super) fn critical_time(&self) -> Duration {
        self.critical.iter().filter_map(|index| self.nodes[*index].last).sum()
    }
}
