//! Which files are drawn one by one, and which are summed up in their directories, so that a page
//! has a bound whatever the image holds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::names;

/// What a node costs in a page beside its name, in bytes: brackets, commas, numbers.
const NODE: usize = 32;

/// The root's number.
const ROOT: u32 = 0;

/// The files of all layers by their directories. A path that two layers have is there twice.
pub(super) struct Tree {
    /// Parents stand before their children.
    nodes: Vec<Node>,
    directories: HashMap<(u32, Vec<u8>), u32>,
}

struct Node {
    parent: u32,
    name: Vec<u8>,
    /// Nothing for a directory.
    file: Option<File>,
    /// By layer, all that is in it.
    sums: BTreeMap<usize, Sum>,
}

/// A file of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// Its layer, from 0.
    pub(super) layer: usize,
    /// Its size.
    pub(super) bytes: u64,
    /// The layer that hides it.
    pub(super) hidden_by: Option<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    seen: u64,
    hidden: u64,
    files: u64,
}

impl Sum {
    fn of(file: File) -> Self {
        let (seen, hidden) = if file.hidden_by.is_some() { (0, file.bytes) } else { (file.bytes, 0) };
        Self { seen, hidden, files: 1 }
    }

    fn bytes(self) -> u64 {
        self.seen.saturating_add(self.hidden)
    }

    fn add(&mut self, other: Self) {
        // A sparse file may say of itself that it has any size.
        self.seen = self.seen.saturating_add(other.seen);
        self.hidden = self.hidden.saturating_add(other.hidden);
        self.files += other.files;
    }

    fn take(&mut self, other: Self) {
        self.seen = self.seen.saturating_sub(other.seen);
        self.hidden = self.hidden.saturating_sub(other.hidden);
        self.files -= other.files;
    }
}

