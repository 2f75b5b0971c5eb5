//! Row-wise expressions: what one means for a row, in any batch.
//!
//! DataFusion evaluates an expression a batch at a time, and fails for all of its rows when one
//! fails. It also looks at the right side of `AND` for rows that the left side has decided, unless
//! it has decided all of them. Here an expression means for a row what it would mean if the row
//! were alone:
//!
//! ```text
//! a AND b     b is evaluated only on rows that a leaves undecided       lazy.rs
//! a batch     evaluated at once; only if that fails are the rows at
//!             fault looked for, by operation and not by expression      attempt.rs, why.rs
//! a panic     is an error of the row that caused it                     panics.rs
//! ```
//!
//! `fallible.rs` says which expressions can fail at all; those that cannot stay as DataFusion made
//! them.
//!
//! # Invariants
//! 1. Expressions are pure: a row has the same outcome in every batch, on every worker and after
//!    every restart. Hence a row that was left out when it came is left out when it is retracted.
//! 2. A batch in which no row fails is evaluated once, as DataFusion would.

mod attempt;
mod fallible;
mod lazy;
mod panics;
mod why;

use std::sync::Arc;

use datafusion_physical_expr::PhysicalExpr;

pub use attempt::{Attempts, Failure};
pub use fallible::may_fail;
pub use lazy::lazily;
pub use panics::{Panicked, catching};

/// A scalar expression over the columns of a batch.
pub type Expr = Arc<dyn PhysicalExpr>;
