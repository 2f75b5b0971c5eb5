//! Kafka: the address, the settings of every client, and what is asked of brokers beside records.
//!
//! ```text
//!  kafka://host:9092?..  --parse-->  KafkaAddress  --client_config()-->  consumers, producers, admin clients
//!                                        |                                     |
//!                                        +-------------context()---------------+   errors, logs, statistics, tokens
//! ```
//!
//! # Invariants
//! 1. Passwords and tokens are never shown: not by `Debug`, `Display`, errors or logs.
//! 2. Every client is made with [`Context`], so that trouble with brokers is told in one way and
//!    tokens are renewed.
//! 3. Offsets are ours: no client joins a group, commits, or is told where to go on by the broker.

mod address;
mod admin;
mod context;
mod identity;
mod msk_iam;
mod options;
mod settings;
#[cfg(test)]
mod tests;
mod time;
mod token;

pub use address::{Isolation, KafkaAddress, NewTopics, OnLostOffsets, Start};
pub use admin::{create_topics, list_topics};
pub(crate) use admin::{metadata, topics_of, unusable};
pub use context::{Context, Health, Trouble};
pub(crate) use identity::topic_ids;
