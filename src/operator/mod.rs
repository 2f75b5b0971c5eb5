//! The operators of the dataflow, one a file.
//!
//! Each takes streams of [`Delta`](crate::delta::Delta)s and returns streams of them. Stateful ones
//! work an epoch at a time (`epochs`): when the frontier says that all changes of an epoch have
//! arrived, they see them together, in batches, and update their state in place. Since epochs are
//! totally ordered and closed one after another, state needs no history: it is always the state at
//! the last closed epoch. General joins are the exception: they are differential-dataflow's, with
//! its arrangements.
//!
//! Nothing here knows SQL; `render` connects plan nodes to these functions.

pub mod aggregate;
pub mod arena;
pub mod consolidate;
pub mod epochs;
pub mod exact_sum;
pub mod fault;
pub mod group_index;
pub mod group_key;
pub mod join;
pub mod keyed;
pub mod map;
pub mod mapper;
pub mod ordered_multiset;
pub mod quantile;
pub mod route;
pub mod row_hash;
pub mod state_bytes;
pub mod top_k;
