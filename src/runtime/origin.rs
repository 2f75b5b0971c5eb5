//! Whether the positions of a lake are of the source that is to be read.
//!
//! A position says where to go on, not in what: applied to another source it would leave out what
//! the other one had read, without a word. So checkpoints name the source beside the positions.

use std::collections::BTreeMap;

use crate::checkpoint::Position;

/// What the source's name is stored under, among the positions: no stream's partition is called so.
const SOURCE: &str = "_source";

/// Compares the source with the one that the positions are of, and makes them those of this one.
/// Older lakes do not say whose theirs are, and are taken as they are; so they are if `moved`.
pub(super) fn claim(
    positions: &mut BTreeMap<String, Position>,
    identity: Option<String>,
    moved: bool,
    lake: &str,
) -> Result<(), String> {
    let Some(now) = identity else {
        return Ok(());
    };
    match positions.get(SOURCE).map(|position| &position.token) {
        Some(then) if *then != now && !moved => {
            return Err(format!(
                "the positions in the lake {lake} are of another source: of {then}, and this is {now}. To go on at them would leave out what is before them here\n \
                 help: give this source a lake of its own with --lake; if it is the same one, which is reached in another way now, or is to be read on at these positions all the same, add --source-moved once"
            ));
        }
        Some(then) if *then != now => {
            tracing::warn!(
                "going on with {now} at the positions of {then}, as --source-moved says"
            );
        }
        _ => {}
    }
    let source = Position {
        offset: 0,
        token: now,
    };
    positions.insert(SOURCE.to_owned(), source);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_source_is_refused_unless_it_is_said_to_be_the_same() {
        let mut positions = BTreeMap::from([("pin/pin".to_owned(), Position::default())]);
        let mut claim = |name: &str, moved| claim(&mut positions, Some(name.into()), moved, "l");
        claim("files in /a", false).expect("an older lake does not say whose its positions are");
        claim("files in /a", false).unwrap();
        let refused = claim("files in /b", false).unwrap_err();
        assert!(
            refused.contains("of files in /a, and this is files in /b")
                && refused.contains("--source-moved"),
            "{refused}"
        );
        claim("files in /b", true).unwrap();
        claim("files in /b", false).unwrap();
    }

    #[test]
    fn a_source_that_cannot_tell_what_it_is_goes_on() {
        let mut positions = BTreeMap::new();
        claim(&mut positions, None, false, "l").unwrap();
        assert!(positions.is_empty());
    }
}
