//! A graph as a tree of text: what is needed stands below what needs it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::commands::graph::model::{Graph, Kind, State};
use crate::text;

/// Draws it.
pub(super) fn to_text(graph: &Graph) -> String {
    let needed: BTreeSet<usize> = graph.edges().map(|(_, need)| need).collect();
    let mut roots: Vec<usize> = (0..graph.nodes.len()).filter(|index| !needed.contains(index)).collect();
    roots.sort_by_key(|index| (graph.nodes[*index].kind != Kind::Image, *index));
    let mut drawing = Drawing { graph, rows: Vec::new(), drawn: BTreeSet::new() };
    roots.iter().for_each(|root| drawing.draw(*root));
    let width = drawing.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, what) in &drawing.rows {
        let _ = writeln!(out, "{}", format!("{name:width$}  {what}").trim_end());
    }
    if graph.nodes.is_empty() {
        out.push_str("there is nothing in it\n");
    } else {
        let _ = writeln!(out, "\n{}", footer(graph));
    }
    out
}

struct Drawing<'g> {
    graph: &'g Graph,
    rows: Vec<(String, String)>,
    drawn: BTreeSet<usize>,
}

impl Drawing<'_> {
    /// Draws a node and all below it, without recursion: a chain may be long.
    fn draw(&mut self, root: usize) {
        // A node, the bars to the left of it, and whether it is the last of its kin; a root has none.
        let mut open = vec![(root, String::new(), None)];
        while let Some((index, bars, is_last)) = open.pop() {
            let node = &self.graph.nodes[index];
            let branch = match is_last {
                None => "",
                Some(false) => "├─ ",
                Some(true) => "└─ ",
            };
            let is_new = self.drawn.insert(index);
            let mark = if node.is_critical { " *" } else { "" };
            let name = format!("{bars}{branch}{} {}{mark}", node.kind.word(), node.label);
            let is_again = !is_new && !node.needs.is_empty();
            self.rows.push((name, if is_again { "(above)".to_owned() } else { node.told() }));
            if !is_new {
                continue;
            }
            let below = match is_last {
                None => bars,
                Some(false) => format!("{bars}│  "),
                Some(true) => format!("{bars}   "),
            };
            let count = node.needs.len();
            let children = node.needs.iter().enumerate().rev();
            open.extend(children.map(|(at, need)| (*need, below.clone(), Some(at + 1 == count))));
        }
    }
}

fn footer(graph: &Graph) -> String {
    let runs = |state: State| {
        graph.nodes.iter().filter(|node| node.kind == Kind::Step && node.outlook == state).count()
    };
    if graph.critical.is_empty() {
        return "nothing would run: all of it is in a cache".to_owned();
    }
    let path = graph.critical.iter().map(|index| &graph.nodes[*index]);
    let path: Vec<String> = path.map(|node| format!("{} {}", node.kind.word(), node.label)).collect();
    let time = match graph.critical_time() {
        time if time.is_zero() => String::new(),
        time => format!(", {} by the last runs", text::time(time)),
    };
    let counts = format!("{} would run", text::count(runs(State::Runs) + runs(State::Depends), "step"));
    format!("critical path (*): {}{time}\n{counts}", path.join(" → "))
}
