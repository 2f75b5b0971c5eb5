//! Which stream of the dataflow a Kinesis record belongs to.
//!
//! A Kinesis stream whose name is a stream's name, or ends in one behind `-`, `.` or `_`
//! (`streaming-0a1b-pin`), holds that stream's records whatever their partition keys. Any other is
//! shared: there the partition key tells, by the same rule (`0a1b_pin`, `pin`). What tells nothing
//! is *unrouted*.

use crate::kinesis::{StreamChoice, Unrouted};

/// How the records of one Kinesis stream find their streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// All belong to this stream: an index into the definition's streams.
    One(usize),
    /// The partition key tells; unrouted records go where `rest` says.
    ByKey {
        /// The streams' names, in the definition's order.
        names: Vec<String>,
        /// The place of unrouted records.
        rest: Rest,
    },
}

/// The place of unrouted records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The dead letters of the first stream.
    DeadLetter,
    /// Nowhere.
    Skip,
    /// They are records of this stream.
    Stream(usize),
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is a record of this stream.
    Stream(usize),
    /// It is to become a dead letter of this stream.
    DeadLetter(usize),
    /// It is left out.
    Skip,
}

impl Routing {
    /// The routing of the Kinesis stream `kinesis`, found by `choice`. `None`: a pattern matched a
    /// name that tells no stream.
    pub fn of(
        kinesis: &str,
        choice: &StreamChoice,
        names: &[String],
        unrouted: &Unrouted,
    ) -> Result<Option<Self>, String> {
        if let StreamChoice::Bound { stream, .. } = choice {
            let index = names.iter().position(|name| name == stream);
            return index
                .map(|index| Some(Routing::One(index)))
                .ok_or_else(|| no_such(stream, names));
        }
        if let Some(index) = named(kinesis, names) {
            return Ok(Some(Routing::One(index)));
        }
        if matches!(choice, StreamChoice::Pattern(_)) {
            return Ok(None);
        }
        let rest = match unrouted {
            Unrouted::DeadLetter => Rest::DeadLetter,
            Unrouted::Skip => Rest::Skip,
            Unrouted::Stream(stream) => {
                let index = names.iter().position(|name| name == stream);
                Rest::Stream(index.ok_or_else(|| no_such(stream, names))?)
            }
        };
        Ok(Some(Routing::ByKey {
            names: names.to_vec(),
            rest,
        }))
    }

    /// The streams that may get records.
    pub fn streams(&self) -> Vec<usize> {
        match self {
            Routing::One(stream) => vec![*stream],
            Routing::ByKey { names, .. } => (0..names.len()).collect(),
        }
    }

    /// Where a record with this partition key goes.
    pub fn route(&self, partition_key: &str) -> Route {
        match self {
            Routing::One(stream) => Route::Stream(*stream),
            Routing::ByKey { names, rest } => match (named(partition_key, names), rest) {
                (Some(stream), _) => Route::Stream(stream),
                (None, Rest::Stream(stream)) => Route::Stream(*stream),
                (None, Rest::DeadLetter) => Route::DeadLetter(0),
                (None, Rest::Skip) => Route::Skip,
            },
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(&rest[at..], tail))
        }),
    }
}

/// The stream that `text` names; of several the one with the longest name.
fn named(text: &str, names: &[String]) -> Option<usize> {
    let is_named = |name: &str| {
        text.strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.', '_']))
    };
    let named = (0..names.len()).filter(|&index| is_named(&names[index]));
    named.max_by_key(|&index| names[index].len())
}

fn no_such(stream: &str, names: &[String]) -> String {
    format!(
        "the definition has no stream `{stream}`; its streams are {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["pin", "geo", "user"].map(str::to_owned).to_vec()
    }

    fn routing(kinesis: &str, unrouted: Unrouted) -> Routing {
        let choice = StreamChoice::Named(kinesis.to_owned());
        Routing::of(kinesis, &choice, &names(), &unrouted)
            .expect("streams exist")
            .expect("it is no pattern")
    }

    #[test]
    fn the_name_of_a_kinesis_stream_tells() {
        for (kinesis, stream) in [
            ("pin", 0),
            ("streaming-0ad8a60ac12f-user", 2),
            ("x.geo", 1),
            ("pin_data_pin", 0),
        ] {
            assert_eq!(
                routing(kinesis, Unrouted::DeadLetter),
                Routing::One(stream),
                "{kinesis}"
            );
        }
        for kinesis in ["my-pin-stream", "Kinesis-Prod-Stream", "spin"] {
            assert!(
                matches!(
                    routing(kinesis, Unrouted::DeadLetter),
                    Routing::ByKey { .. }
                ),
                "{kinesis}"
            );
        }
    }

    #[test]
    fn in_a_shared_stream_the_partition_key_tells() {
        let shared = routing("Kinesis-Prod-Stream", Unrouted::DeadLetter);
        for (key, stream) in [("0ad8a60ac12f_pin", 0), ("geo", 1), ("test_user", 2)] {
            assert_eq!(shared.route(key), Route::Stream(stream), "{key}");
        }
        for key in [
            "partition-1",
            "",
            "spin",
            "pin_",
            "8f4e4f0c-7b5c-4f50-9a3e-1f0f8d6a2b11",
        ] {
            assert_eq!(shared.route(key), Route::DeadLetter(0), "{key}");
        }
        assert_eq!(routing("s", Unrouted::Skip).route("x"), Route::Skip);
        assert_eq!(
            routing("s", Unrouted::Stream("geo".to_owned())).route("x"),
            Route::Stream(1)
        );
    }

    #[test]
    fn the_longest_name_wins() {
        let names = ["pin", "extra_pin"].map(str::to_owned);
        assert_eq!(named("a_extra_pin", &names), Some(1));
        assert_eq!(named("a_pin", &names), Some(0));
    }

    #[test]
    fn patterns_read_only_what_they_name_and_unknown_streams_are_refused() {
        let pattern = StreamChoice::Pattern("a-*".to_owned());
        assert_eq!(
            Routing::of("a-other", &pattern, &names(), &Unrouted::Skip),
            Ok(None)
        );
        let bound = StreamChoice::Bound {
            stream: "pins".to_owned(),
            kinesis: "s".to_owned(),
        };
        assert!(Routing::of("s", &bound, &names(), &Unrouted::Skip).is_err());
        for (name, pattern, expected) in [
            ("streaming-0a-pin", "streaming-0a-*", true),
            ("streaming-0a-pin", "*", true),
            ("streaming-0a-pin", "*-pin", true),
            ("streaming-0a-pin", "s*0a*n", true),
            ("streaming-0a-pin", "*-geo", false),
            ("streaming-0a-pin", "streaming", false),
        ] {
            assert_eq!(fits(name, pattern), expected, "{pattern}");
        }
    }
}
