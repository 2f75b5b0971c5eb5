//! From the positions of a checkpoint to what is known of a Kinesis stream's shards.

use std::collections::BTreeMap;

use super::lineage::Known;
use super::place::Token;
use crate::source::{Position, position_key};

/// What `positions` say of the shards of the Kinesis stream `kinesis`, whose records belong to
/// `streams`. `latest` says that a stream without any position begins with what arrives from now
/// on.
pub fn known(
    positions: &BTreeMap<String, Position>,
    kinesis: &str,
    streams: &[&str],
    latest: bool,
) -> BTreeMap<String, Known> {
    // Per shard: how many streams have a position, and how many of those are at the end.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for stream in streams {
        let prefix = position_key(stream, &format!("{kinesis}/"));
        for (key, position) in positions.range(prefix.clone()..) {
            let Some(shard) = key.strip_prefix(&prefix) else {
                break;
            };
            if !position.token.is_empty() {
                let count = counts.entry(shard.to_owned()).or_default();
                count.0 += 1;
                count.1 += usize::from(
                    position
                        .token
                        .parse::<Token>()
                        .is_ok_and(|token| token.ended),
                );
            }
        }
    }
    let known = |(shard, (begun, ended))| {
        let known = match (ended == begun, begun == streams.len()) {
            (false, _) => Known::Begun,
            (true, true) => Known::Ended,
            // What begins with the latest needs nothing of a closed shard.
            (true, false) if latest => Known::Ended,
            (true, false) => Known::EndedForSome,
        };
        (shard, known)
    };
    counts.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_ended_when_it_has_for_all_streams() {
        let position = |key: &str, token: &str| {
            let position = Position {
                offset: 1,
                token: token.to_owned(),
            };
            (key.to_owned(), position)
        };
        let positions = BTreeMap::from([
            position("pin/s/0", "5;end"),
            position("geo/s/0", "5;end"),
            position("pin/s/1", "5;end"),
            position("geo/s/1", "5"),
            position("pin/s/2", "5;end"),
            position("pin/s-more/3", "5"),
            position("other/s/4", "5"),
        ]);
        let of = |latest| {
            let known = known(&positions, "s", &["pin", "geo"], latest);
            known
                .into_iter()
                .map(|(shard, known)| format!("{shard} {known:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(false), ["0 Ended", "1 Begun", "2 EndedForSome"]);
        assert_eq!(of(true), ["0 Ended", "1 Begun", "2 Ended"]);
    }
}
