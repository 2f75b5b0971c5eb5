//! The nodes so far, of all views that were lowered.
//!
//! # Invariants
//! 1. Equal nodes are one: a node that is added a second time is the one that is there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::expr::is_identity;
use super::map::projection;
use crate::plan::keyed::{as_column, column};
use crate::plan::{Expr, Map, Node, NodeId, Op};

/// The nodes so far; equal nodes are one.
#[derive(Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    known: HashMap<Node, NodeId>,
}

impl Nodes {
    /// The node that does `op` and returns the columns of `schema`.
    pub(super) fn add(&mut self, op: Op, schema: SchemaRef) -> NodeId {
        let node = Node { op, schema };
        if let Some(&known) = self.known.get(&node) {
            return known;
        }
        self.list.push(node.clone());
        self.known.insert(node, self.list.len() - 1);
        self.list.len() - 1
    }

    /// The node that does `map` to the rows of `input`; `input` itself if `map` only names its
    /// columns.
    ///
    /// So a node's columns may have other names than the plan above it uses. That plan knows
    /// columns by their places, and a view has the names of its own columns.
    pub(super) fn map(&mut self, input: NodeId, map: Map) -> NodeId {
        let width = self.schema(input).fields().len();
        let keeps_all = |project: &Vec<Expr>| is_identity(project, width);
        if map.filter.is_none() && map.project.as_ref().is_none_or(keeps_all) {
            return input;
        }
        let schema = Arc::clone(&map.schema);
        self.add(Op::Map { input, map }, schema)
    }

    /// The columns of `input` at `places`, as `schema` names them.
    pub(super) fn pick(&mut self, input: NodeId, places: &[usize], schema: SchemaRef) -> NodeId {
        let own = Arc::clone(self.schema(input));
        let columns = places
            .iter()
            .map(|&place| column(own.field(place).name(), place));
        let map = projection(columns.collect(), schema);
        self.map(input, map)
    }

    /// The columns that `node` returns.
    pub(super) fn schema(&self, node: NodeId) -> &SchemaRef {
        &self.list[node].schema
    }

    /// Columns that identify a row of `node`: group columns that are still there. All columns if
    /// the plan does not tell.
    pub(super) fn key_of(&self, node: NodeId) -> Vec<usize> {
        let all = (0..self.schema(node).fields().len()).collect();
        self.group_columns(node)
            .filter(|key| !key.is_empty())
            .unwrap_or(all)
    }

    fn group_columns(&self, node: NodeId) -> Option<Vec<usize>> {
        match &self.list[node].op {
            Op::Aggregate { aggregation, .. } => Some((0..aggregation.group.len()).collect()),
            Op::TopK { input, top } if top.distinct => {
                Some((0..self.schema(*input).fields().len()).collect())
            }
            Op::TopK { input, .. } => self.group_columns(*input),
            Op::Map { input, map } => {
                let below = self.group_columns(*input)?;
                let Some(project) = &map.project else {
                    return Some(below);
                };
                below
                    .into_iter()
                    .map(|key| project.iter().position(|expr| as_column(expr) == Some(key)))
                    .collect()
            }
            _ => None,
        }
    }

    /// All of them, inputs first.
    pub(super) fn into_list(self) -> Vec<Node> {
        self.list
    }
}