/// What a page has of a tree.
pub(super) struct Drawing {
    /// The nodes and what is left of each directory, for `page.js`.
    pub(super) json: Value,
    /// The files that are drawn one by one.
    pub(super) drawn: u64,
    /// The files that are summed up.
    pub(super) summed: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node { parent: ROOT, name: Vec::new(), file: None, sums: BTreeMap::new() };
        Self { nodes: vec![root], directories: HashMap::new() }
    }

    /// Adds a file by its path, without a leading slash.
    pub(super) fn add(&mut self, path: &[u8], file: File) {
        let mut parent = ROOT;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                let sums = BTreeMap::from([(file.layer, Sum::of(file))]);
                self.push(Node { parent, name: name.to_vec(), file: Some(file), sums });
                return;
            }
            parent = self.directory(parent, name);
        }
    }

    fn directory(&mut self, parent: u32, name: &[u8]) -> u32 {
        let key = (parent, name.to_vec());
        if let Some(number) = self.directories.get(&key) {
            return *number;
        }
        let node = Node { parent, name: name.to_vec(), file: None, sums: BTreeMap::new() };
        let number = self.push(node);
        self.directories.insert(key, number);
        number
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("the readers of layers have lower limits")
    }

    /// Chooses what is drawn with this many bytes: what has the largest share of any layer, so that a
    /// small layer beside a large one is drawn, too.
    pub(super) fn draw(mut self, budget: usize) -> Drawing {
        self.sum_up();
        let kept = self.choose(budget);
        let mut places = vec![None; self.nodes.len()];
        for (place, number) in kept.iter().enumerate() {
            places[*number as usize] = Some(place);
        }
        let file = |number: &&u32| self.nodes[**number as usize].file.is_some();
        let drawn = kept.iter().filter(file).count() as u64;
        let all: u64 = self.nodes[ROOT as usize].sums.values().map(|sum| sum.files).sum();
        let nodes: Vec<Value> =
            kept.iter().map(|number| to_json(&self.nodes[*number as usize], &places)).collect();
        let json = json!({ "nodes": nodes, "rests": self.rests(&kept, &places) });
        Drawing { json, drawn, summed: all - drawn }
    }

    /// Carries what is in files to the directories above them.
    fn sum_up(&mut self) {
        for number in (1..self.nodes.len()).rev() {
            let (above, node) = self.nodes.split_at_mut(number);
            let parent = &mut above[node[0].parent as usize];
            for (layer, sum) in &node[0].sums {
                parent.sums.entry(*layer).or_default().add(*sum);
            }
        }
    }

    /// Chooses nodes, parents before their children: a third of the budget is for the largest
    /// directories, or they would leave nothing for files, and the rest for the largest files with
    /// the directories above them.
    fn choose(&self, budget: usize) -> Vec<u32> {
        let mut order: Vec<(Reverse<u128>, u32)> = (0..)
            .zip(&self.nodes)
            .skip(1)
            .map(|(number, node)| (Reverse(self.weight(node)), number))
            .collect();
        order.retain(|(Reverse(weight), _)| *weight > 0);
        // Of one weight, those that came first come first.
        order.sort_unstable();
        let mut choice = Choice { nodes: &self.nodes, is_kept: vec![false; self.nodes.len()], spent: 0 };
        choice.is_kept[ROOT as usize] = true;
        for (limit, wants_files) in [(budget / 3, false), (budget, true)] {
            let of_kind = |number: &u32| self.nodes[*number as usize].file.is_some() == wants_files;
            for number in order.iter().map(|(_, number)| *number).filter(of_kind) {
                choice.keep(number, limit);
            }
        }
        (0..).zip(choice.is_kept).filter(|(_, is_kept)| *is_kept).map(|(number, _)| number).collect()
    }

    /// The largest share that it has of any layer.
    fn weight(&self, node: &Node) -> u128 {
        let totals = &self.nodes[ROOT as usize].sums;
        let share = |(layer, sum): (&usize, &Sum)| {
            let whole = totals.get(layer).map_or(1, |total| total.bytes().max(1));
            (u128::from(sum.bytes()) << 32) / u128::from(whole)
        };
        node.sums.iter().map(share).max().unwrap_or_default()
    }

    /// What each directory has beside what is drawn of it, by layer.
    fn rests(&self, kept: &[u32], places: &[Option<usize>]) -> Vec<Value> {
        let mut rests: BTreeMap<(usize, usize), Sum> = BTreeMap::new();
        for number in kept {
            let node = &self.nodes[*number as usize];
            let place = places[*number as usize].expect("what is kept has a place");
            for (layer, sum) in &node.sums {
                if node.file.is_none() {
                    rests.entry((place, *layer)).or_default().add(*sum);
                }
                if *number != ROOT {
                    let parent = places[node.parent as usize].expect("parents are kept");
                    rests.entry((parent, *layer)).or_default().take(*sum);
                }
            }
        }
        let rests = rests.into_iter().filter(|(_, sum)| sum.files > 0);
        rests.map(|((place, layer), sum)| json!([place, layer, sum.seen, sum.hidden, sum.files])).collect()
    }
}

/// A choice of nodes that is a tree itself.
struct Choice<'t> {
    nodes: &'t [Node],
    is_kept: Vec<bool>,
    spent: usize,
}

impl Choice<'_> {
    /// Keeps a node and all above it, if that stays below a limit.
    fn keep(&mut self, number: u32, limit: usize) {
        let mut way = Vec::new();
        let (mut next, mut spent) = (number, self.spent);
        while !self.is_kept[next as usize] {
            spent += cost(&self.nodes[next as usize]);
            if spent > limit {
                return;
            }
            way.push(next);
            next = self.nodes[next as usize].parent;
        }
        way.into_iter().for_each(|number| self.is_kept[number as usize] = true);
        self.spent = spent;
    }
}

