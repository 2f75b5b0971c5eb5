//! What the dataflow computes: a small graph of relational nodes.
//!
//! `lower` makes it from DataFusion's optimised plans. The nodes here and the operators in `render`
//! are the same list; a plan knows nothing of timely, workers or state. Scalar expressions stay
//! DataFusion's physical expressions, which evaluate whole Arrow batches.
//!
//! # Invariants
//! 1. A node's inputs have smaller ids than the node: the graph is acyclic and ids are a
//!    topological order.
//! 2. Equal nodes are one node: views that ask for the same thing share its state. Nodes are
//!    compared as values, expressions included, never by how they print.
//! 3. All fields are nullable, and types are canonical (`definition::canonical_type`) at tables and
//!    view roots.
//! 4. Columns are known by their places. Only tables and views have names that mean something: a
//!    node that several views share may call its columns otherwise.

mod explain;
mod keyed;
mod lower;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;

pub use explain::{Format, explain};
pub use lower::lower;

/// A scalar expression over the columns of a node's input.
pub type Expr = Arc<dyn PhysicalExpr>;

/// Names a node of a plan.
pub type NodeId = usize;

/// The whole dataflow after the streams: cleaning, keyed tables, and the nodes of the views.
pub struct Plan {
    /// The streams' names, in the definition's order.
    pub streams: Vec<String>,
    /// The tables, in the definition's order.
    pub tables: Vec<Table>,
    /// Sets of tables whose primary keys are joined: each set shares one arrangement.
    pub groups: Vec<Vec<usize>>,
    /// The nodes, inputs first.
    pub nodes: Vec<Node>,
    /// The materialised views, in the definition's order.
    pub views: Vec<View>,
}

impl Plan {
    /// Every node that the rows of these nodes come from, themselves included.
    pub fn needed_by(&self, nodes: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<NodeId> = nodes.into_iter().collect();
        while let Some(node) = open.pop() {
            if needed.insert(node) {
                open.extend(self.nodes[node].op.inputs());
            }
        }
        needed
    }
}

/// A table: how its rows are made from the records of its stream, and which of its columns are kept
/// in memory.
pub struct Table {
    /// The table's name.
    pub name: String,
    /// Its stream: an index into the definition's streams.
    pub stream: usize,
    /// Applied to the decoded records in this order.
    pub clean: Vec<Map>,
    /// The columns of the cleaned row.
    pub schema: SchemaRef,
    /// The primary key: indices into `schema`.
    pub key: Vec<usize>,
    /// The columns that some view reads, ascending: the pruned row.
    pub kept: Vec<usize>,
}

/// A materialised view: a name for a node whose rows are served and stored.
pub struct View {
    /// The view's name.
    pub name: String,
    /// The node whose output it is.
    pub node: NodeId,
    /// The columns under the names that SQL gives them. A node may be that of several views, which
    /// name its columns differently.
    pub schema: SchemaRef,
    /// The columns that identify a row, if the plan tells; else all of them.
    pub key: Vec<usize>,
}

/// One step of the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// The columns that it returns.
    pub schema: SchemaRef,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Rows of tables that share a primary key, side by side: a scan of one table, or a join of
    /// several on their keys.
    Keyed {
        /// The tables and the columns read of each; the output is their concatenation.
        members: Vec<Member>,
        /// For which sets of present members a key has a row.
        presence: Presence,
    },
    /// Filters, then projects.
    Map {
        /// The node read.
        input: NodeId,
        /// What is done to each of its batches.
        map: Map,
    },
    /// Pairs of rows with equal keys.
    Join {
        /// The left input.
        left: NodeId,
        /// The right input.
        right: NodeId,
        /// Which rows are a pair, and what becomes of the others.
        join: Join,
    },
    /// One row for each distinct value of the group columns.
    Aggregate {
        /// The node read.
        input: NodeId,
        /// The groups, and what is computed for each.
        aggregation: Aggregation,
    },
    /// The first rows of each partition in an order.
    TopK {
        /// The node read.
        input: NodeId,
        /// The order, and which rows are the first.
        top: TopK,
    },
    /// All rows of all inputs.
    Union {
        /// The nodes read; they have the same column types.
        inputs: Vec<NodeId>,
    },
    /// Rows that never change.
    Constant {
        /// The rows; each has a value for every column.
        rows: Vec<Vec<ScalarValue>>,
    },
}

impl Op {
    /// The nodes it reads.
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Op::Keyed { .. } | Op::Constant { .. } => Vec::new(),
            Op::Map { input, .. } | Op::Aggregate { input, .. } | Op::TopK { input, .. } => {
                vec![*input]
            }
            Op::Join { left, right, .. } => vec![*left, *right],
            Op::Union { inputs } => inputs.clone(),
        }
    }
}

