//! When the records of a data file came first.
//!
//! Of two records with one key the later one wins, and epochs say which that is. But a record that
//! was a dead letter and is sent in again comes in an epoch that is not its own. So every data file
//! says in its tags from which epochs its records are, and letters that are sent in again keep
//! those that their file has.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Epoch;

/// The tag of a data file that says when its records came.
pub const EPOCHS_TAG: &str = "epochs";

/// The epochs in which some records came first: none before `first`, and none after `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Came {
    /// The first of them.
    pub first: Epoch,
    /// The last of them.
    pub last: Epoch,
}

impl Came {
    /// Any time up to `last`: what is known of a file that says nothing.
    pub fn until(last: Epoch) -> Came {
        Came { first: 0, last }
    }

    /// What the tags of a file say.
    pub fn of(tags: &BTreeMap<String, String>) -> Option<Came> {
        tags.get(EPOCHS_TAG)?.parse().ok()
    }

    /// Whether all of these records came before all of the others.
    pub fn is_before(self, other: Came) -> bool {
        self.last < other.first
    }

    /// The epochs of both.
    pub fn and(self, other: Came) -> Came {
        Came {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Came {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Came, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, ""));
        Ok(Came {
            first: first.parse()?,
            last: last.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_older_only_if_all_of_them_are() {
        let came = |text: &str| text.parse::<Came>().unwrap();
        assert!(came("3-7").is_before(came("8-8")));
        for other in ["7-9", "1-2", "3-7", "0-20"] {
            assert!(!came("3-7").is_before(came(other)), "{other}");
        }
        assert_eq!(came("3-7").and(came("9-12")).to_string(), "3-12");
        assert!("3".parse::<Came>().is_err());
    }
}
