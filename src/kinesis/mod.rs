//! Kinesis as the source, the gateway and the emulator reach it: its address and a client.
//!
//! Credentials never belong in an address: they come from the default chain of AWS (environment,
//! profile, SSO, process, instance, container).

mod address;
mod client;

pub use address::{Consumer, KinesisAddress, OnLostRecords, Start, StreamChoice, Unrouted};
