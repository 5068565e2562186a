//! `ocibuild graph`.

mod dot;
mod model;
mod svg;
mod tree;

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use ocibuild_core::spec::Spec;
use serde_json::{Value, json};

use crate::commands::build::{BuildFlags, Job};
use crate::commands::run::{Asked, StepJob};
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::signals::Stop;
use crate::text;

use model::Graph;

/// The version of the form for programs: a field may be added within it, none changed or taken away.
const VERSION: u32 = 1;

/// Show steps, layers and images, what needs what, and what a build would do
///
/// Takes what `build` takes, and names of steps as well. Of each step and layer it says whether something
/// answers for it, and of steps how long they took when they last ran on this machine. The critical path
/// is the chain of those that would run which takes longest: no build is faster, however many jobs it has.
/// Nothing is run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GraphArgs {
    /// The images and steps to show; all of the spec's if none is named
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    /// The form in which it is shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Form,

    #[command(flatten)]
    flags: BuildFlags,
}

/// A form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A tree for people; may change
    Text,
    /// For graphviz
    Dot,
    /// For programs; fields are only ever added
    Json,
    /// A picture
    Svg,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild graph
  ocibuild graph api
  ocibuild graph --format svg > graph.svg
  ocibuild graph --format json | jq -r '.critical_path.nodes[]'";

/// Shows the graph.
///
/// # Errors
/// [`Failure`], as a build would meet it.
pub(crate) fn run(args: GraphArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let graph = look(args.names, args.flags, options, reporter, &stop)?;
    reporter.clear();
    text::print(&match args.format {
        Form::Text => tree::to_text(&graph),
        Form::Dot => dot::to_dot(&graph),
        Form::Json => format!("{:#}\n", to_json(&graph)),
        Form::Svg => svg::to_svg(&graph),
    })
}

/// Looks ahead of a build of the images that are named, and of a run of the steps.
fn look(
    names: Vec<String>,
    flags: BuildFlags,
    options: &Options,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<Graph, Failure> {
    let asked = Asked::like(&flags);
    let mut steps = StepJob::resolve(asked, options, reporter)?;
    let spec = &steps.source.spec;
    let is_step = |name: &String| spec.step(name).is_some() && spec.image(name).is_none();
    known(spec, &names)?;
    let (asked, images): (Vec<String>, Vec<String>) = names.iter().cloned().partition(is_step);
    let mut graph = Graph::default();
    if !spec.images.is_empty() && (names.is_empty() || !images.is_empty()) {
        let job = Job::resolve(images, flags, options, reporter)?;
        let (plan, foresight, _) = job.foresee(&stop.cancel())?;
        graph.add_images(&plan, &foresight);
    }
    let others = || spec.steps.iter().map(|step| step.name.value.clone());
    let asked = match names.is_empty() {
        true => others().filter(|name| !graph.has_step(name)).collect(),
        false => asked,
    };
    if !asked.is_empty() {
        steps.asked.steps = asked;
        let (plan, foreseen) = steps.foresee(&stop.cancel())?;
        graph.add_steps(&plan, &foreseen);
    }
    graph.find_critical_path();
    Ok(graph)
}

/// Makes sure that the names are those of images or steps.
fn known(spec: &Spec, names: &[String]) -> Result<(), Failure> {
    let is_known = |name: &&String| spec.image(name).is_some() || spec.step(name).is_some();
    let Some(name) = names.iter().find(|name| !is_known(name)) else { return Ok(()) };
    let list = |what: &str, names: Vec<&str>| match &names[..] {
        [] => format!("no {what}"),
        names => format!("{what} `{}`", names.join("`, `")),
    };
    let images = list("images", spec.images.iter().map(|image| &*image.name.value).collect());
    let steps = list("steps", spec.steps.iter().map(|step| &*step.name.value).collect());
    let failure = Failure::usage(format!("the spec has neither an image nor a step `{name}`"));
    Err(failure.with_hint(format!("it has {images}; {steps}")))
}

fn to_json(graph: &Graph) -> Value {
    let nodes = graph.nodes.iter().map(|node| {
        json!({
            "id": node.id(),
            "kind": node.kind.word(),
            "name": node.name,
            "label": node.label,
            "outlook": node.outlook.word(),
            "cache": node.cache,
            "place": node.place,
            "last_seconds": node.last.map(seconds),
            "critical": node.is_critical,
        })
    });
    let edge =
        |(from, to): (usize, usize)| json!({ "from": graph.nodes[from].id(), "needs": graph.nodes[to].id() });
    let path: Vec<String> = graph.critical.iter().map(|index| graph.nodes[*index].id()).collect();
    json!({
        "version": VERSION,
        "nodes": nodes.collect::<Vec<_>>(),
        "edges": graph.edges().map(edge).collect::<Vec<_>>(),
        "critical_path": { "nodes": path, "seconds": seconds(graph.critical_time()) },
    })
}
