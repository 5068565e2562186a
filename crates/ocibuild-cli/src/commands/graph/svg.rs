//! A graph as a picture: columns by how much comes before, arrows from what is needed to what needs it.

use std::fmt::Write as _;

use crate::commands::graph::model::{Graph, Kind, Node};
use crate::text;

/// The size of a box, and the room between two.
const HEIGHT: usize = 44;
const GAP: usize = 18;
const COLUMN_GAP: usize = 64;
const MARGIN: usize = 20;
/// About how wide a letter is, in tenths.
const LETTER: usize = 82;
const SMALL_LETTER: usize = 60;
/// How often columns are put in order by what their neighbours are.
const PASSES: usize = 8;

const STYLE: &str = "\
svg{font-family:system-ui,sans-serif;background:#fff;color:#1f2328}
text{fill:currentColor}.name{font-size:13px;font-weight:600}.what{font-size:10.5px;opacity:.75}
rect{fill:#fff;stroke-width:1.5}.hit rect{stroke:#1a7f37;fill:#eefbf1}.runs rect{stroke:#bc4c00;fill:#fff4ec}
.depends rect{stroke:#9a6700;fill:#fff9e5;stroke-dasharray:5 3}.unneeded rect{stroke:#8c959f;fill:#f6f8fa}
.unneeded text{opacity:.55}.critical rect{stroke-width:3.5}
path{fill:none;stroke:#8c959f;stroke-width:1.3}path.critical{stroke:#bc4c00;stroke-width:3}
@media (prefers-color-scheme:dark){svg{background:#0d1117;color:#e6edf3}
.hit rect{stroke:#3fb950;fill:#0f2417}.runs rect{stroke:#f0883e;fill:#2b1a0d}
.depends rect{stroke:#d29922;fill:#272008}.unneeded rect{stroke:#6e7681;fill:#161b22}
path{stroke:#6e7681}path.critical{stroke:#f0883e}}
";

/// Where a box is.
#[derive(Clone, Copy, Default)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// Draws it, in one file that needs no other.
pub(super) fn to_svg(graph: &Graph) -> String {
    let columns = columns(graph);
    let (places, width, height) = places(graph, &columns);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>ocibuild graph</title>\n<style>{STYLE}</style>\n"
    );
    // The critical ones last, over the others.
    let is_critical =
        |(from, to): &(usize, usize)| graph.nodes[*from].is_critical && graph.nodes[*to].is_critical;
    let mut edges: Vec<(usize, usize)> = graph.edges().collect();
    edges.sort_by_key(is_critical);
    for edge in edges {
        let class = if is_critical(&edge) { " class=\"critical\"" } else { "" };
        let (to, from) = (places[edge.0], places[edge.1]);
        let (x1, y1) = (from.x + from.width, from.y + HEIGHT / 2);
        let (x2, y2) = (to.x, to.y + HEIGHT / 2);
        let bend = (x2.saturating_sub(x1) / 2).max(COLUMN_GAP / 2);
        let _ = writeln!(
            out,
            "<path{class} d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\"/>",
            x1 + bend,
            x2.saturating_sub(bend)
        );
    }
    for (node, place) in graph.nodes.iter().zip(&places) {
        draw(&mut out, node, *place);
    }
    let _ =
        writeln!(out, "<text class=\"what\" x=\"{MARGIN}\" y=\"{}\">{}</text>", height - 10, legend(graph));
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, node: &Node, Place { x, y, width }: Place) {
    let critical = if node.is_critical { " critical" } else { "" };
    let round = match node.kind {
        Kind::Step => 12,
        Kind::Layer => 3,
        Kind::Image => 0,
    };
    let (name, what) = (escaped(&name(node)), escaped(&node.told()));
    let _ = writeln!(
        out,
        "<g class=\"{}{critical}\"><title>{name}: {what}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"{round}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{name}</text>\
         <text class=\"what\" x=\"{}\" y=\"{}\">{what}</text></g>",
        node.outlook.word(),
        x + 10,
        y + 19,
        x + 10,
        y + 35,
    );
}

fn name(node: &Node) -> String {
    format!("{} {}", node.kind.word(), node.label)
}

fn legend(graph: &Graph) -> String {
    match graph.critical_time() {
        _ if graph.critical.is_empty() => "nothing would run: all of it is in a cache".to_owned(),
        time if time.is_zero() => "thick: the longest chain of what would run".to_owned(),
        time => format!("thick: the critical path, {} by the last runs", text::time(time)),
    }
}

/// The nodes of each column, from top to bottom, so that arrows cross little: each is put where those are
/// on the average that it is joined to.
fn columns(graph: &Graph) -> Vec<Vec<usize>> {
    let mut rank = vec![0; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        rank[index] = node.needs.iter().map(|need| rank[*need] + 1).max().unwrap_or(0);
    }
    // Images stand in one column.
    let last = rank.iter().copied().max().unwrap_or(0);
    for (rank, node) in rank.iter_mut().zip(&graph.nodes) {
        if node.kind == Kind::Image {
            *rank = last;
        }
    }
    let mut joined = vec![Vec::new(); graph.nodes.len()];
    for (from, to) in graph.edges() {
        joined[from].push(to);
        joined[to].push(from);
    }
    let mut columns = vec![Vec::new(); last + 1];
    (0..graph.nodes.len()).for_each(|index| columns[rank[index]].push(index));
    let mut height: Vec<f64> = vec![0.0; graph.nodes.len()];
    let spread = |column: &[usize], height: &mut [f64]| {
        let middle = column.len().saturating_sub(1) as f64 / 2.0;
        column.iter().enumerate().for_each(|(at, node)| height[*node] = at as f64 - middle);
    };
    columns.iter().for_each(|column| spread(column, &mut height));
    for _ in 0..PASSES {
        for column in &mut columns {
            let wanted = |node: &usize| match joined[*node].len() {
                0 => height[*node],
                count => joined[*node].iter().map(|other| height[*other]).sum::<f64>() / count as f64,
            };
            let mut sorted: Vec<(f64, usize)> = column.iter().map(|node| (wanted(node), *node)).collect();
            sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
            *column = sorted.into_iter().map(|(_, node)| node).collect();
            spread(column, &mut height);
        }
    }
    columns
}

/// The place of each box, and the size of the picture.
fn places(graph: &Graph, columns: &[Vec<usize>]) -> (Vec<Place>, usize, usize) {
    let tallest = columns.iter().map(Vec::len).max().unwrap_or_default();
    let height_of = |count: usize| count * HEIGHT + count.saturating_sub(1) * GAP;
    let mut places = vec![Place::default(); graph.nodes.len()];
    let mut x = MARGIN;
    for column in columns {
        let width = column.iter().map(|node| width_of(&graph.nodes[*node])).max().unwrap_or_default();
        let mut y = MARGIN + (height_of(tallest) - height_of(column.len())) / 2;
        for node in column {
            places[*node] = Place { x, y, width };
            y += HEIGHT + GAP;
        }
        x += width + COLUMN_GAP;
    }
    let width = (x.saturating_sub(COLUMN_GAP) + MARGIN).max(300);
    (places, width, height_of(tallest) + 2 * MARGIN + 20)
}

fn width_of(node: &Node) -> usize {
    let (name, what) = (name(node).chars().count(), node.told().chars().count());
    (name * LETTER / 10).max(what * SMALL_LETTER / 10) + 24
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
