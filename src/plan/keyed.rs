//! Joins of tables on their primary keys.
//!
//! `pin JOIN geo USING (ind)` joins rows that lie side by side: both tables keep their rows by
//! `ind`, in one arrangement. Such a join needs no arrangement of its own, so a tree of them
//! becomes one [`Op::Keyed`] node. This file finds those trees in a logical plan. Whatever does not
//! fit (another key, a condition on an outer join) is left to the general join.
//!
//! While a tree is walked, its columns are expressions over the *wide row*: all columns of all
//! members, side by side. Only at the end the columns in use are known, and the wide row is
//! narrowed to them.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::JoinType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::{LogicalPlan, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr};

use super::{Expr, Map, Member, Op, Presence, Table};

/// A tree of key joins, flattened.
pub(super) struct KeyedTree {
    /// The tables, left to right.
    tables: Vec<usize>,
    /// The tree's output columns over the wide row.
    outputs: Vec<Expr>,
    /// Conditions over the wide row that hold for every row.
    filters: Vec<Expr>,
    /// When a key has a row.
    shape: Shape,
}

enum Shape {
    Leaf(usize),
    Both(Box<Shape>, Box<Shape>),
    Left(Box<Shape>),
    Either(Box<Shape>, Box<Shape>),
    Without(Box<Shape>, Box<Shape>),
}

impl Shape {
    fn holds(&self, set: u8) -> bool {
        match self {
            Shape::Leaf(member) => set >> member & 1 == 1,
            Shape::Both(left, right) => left.holds(set) && right.holds(set),
            Shape::Left(left) => left.holds(set),
            Shape::Either(left, right) => left.holds(set) || right.holds(set),
            Shape::Without(left, right) => left.holds(set) && !right.holds(set),
        }
    }

    fn shifted(self, by: usize) -> Shape {
        let shift = |shape: Box<Shape>| Box::new(shape.shifted(by));
        match self {
            Shape::Leaf(member) => Shape::Leaf(member + by),
            Shape::Both(left, right) => Shape::Both(shift(left), shift(right)),
            Shape::Left(left) => Shape::Left(shift(left)),
            Shape::Either(left, right) => Shape::Either(shift(left), shift(right)),
            Shape::Without(left, right) => Shape::Without(shift(left), shift(right)),
        }
    }
}

/// What the walk needs to know about the world: the tables by name, and how to make a physical
/// expression.
pub(super) struct Finder<'a> {
    pub tables: &'a [Table],
    pub physical: &'a dyn Fn(&datafusion_expr::Expr, &LogicalPlan) -> Option<Expr>,
}

