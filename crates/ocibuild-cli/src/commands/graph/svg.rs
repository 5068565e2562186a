//! A graph as a picture: columns by how much comes before, arrows from what is needed to what needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::commands::graph::model::{Graph, Kind, Node};
use crate::text;

/// The size of a box, and of a lane; and the room between two.
const HEIGHT: usize = 44;
const LANE: usize = 4;
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

/// Where a box is, or the lane of an arrow that passes by a column.
#[derive(Clone, Copy, Default)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Place {
    fn middle(self) -> usize {
        self.y + self.height / 2
    }
}

/// Draws it, in one file that needs no other.
pub(super) fn to_svg(graph: &Graph) -> String {
    let grid = Grid::of(graph);
    let (places, width, height) = places(graph, &grid);
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
        let way: Vec<Place> = grid.way(edge.0, edge.1).map(|cell| places[cell]).collect();
        let _ = writeln!(out, "<path{class} d=\"{}\"/>", curve(&way));
    }
    for (node, place) in graph.nodes.iter().zip(&places) {
        draw(&mut out, node, *place);
    }
    let _ =
        writeln!(out, "<text class=\"what\" x=\"{MARGIN}\" y=\"{}\">{}</text>", height - 10, legend(graph));
    out.push_str("</svg>\n");
    out
}

