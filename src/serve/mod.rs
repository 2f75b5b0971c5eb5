//! The live store and its readers.
//!
//! ```text
//! view changes --> store --+--> http --> inspect, browsers, scripts
//!                          '--> dirty buckets --> the lake
//! counters of the run --> status --> http, terminal
//! ```
//! What is served is always a closed epoch, and the same one for all views. Nothing here knows
//! where the changes come from.

mod client;
pub mod filter;
pub mod format;
pub mod http;
pub mod inspect;
pub mod status;
pub mod store;
pub mod terminal;