/// The bytes that a node takes in a page, with what may be left of a directory.
fn cost(node: &Node) -> usize {
    let shown = |c: char| match c {
        '<' => 6,
        '\\' | '"' => 2,
        c => c.len_utf8(),
    };
    let name: usize = names::escape(&node.name).chars().map(shown).sum();
    let rests = if node.file.is_none() { node.sums.len() * NODE } else { 0 };
    name + NODE + rests
}

/// `[parent, name]` of directories; of files also bytes, layer and the layer that hides it.
fn to_json(node: &Node, places: &[Option<usize>]) -> Value {
    let parent = places[node.parent as usize];
    let name = names::escape(&node.name);
    match node.file {
        None => json!([parent, name]),
        Some(File { layer, bytes, hidden_by: None }) => json!([parent, name, bytes, layer]),
        Some(File { layer, bytes, hidden_by: Some(by) }) => json!([parent, name, bytes, layer, by]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, usize, u64, Option<usize>)]) -> Tree {
        let mut tree = Tree::new();
        for (path, layer, bytes, hidden_by) in files {
            tree.add(path.as_bytes(), File { layer: *layer, bytes: *bytes, hidden_by: *hidden_by });
        }
        tree
    }

    #[test]
    fn with_room_everything_is_drawn_but_what_is_empty() {
        let files = [
            ("a/b/one", 0, 10, Some(1)),
            ("a/b/one", 1, 12, None),
            ("a/none", 0, 0, None),
            ("two", 0, 5, None),
        ];
        let drawing = tree(&files).draw(10_000);
        let expected = json!({
            "nodes": [[0, ""], [0, "a"], [1, "b"], [2, "one", 10, 0, 1], [2, "one", 12, 1], [0, "two", 5, 0]],
            "rests": [[1, 0, 0, 0, 1]],
        });
        assert_eq!((drawing.json, drawing.drawn, drawing.summed), (expected, 3, 1));
    }

    #[test]
    fn without_room_small_files_are_summed_up_and_none_is_lost() {
        let many: Vec<(String, u64)> = (0..5000).map(|n| (format!("big/{}/{n}", n % 50), n % 97)).collect();
        let mut files: Vec<_> = many.iter().map(|(path, bytes)| (&path[..], 0, *bytes, None)).collect();
        files.push(("small/of-layer-2", 1, 3, None));
        let whole: u64 = files.iter().map(|file| file.2).sum();
        let drawing = tree(&files).draw(20_000);
        assert!(drawing.json.to_string().len() < 20_500);
        assert_eq!(drawing.drawn + drawing.summed, 5001);
        assert!(drawing.drawn > 300, "{}", drawing.drawn);
        let sum = |list: &str, at: usize| -> u64 {
            drawing.json[list].as_array().unwrap().iter().filter_map(|node| node[at].as_u64()).sum()
        };
        assert_eq!(sum("nodes", 2) + sum("rests", 2), whole);
        assert_eq!(sum("rests", 4), drawing.summed);
        assert!(drawing.json.to_string().contains("of-layer-2"), "a small layer is drawn, too");
    }

    #[test]
    fn names_of_any_length_and_bytes_keep_to_the_bound() {
        let long = format!("{}/{}", "<\\\"\u{202e}".repeat(300), "\u{1}".repeat(900));
        let files: Vec<_> = (0..200).map(|n| (format!("{n}{long}"), 1)).collect();
        let files: Vec<_> = files.iter().map(|(path, bytes)| (&path[..], 0, *bytes, None)).collect();
        let drawing = tree(&files).draw(50_000);
        assert!(super::super::html::json(&drawing.json).len() < 51_000);
        assert_eq!(drawing.drawn + drawing.summed, 200);
    }

    #[test]
    fn sizes_that_are_lies_do_no_harm() {
        let files = [("a", 0, u64::MAX, None), ("b", 0, u64::MAX, None), ("c", 0, 1, Some(0))];
        let drawing = tree(&files).draw(1000);
        assert_eq!(drawing.drawn + drawing.summed, 3);
    }
}
