//! The dataflow as indented text.
//!
//! Each view is a tree of its nodes, inputs below. A node that is reached a second time, by another
//! view or by another branch of the same one, is named by its number only: `#12 (above)` is state
//! that exists once.

use std::collections::BTreeSet;

use super::words::{Words, columns, map_details, names};
use super::{Lines, Part};
use crate::plan::{NodeId, Plan, Table};

/// The tables, what they share, and a tree for each view.
pub(super) fn text(part: &Part<'_>) -> String {
    let plan = part.plan;
    let mut lines = Lines::default();
    lines.add(0, "tables");
    for &table in &part.tables {
        text_of_table(plan, &plan.tables[table], &mut lines);
    }
    lines.add(0, "");
    lines.add(
        0,
        "arrangements (the tables of a line share one, by these keys)",
    );
    for group in part.groups() {
        let members = group.iter().map(|&table| {
            let table = &plan.tables[table];
            format!("{} ({})", table.name, names(&table.schema, &table.key))
        });
        lines.add(1, &members.collect::<Vec<_>>().join(" + "));
    }
    let mut printed = BTreeSet::new();
    for view in &part.views {
        let key = names(&view.schema, &view.key);
        lines.add(0, "");
        lines.add(0, &format!("view {}, by {key}", view.name));
        text_of_node(plan, view.node, 1, &mut printed, &mut lines);
    }
    lines.0
}

fn text_of_table(plan: &Plan, table: &Table, lines: &mut Lines) {
    let stream = &plan.streams[table.stream];
    lines.add(1, &format!("{stream} -> {}", table.name));
    lines.add(2, &format!("key {}", names(&table.schema, &table.key)));
    let kept = match table.kept.is_empty() {
        true => "nothing beside the key".to_owned(),
        false => names(&table.schema, &table.kept),
    };
    lines.add(2, &format!("keeps {kept}"));
    for (step, map) in table.clean.iter().enumerate() {
        lines.add(2, &format!("clean {}", step + 1));
        for detail in map_details(map) {
            lines.add(3, &detail);
        }
        lines.add(3, &format!("-> {}", columns(&map.schema)));
    }
}

fn text_of_node(
    plan: &Plan,
    id: NodeId,
    depth: usize,
    printed: &mut BTreeSet<NodeId>,
    lines: &mut Lines,
) {
    if !printed.insert(id) {
        lines.add(depth, &format!("#{id} (above)"));
        return;
    }
    let words = Words::of(plan, id);
    lines.add(depth, &format!("#{id} {}", words.title));
    for detail in &words.details {
        lines.add(depth + 1, detail);
    }
    lines.add(depth + 1, &format!("-> {}", words.columns));
    for input in plan.nodes[id].op.inputs() {
        text_of_node(plan, input, depth + 1, printed, lines);
    }
}
