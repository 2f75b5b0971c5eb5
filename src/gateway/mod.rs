//! The front doors: the Kafka REST proxy and Kinesis through REST, before Kafka, Kinesis, or the
//! embedded log.
//!
//! ```text
//! POST /topics/{t}           -\                            /- embedded log  (topics/.. in the archive's layout)
//! .. /consumers/{g}/..         >- stage, key, limits, doors -- Kafka
//! .. /streams/{s}/record(s)  -/                            \- Kinesis
//! ```
//! The doors (`proxy`, `streams`) know HTTP and JSON, the backends (`embedded`, `kafka`, `kinesis`)
//! know where records go; `backend.rs` is what lies between. Values are not parsed: they are pieces
//! of the body, and are copied once, into the log or the client's queue.
//!
//! # Invariants
//! 1. A 200 means that at least one record of the request is durable, and the answer says for each
//!    record whether it is.
//! 2. A record that is wrong, or refused, is answered for itself.
//! 3. No answer, message or log line shows a key or a password.

mod answer;
mod app;
pub mod backend;
mod body;
mod config;
pub mod embedded;
mod iterator;
pub mod kafka;
mod keys;
pub mod kinesis;
pub mod log;
mod metrics;
mod naming;
mod partitioner;
mod pattern;
mod proxy;
mod server;
mod shards;
mod stage;
mod streams;
#[cfg(test)]
mod tests;
mod tls;

pub use config::{BackendSpec, Cors, GatewayConfig, Limits};
pub use embedded::NowMs;
pub use kafka::NewTopics;
pub use keys::{ApiKeys, KeysError};
pub use log::LogOptions;
pub use server::{GatewayError, Server, serve};
pub use tls::TlsFiles;