/// Which rows of two inputs are a pair, and what becomes of rows without a partner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Join {
    /// Pairs of columns that must be equal: of the left input, of the right.
    pub on: Vec<(usize, usize)>,
    /// What becomes of rows without a partner.
    pub kind: JoinKind,
    /// A condition on the pair (left columns, then right columns) beyond the equalities.
    pub residual: Option<Expr>,
    /// Whether null equals null.
    pub null_equals_null: bool,
}

/// Groups of rows, and what is computed for each. The output is the group columns, then the
/// aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aggregation {
    /// The group columns; none means one group that always exists.
    pub group: Vec<usize>,
    /// What is computed for each group.
    pub aggregates: Vec<Aggregate>,
}

/// What is numbered, how, and which numbers are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// The partition columns; none means one partition.
    pub partition: Vec<usize>,
    /// The order within a partition.
    pub order: Vec<(usize, SortOptions)>,
    /// How rows are numbered.
    pub rank: Rank,
    /// The greatest number of rows kept beyond `skip`.
    pub limit: u64,
    /// Rows numbered up to this are dropped.
    pub skip: u64,
    /// Whether the number is returned as a last column.
    pub emit_rank: bool,
    /// Whether equal rows count as one. What was counted stays counted, so that a row is there
    /// until the last of them is gone.
    pub distinct: bool,
}

/// A filter and a projection over batches; both are optional.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// Rows for which it is not true are dropped.
    pub filter: Option<Expr>,
    /// The output columns; `None` keeps the input's.
    pub project: Option<Vec<Expr>>,
    /// The columns that it returns.
    pub schema: SchemaRef,
}

/// One table of a [`Op::Keyed`] node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The table: an index into [`Plan::tables`].
    pub table: usize,
    /// The columns read, as indices into the table's schema.
    pub columns: Vec<usize>,
}

/// A truth table over which members of a keyed node have a row for a key.
///
/// Bit `s` of the word answers for the set of members whose bits are set in `s`, so up to
/// [`Presence::MEMBERS_MAX`] members fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Presence(pub u64);

impl Presence {
    /// The most members a truth table of 64 bits can speak of.
    pub const MEMBERS_MAX: usize = 6;

    /// Whether a key has a row when exactly the members in `set` are present.
    pub fn holds(self, set: u8) -> bool {
        self.0 >> set & 1 == 1
    }
}

/// What becomes of rows without a partner in a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Dropped.
    Inner,
    /// Left ones are returned with nulls.
    Left,
    /// Both sides' are returned with nulls.
    Full,
    /// Left rows with a partner, once.
    Semi,
    /// Left rows without a partner.
    Anti,
    /// Left rows, and as a last column whether they have a partner.
    Mark,
}

/// How the rows of a partition are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// 1, 2, 3; ties are broken by the remaining columns, so that the answer is one.
    RowNumber,
    /// Ties share a number and leave a gap.
    Rank,
    /// Ties share a number and leave none.
    DenseRank,
}

/// One aggregate of an [`Op::Aggregate`] node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// The input column that is aggregated; none for `count(*)`.
    pub argument: Option<usize>,
    /// A boolean input column; rows where it is not true are left out.
    pub filter: Option<usize>,
    /// The order of the values of `array_agg` and `string_agg`.
    pub order: Vec<(usize, SortOptions)>,
    /// Whether equal values count once.
    pub distinct: bool,
    /// Name and type of the output column.
    pub output: Field,
}

impl Function {
    /// Its name in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::Min => "min",
            Function::Max => "max",
            Function::Median => "median",
            Function::PercentileCont { .. } => "percentile_cont",
            Function::PercentileDisc { .. } => "percentile_disc",
            Function::BoolAnd => "bool_and",
            Function::BoolOr => "bool_or",
            Function::ArrayAgg => "array_agg",
            Function::StringAgg(_) => "string_agg",
        }
    }
}

/// The aggregate functions that are maintained.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// The number of rows, or of non-null values.
    Count,
    /// The exact sum.
    Sum,
    /// The exact sum divided by the number of values.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// DataFusion's `median`.
    Median,
    /// PostgreSQL's `percentile_cont`.
    PercentileCont {
        /// How far into the order.
        fraction: Fraction,
        /// Whether the values are ordered from the greatest.
        descending: bool,
    },
    /// PostgreSQL's `percentile_disc`.
    PercentileDisc {
        /// How far into the order.
        fraction: Fraction,
        /// Whether the values are ordered from the greatest.
        descending: bool,
    },
    /// Whether all values are true.
    BoolAnd,
    /// Whether one value is true.
    BoolOr,
    /// All values, in order.
    ArrayAgg,
    /// All values as text, in order, with this between them.
    StringAgg(String),
}

/// A number from 0 to 1. It equals itself, so that nodes with it can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// `None` if the number is not within 0 and 1.
    pub fn new(number: f64) -> Option<Fraction> {
        // Of the two zeros, one.
        (0.0..=1.0)
            .contains(&number)
            .then_some(Fraction(number + 0.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Eq for Fraction {}

impl Hash for Fraction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}
