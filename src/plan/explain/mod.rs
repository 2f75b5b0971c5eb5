//! The dataflow as people read it: text, Mermaid or Graphviz's DOT.
//!
//! ```text
//!  plan --> part (a view and what it needs) --> text
//!                         |        '--> words of each node
//!                         '--> picture (boxes, frames, arrows) --> mermaid, dot
//! ```
//!
//! # Invariants
//! 1. Equal plans give equal texts: nothing here depends on addresses, hashes or time.

mod dot;
mod mermaid;
mod picture;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::collections::BTreeSet;

use self::picture::Picture;
use super::{NodeId, Op, Plan, View};

/// In which notation a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented text.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// Prints the dataflow, or the part of it that `view` needs; of a view that does not exist there is
/// no part.
pub fn explain(plan: &Plan, view: Option<&str>, format: Format) -> String {
    let part = Part::of(plan, view);
    match format {
        Format::Text => text::text(&part),
        Format::Mermaid => mermaid::mermaid(&Picture::of(&part)),
        Format::Dot => dot::dot(&Picture::of(&part)),
    }
}

/// Some views and everything they need.
struct Part<'a> {
    plan: &'a Plan,
    views: Vec<&'a View>,
    nodes: BTreeSet<NodeId>,
    tables: BTreeSet<usize>,
}

impl<'a> Part<'a> {
    fn of(plan: &'a Plan, only: Option<&str>) -> Part<'a> {
        let views: Vec<&'a View> = plan
            .views
            .iter()
            .filter(|view| only.is_none_or(|name| view.name == name))
            .collect();
        let nodes = plan.needed_by(views.iter().map(|view| view.node));
        // A table that no view reads is still cleaned, kept by its key and stored.
        let mut tables: BTreeSet<usize> = match only {
            None => (0..plan.tables.len()).collect(),
            Some(_) => BTreeSet::new(),
        };
        for &node in &nodes {
            if let Op::Keyed { members, .. } = &plan.nodes[node].op {
                tables.extend(members.iter().map(|member| member.table));
            }
        }
        Part {
            plan,
            views,
            nodes,
            tables,
        }
    }

    /// The sets of tables of this part that share an arrangement.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mine = |group: &Vec<usize>| -> Vec<usize> {
            let tables = group.iter().copied();
            tables.filter(|table| self.tables.contains(table)).collect()
        };
        let groups = self.plan.groups.iter().map(mine);
        groups.filter(|group| !group.is_empty()).collect()
    }
}

/// Indented lines.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, depth: usize, line: &str) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(line);
        self.0.push('\n');
    }
}
