//! A graph for graphviz.

use std::fmt::Write as _;

use crate::commands::graph::model::{Graph, Kind, State};

/// Writes it in [DOT](https://graphviz.org/doc/info/lang.html): what is needed stands left of what
/// needs it.
pub(super) fn to_dot(graph: &Graph) -> String {
    let mut out = String::from("digraph ocibuild {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for node in &graph.nodes {
        let shape = match node.kind {
            Kind::Step => "box, style=rounded",
            Kind::Layer => "box",
            Kind::Image => "component",
        };
        let colour = match node.outlook {
            State::Hit => "darkgreen",
            State::Runs => "darkorange3",
            State::Depends => "goldenrod",
            State::Unneeded => "gray50",
        };
        let width = if node.is_critical { ", penwidth=3" } else { "" };
        let label = format!("{} {}\\n{}", node.kind.word(), escaped(&node.label), escaped(&node.told()));
        let _ = writeln!(
            out,
            "  \"{}\" [label=\"{label}\", shape={shape}, color={colour}{width}];",
            escaped(&node.id())
        );
    }
    for (from, need) in graph.edges() {
        let (from, need) = (&graph.nodes[from], &graph.nodes[need]);
        let width = if from.is_critical && need.is_critical { " [penwidth=3]" } else { "" };
        let _ = writeln!(out, "  \"{}\" -> \"{}\"{width};", escaped(&need.id()), escaped(&from.id()));
    }
    out.push_str("}\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
