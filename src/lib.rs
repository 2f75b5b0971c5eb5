//! pinflow keeps Delta Lake tables and live views true while events pour in.

pub mod archive;
pub mod bits;
pub mod checkpoint;
pub mod command;
pub mod decode;
pub mod definition;
pub mod delta;
mod disk;
pub mod door;
pub mod emulator;
pub mod expression;
pub mod function;
pub mod gateway;
pub mod host;
pub mod kafka;
pub mod kinesis;
pub mod lake;
pub mod latencies;
pub mod mysql;
mod nearest;
pub mod operator;
pub mod plan;
pub mod reclock;
mod redact;
pub mod render;
pub mod runtime;
pub mod segmented;
pub mod serve;
pub mod sink;
pub mod source;
pub mod sql;
pub mod trouble;
pub mod varint;

pub use delta::{Diff, Epoch};

/// The program's allocator: a simulation would spend an eighth of its time in the system's.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