/// A line from the right of the first to the left of the last, straight through those between.
fn curve(way: &[Place]) -> String {
    let mut out = String::new();
    for (index, pair) in way.windows(2).enumerate() {
        let (x1, y1, x2, y2) = (pair[0].x + pair[0].width, pair[0].middle(), pair[1].x, pair[1].middle());
        let bend = (x2.saturating_sub(x1) / 2).max(COLUMN_GAP / 2);
        let _ = match index {
            0 => write!(out, "M{x1} {y1}"),
            _ => write!(out, "H{x1}"),
        };
        let _ = write!(out, "C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2.saturating_sub(bend));
    }
    out
}

fn draw(out: &mut String, node: &Node, Place { x, y, width, .. }: Place) {
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

/// What stands in which column: the nodes, and lanes for arrows that pass a column by, so that none is
/// drawn below a box.
struct Grid {
    rank: Vec<usize>,
    /// The lane that leads on from a node, in each column that it passes.
    lanes: BTreeMap<(usize, usize), usize>,
    /// The cells of each column, from top to bottom: nodes by their places, lanes by what comes after.
    columns: Vec<Vec<usize>>,
}

impl Grid {
    fn of(graph: &Graph) -> Self {
        let rank = ranks(graph);
        let mut columns = vec![Vec::new(); rank.iter().max().map_or(1, |last| last + 1)];
        (0..graph.nodes.len()).for_each(|index| columns[rank[index]].push(index));
        let mut grid = Self { rank, lanes: BTreeMap::new(), columns };
        for (node, need) in graph.edges() {
            for column in grid.rank[need] + 1..grid.rank[node] {
                let next = graph.nodes.len() + grid.lanes.len();
                if *grid.lanes.entry((need, column)).or_insert(next) == next {
                    grid.columns[column].push(next);
                }
            }
        }
        grid.order(graph);
        grid
    }

    /// The cells that an arrow goes through, from what is needed to what needs it.
    fn way(&self, node: usize, need: usize) -> impl Iterator<Item = usize> {
        let lanes = self.rank[need] + 1..self.rank[node];
        let lanes = lanes.filter_map(move |column| self.lanes.get(&(need, column)).copied());
        std::iter::once(need).chain(lanes).chain(std::iter::once(node))
    }

    /// Puts the cells of each column in order, so that arrows cross little: each is put where those are on
    /// the average that it is joined to.
    fn order(&mut self, graph: &Graph) {
        let count = graph.nodes.len() + self.lanes.len();
        let mut joined = vec![BTreeSet::new(); count];
        for (node, need) in graph.edges() {
            let way: Vec<usize> = self.way(node, need).collect();
            for pair in way.windows(2) {
                joined[pair[0]].insert(pair[1]);
                joined[pair[1]].insert(pair[0]);
            }
        }
        let mut height: Vec<f64> = vec![0.0; count];
        let spread = |column: &[usize], height: &mut [f64]| {
            let middle = column.len().saturating_sub(1) as f64 / 2.0;
            column.iter().enumerate().for_each(|(at, cell)| height[*cell] = at as f64 - middle);
        };
        self.columns.iter().for_each(|column| spread(column, &mut height));
        for _ in 0..PASSES {
            for column in &mut self.columns {
                let wanted = |cell: &usize| match joined[*cell].len() {
                    0 => height[*cell],
                    count => joined[*cell].iter().map(|other| height[*other]).sum::<f64>() / count as f64,
                };
                let mut sorted: Vec<(f64, usize)> = column.iter().map(|cell| (wanted(cell), *cell)).collect();
                sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
                *column = sorted.into_iter().map(|(_, cell)| cell).collect();
                spread(column, &mut height);
            }
        }
    }
}

/// The column of each node: right of all that it needs. Images stand in the last, layers in the one before.
fn ranks(graph: &Graph) -> Vec<usize> {
    let mut rank = vec![0usize; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        rank[index] = node.needs.iter().map(|need| rank[*need] + 1).max().unwrap_or(0);
    }
    let last = rank.iter().copied().max().unwrap_or(0);
    for (rank, node) in rank.iter_mut().zip(&graph.nodes) {
        match node.kind {
            Kind::Step => {}
            Kind::Layer => *rank = last.saturating_sub(1),
            Kind::Image => *rank = last,
        }
    }
    rank
}

/// The place of each cell, and the size of the picture.
fn places(graph: &Graph, grid: &Grid) -> (Vec<Place>, usize, usize) {
    let tall = |cell: &usize| if *cell < graph.nodes.len() { HEIGHT } else { LANE };
    let height_of =
        |column: &Vec<usize>| column.iter().map(tall).sum::<usize>() + column.len().saturating_sub(1) * GAP;
    let tallest = grid.columns.iter().map(height_of).max().unwrap_or_default();
    let mut places = vec![Place::default(); graph.nodes.len() + grid.lanes.len()];
    let mut x = MARGIN;
    for column in &grid.columns {
        let nodes = column.iter().filter_map(|cell| graph.nodes.get(*cell));
        let width = nodes.map(width_of).max().unwrap_or_default();
        let mut y = MARGIN + (tallest - height_of(column)) / 2;
        for cell in column {
            places[*cell] = Place { x, y, width, height: tall(cell) };
            y += tall(cell) + GAP;
        }
        x += width + COLUMN_GAP;
    }
    let width = (x.saturating_sub(COLUMN_GAP) + MARGIN).max(300);
    (places, width, tallest + 2 * MARGIN + 20)
}

fn width_of(node: &Node) -> usize {
    let (name, what) = (name(node).chars().count(), node.told().chars().count());
    (name * LETTER / 10).max(what * SMALL_LETTER / 10) + 24
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::graph::model::State;

    fn node(kind: Kind, label: &str, needs: &[usize]) -> Node {
        Node {
            kind,
            name: label.to_owned(),
            label: label.to_owned(),
            outlook: State::Runs,
            cache: None,
            place: None,
            last: None,
            needs: needs.to_vec(),
            is_critical: false,
        }
    }

    #[test]
    fn no_arrow_passes_below_a_box() {
        let steps = [("a", &[][..]), ("b", &[0]), ("c", &[1]), ("d", &[0, 2]), ("alone", &[])];
        let mut nodes: Vec<Node> =
            steps.iter().map(|(label, needs)| node(Kind::Step, label, needs)).collect();
        nodes.push(node(Kind::Layer, "early", &[0]));
        nodes.push(node(Kind::Layer, "files", &[]));
        nodes.push(node(Kind::Image, "image", &[5, 6]));
        let graph = Graph { nodes, critical: Vec::new() };
        let grid = Grid::of(&graph);
        let (places, ..) = places(&graph, &grid);
        assert!(graph.edges().any(|(node, need)| grid.way(node, need).count() > 2), "some pass a column by");
        for (node, need) in graph.edges() {
            let way: Vec<usize> = grid.way(node, need).collect();
            let ranks: Vec<usize> = (grid.rank[need]..=grid.rank[node]).collect();
            assert_eq!(way.len(), ranks.len(), "a cell in each column");
            for (lane, column) in way.iter().zip(ranks) {
                let y = places[*lane].middle();
                let is_crossed = |cell: &&usize| {
                    let Place { y: top, height, .. } = places[**cell];
                    (top..=top + height).contains(&y)
                };
                assert_eq!(grid.columns[column].iter().filter(is_crossed).collect::<Vec<_>>(), [lane]);
            }
        }
    }
}