impl Finder<'_> {
    /// The tree of key joins rooted at `plan`, if it is one.
    pub fn find(&self, plan: &LogicalPlan) -> Option<KeyedTree> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                let table = self
                    .tables
                    .iter()
                    .position(|table| table.name == scan.table_name.table())?;
                let schema = &self.tables[table].schema;
                let columns = match &scan.projection {
                    Some(columns) => columns.clone(),
                    None => (0..schema.fields().len()).collect(),
                };
                Some(KeyedTree {
                    tables: vec![table],
                    outputs: columns
                        .into_iter()
                        .map(|c| column(schema.field(c).name(), c))
                        .collect(),
                    filters: Vec::new(),
                    shape: Shape::Leaf(0),
                })
            }
            LogicalPlan::SubqueryAlias(alias) => self.find(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut tree = self.find(&projection.input)?;
                tree.outputs = projection
                    .expr
                    .iter()
                    .map(|expr| over(&(self.physical)(expr, &projection.input)?, &tree.outputs))
                    .collect::<Option<Vec<_>>>()?;
                Some(tree)
            }
            LogicalPlan::Filter(filter) => {
                let mut tree = self.find(&filter.input)?;
                let predicate = over(
                    &(self.physical)(&filter.predicate, &filter.input)?,
                    &tree.outputs,
                )?;
                for part in datafusion_physical_expr::split_conjunction(&predicate) {
                    if !self.is_key_not_null(&tree, part) {
                        tree.filters.push(Arc::clone(part));
                    }
                }
                Some(tree)
            }
            LogicalPlan::Join(join) => self.join(join),
            _ => None,
        }
    }

    fn join(&self, join: &datafusion_expr::Join) -> Option<KeyedTree> {
        let (left_plan, right_plan, swap) = inputs(join);
        let left = self.find(left_plan)?;
        let right = self.find(right_plan)?;
        if left.tables.len() + right.tables.len() > Presence::MEMBERS_MAX {
            return None;
        }
        let on = join
            .on
            .iter()
            .map(|(l, r)| {
                let (l, r) = if swap { (r, l) } else { (l, r) };
                Some((
                    over(&(self.physical)(l, left_plan)?, &left.outputs)?,
                    over(&(self.physical)(r, right_plan)?, &right.outputs)?,
                ))
            })
            .collect::<Option<Vec<_>>>()?;
        let rest = self.key_equalities(&left, &right, &on)?;
        let inner = join.join_type == JoinType::Inner;
        if !inner && (!rest.is_empty() || join.filter.is_some()) {
            return None;
        }
        // A side whose rows may be absent must be one table read plainly: its nulls are then the
        // absent member's own.
        let plain = |tree: &KeyedTree| {
            matches!(tree.shape, Shape::Leaf(_))
                && tree.filters.is_empty()
                && tree.outputs.iter().all(|expr| as_column(expr).is_some())
        };
        let by = left.tables.len();
        let width = self.width(&left.tables);
        let right_outputs = right
            .outputs
            .iter()
            .map(|expr| shifted(expr, width))
            .collect::<Option<Vec<_>>>()?;
        let right_filters = right
            .filters
            .iter()
            .map(|expr| shifted(expr, width))
            .collect::<Option<Vec<_>>>()?;
        let right_plain = plain(&right);
        let left_plain = plain(&left);
        let (l, r) = (Box::new(left.shape), Box::new(right.shape.shifted(by)));
        let (shape, keep_right) = match join.join_type {
            JoinType::Inner => (Shape::Both(l, r), true),
            JoinType::Left | JoinType::Right if right_plain => (Shape::Left(l), true),
            JoinType::Full if right_plain && left_plain => (Shape::Either(l, r), true),
            JoinType::LeftSemi | JoinType::RightSemi if right_plain => (Shape::Both(l, r), false),
            JoinType::LeftAnti | JoinType::RightAnti if right_plain => {
                (Shape::Without(l, r), false)
            }
            _ => return None,
        };
        let outputs = match (keep_right, swap) {
            (false, _) => left.outputs,
            (true, false) => left.outputs.into_iter().chain(right_outputs).collect(),
            (true, true) => right_outputs
                .into_iter()
                .chain(left.outputs)
                .collect::<Vec<_>>(),
        };
        let mut filters: Vec<Expr> = left.filters.into_iter().chain(right_filters).collect();
        for (l, r) in rest {
            filters.push(Arc::new(BinaryExpr::new(
                l,
                Operator::Eq,
                shifted(&r, width)?,
            )));
        }
        let tables = left.tables.into_iter().chain(right.tables).collect();
        if let Some(residual) = &join.filter {
            // Only inner joins come here, and they are never swapped: the condition's columns are
            // the outputs in order.
            let joined = LogicalPlan::Join(join.clone());
            filters.push(over(&(self.physical)(residual, &joined)?, &outputs)?);
        }
        Some(KeyedTree {
            tables,
            outputs,
            filters,
            shape,
        })
    }

    /// Checks that `on` equates the whole primary key of a table that is surely present on the left
    /// with that of one on the right, and returns the equalities that are left over.
    fn key_equalities(
        &self,
        left: &KeyedTree,
        right: &KeyedTree,
        on: &[(Expr, Expr)],
    ) -> Option<Vec<(Expr, Expr)>> {
        let mut used = vec![false; on.len()];
        let (left_member, right_member) = on.iter().find_map(|pair| {
            Some((
                self.key_column(left, &pair.0)?.0,
                self.key_column(right, &pair.1)?.0,
            ))
        })?;
        let (left_table, right_table) = (
            &self.tables[left.tables[left_member]],
            &self.tables[right.tables[right_member]],
        );
        let types = |table: &Table| {
            table
                .key
                .iter()
                .map(|&k| table.schema.field(k).data_type().clone())
                .collect::<Vec<_>>()
        };
        if types(left_table) != types(right_table)
            || !surely(&left.shape, left_member)
            || !surely(&right.shape, right_member)
        {
            return None;
        }
        for position in 0..left_table.key.len() {
            let found = on.iter().position(|pair| {
                self.key_column(left, &pair.0) == Some((left_member, position))
                    && self.key_column(right, &pair.1) == Some((right_member, position))
            })?;
            used[found] = true;
        }
        Some(
            on.iter()
                .zip(used)
                .filter(|(_, used)| !used)
                .map(|(pair, _)| pair.clone())
                .collect(),
        )
    }

    /// Which member's key column, and the how-manyth of its key, `expr` is.
    fn key_column(&self, tree: &KeyedTree, expr: &Expr) -> Option<(usize, usize)> {
        let index = as_column(expr)?;
        let mut base = 0;
        for (member, &table) in tree.tables.iter().enumerate() {
            let table = &self.tables[table];
            let width = table.schema.fields().len();
            if index < base + width {
                return Some((member, table.key.iter().position(|&k| k == index - base)?));
            }
            base += width;
        }
        None
    }

    fn is_key_not_null(&self, tree: &KeyedTree, expr: &Expr) -> bool {
        expr.downcast_ref::<IsNotNullExpr>()
            .and_then(|not_null| self.key_column(tree, not_null.arg()))
            .is_some_and(|(member, _)| surely(&tree.shape, member))
    }

    fn width(&self, tables: &[usize]) -> usize {
        tables
            .iter()
            .map(|&table| self.tables[table].schema.fields().len())
            .sum()
    }

    /// The node for `tree`, and what is still to be done to its rows to get the tree's filters and
    /// outputs.
    pub fn finish(&self, tree: KeyedTree, schema: SchemaRef) -> Option<(Op, SchemaRef, Map)> {
        let mut in_use = vec![false; self.width(&tree.tables)];
        for expr in tree.outputs.iter().chain(&tree.filters) {
            for column in datafusion_physical_expr::utils::collect_columns(expr) {
                in_use[column.index()] = true;
            }
        }
        let mut members = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        let mut narrow: Vec<Expr> = Vec::with_capacity(in_use.len());
        let mut base = 0;
        for &table in &tree.tables {
            let table_schema = &self.tables[table].schema;
            let mut columns = Vec::new();
            for (index, field) in table_schema.fields().iter().enumerate() {
                narrow.push(column(field.name(), fields.len()));
                if in_use[base + index] {
                    columns.push(index);
                    fields.push(field.as_ref().clone());
                }
            }
            base += table_schema.fields().len();
            members.push(Member { table, columns });
        }
        let sets = 1u64 << tree.tables.len();
        let presence = Presence(
            (0..sets)
                .filter(|&set| tree.shape.holds(set as u8))
                .fold(0, |word, set| word | 1 << set),
        );
        let project = tree
            .outputs
            .iter()
            .map(|expr| over(expr, &narrow))
            .collect::<Option<Vec<_>>>()?;
        let filters = tree
            .filters
            .iter()
            .map(|expr| over(expr, &narrow))
            .collect::<Option<Vec<_>>>()?;
        let filter = (!filters.is_empty()).then(|| datafusion_physical_expr::conjunction(filters));
        let map = Map {
            filter,
            project: Some(project),
            schema,
        };
        Some((
            Op::Keyed { members, presence },
            Arc::new(Schema::new(fields)),
            map,
        ))
    }
}

