//! Parts of a checkpoint inside messages between processes.
//!
//! Checkpoints leave empty fields out, which only a self-describing format can read back; messages
//! are in one that is not. So these parts travel as their JSON text.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes `value` as its JSON text.
pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::to_string(value)
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    serde_json::from_str(&text).map_err(D::Error::custom)
}
