//! Where in a shard a stream is to be read on, and how a position keeps it.
//!
//! The token of a position reads `<place>[;seen=<milliseconds since 1970>][;end]`. A place is a
//! sequence number (read on *after* it), `@<milliseconds since 1970>` (what arrived then or later),
//! or `-` (from the beginning). Up to `seen` all that had arrived was read: when retention has
//! passed it, records may be lost. `end` says that the shard is closed and was read to its end.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A sequence number: decimal digits, too many for an integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence(String);

impl Sequence {
    /// A sequence number as the server wrote it; `None` when it is not one.
    pub fn new(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Sequence(text.to_owned()))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (
            self.0.trim_start_matches('0'),
            other.0.trim_start_matches('0'),
        );
        one.len().cmp(&two.len()).then_with(|| one.cmp(two))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where in a shard to read on; earlier places are smaller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// From the oldest record.
    Beginning,
    /// From the first record that arrived at this time or later, in milliseconds since 1970.
    Time(i64),
    /// After this record.
    After(Sequence),
}

/// What the token of a position says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where to read on.
    pub place: Place,
    /// Until when all records had been read, in milliseconds since 1970.
    pub seen_ms: Option<i64>,
    /// Whether the shard was closed and read to its end.
    pub ended: bool,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Beginning => f.write_str("-")?,
            Place::Time(ms) => write!(f, "@{ms}")?,
            Place::After(sequence) => f.write_str(&sequence.0)?,
        }
        if let Some(ms) = self.seen_ms {
            write!(f, ";seen={ms}")?;
        }
        if self.ended {
            f.write_str(";end")?;
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(';');
        let place = match parts.next() {
            Some("-") => Place::Beginning,
            Some(text) => match text.strip_prefix('@') {
                Some(ms) => Place::Time(ms.parse().map_err(|_| ())?),
                None => Place::After(Sequence::new(text).ok_or(())?),
            },
            None => return Err(()),
        };
        let mut token = Token {
            place,
            seen_ms: None,
            ended: false,
        };
        for part in parts {
            match part.strip_prefix("seen=") {
                Some(ms) => token.seen_ms = Some(ms.parse().map_err(|_| ())?),
                None if part == "end" => token.ended = true,
                None => return Err(()),
            }
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(digits: &str) -> Place {
        Place::After(Sequence::new(digits).expect("digits"))
    }

    #[test]
    fn sequence_numbers_compare_as_numbers() {
        let mut places = [
            after("100"),
            after("99"),
            Place::Time(5),
            Place::Beginning,
            after("0100000"),
            after("9"),
        ];
        places.sort();
        assert_eq!(
            places,
            [
                Place::Beginning,
                Place::Time(5),
                after("9"),
                after("99"),
                after("100"),
                after("0100000")
            ]
        );
        assert_eq!(Sequence::new(""), None);
        assert_eq!(Sequence::new("12x"), None);
    }

    #[test]
    fn tokens_read_as_they_are_written() {
        for text in [
            "-",
            "@1700000000000",
            "4965",
            "4965;seen=1700000000000",
            "4965;seen=1700000000000;end",
            "-;end",
        ] {
            let token: Token = text.parse().expect(text);
            assert_eq!(token.to_string(), text);
        }
        for text in ["", "x", "@", "1;seen=", "1;more", "-1"] {
            assert_eq!(text.parse::<Token>(), Err(()), "{text}");
        }
    }
}