/// Whether `member` is present whenever `shape` holds.
fn surely(shape: &Shape, member: usize) -> bool {
    match shape {
        Shape::Leaf(leaf) => *leaf == member,
        Shape::Both(left, right) => surely(left, member) || surely(right, member),
        Shape::Left(left) | Shape::Without(left, _) => surely(left, member),
        Shape::Either(left, right) => surely(left, member) && surely(right, member),
    }
}

pub(super) fn column(name: &str, index: usize) -> Expr {
    Arc::new(Column::new(name, index))
}

pub(super) fn as_column(expr: &Expr) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// The inputs of a join, and whether they are swapped: a right join is a left join of the swapped
/// inputs, with the columns put back in order.
pub(super) fn inputs(join: &datafusion_expr::Join) -> (&LogicalPlan, &LogicalPlan, bool) {
    let swap = matches!(
        join.join_type,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
    );
    if swap {
        (&join.right, &join.left, swap)
    } else {
        (&join.left, &join.right, swap)
    }
}

/// `expr` with each column replaced by the expression that stands for it.
pub(super) fn over(expr: &Expr, columns: &[Expr]) -> Option<Expr> {
    Arc::clone(expr)
        .transform_up(|node| {
            Ok(match as_column(&node) {
                Some(index) => Transformed::yes(Arc::clone(&columns[index])),
                None => Transformed::no(node),
            })
        })
        .ok()
        .map(|done| done.data)
}

fn shifted(expr: &Expr, by: usize) -> Option<Expr> {
    Arc::clone(expr)
        .transform_up(|node| {
            Ok(match node.downcast_ref::<Column>() {
                Some(found) => Transformed::yes(column(found.name(), found.index() + by)),
                None => Transformed::no(node),
            })
        })
        .ok()
        .map(|done| done.data)
}
