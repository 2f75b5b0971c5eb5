//! Where in their files the last readers of shards stopped.
//!
//! An iterator names an offset and not a place in a file: whoever sends one could write any place
//! into it. Finding the place of an offset means to read the file from its beginning, so the places
//! that readers are likely to come back to are remembered. A place that is forgotten is found
//! again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gateway::log::Cursor;

/// How many places are remembered.
const PLACES_MAX: usize = 256;

/// The places, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    places: Mutex<VecDeque<(String, u32, Cursor)>>,
}

impl Cursors {
    /// A cursor at an offset, with its place if that is remembered.
    pub fn at(&self, topic: &str, partition: u32, offset: u64) -> Cursor {
        let places = self.lock();
        let found = places.iter().rev().find(|(name, number, cursor)| {
            (name.as_str(), *number, cursor.offset) == (topic, partition, offset)
        });
        found.map_or(Cursor::at(offset), |(_, _, cursor)| *cursor)
    }

    /// Remembers where a reader stopped.
    pub fn keep(&self, topic: &str, partition: u32, cursor: Cursor) {
        let place = (topic.to_owned(), partition, cursor);
        let mut places = self.lock();
        if places.contains(&place) {
            return;
        }
        if places.len() == PLACES_MAX {
            places.pop_front();
        }
        places.push_back(place);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, u32, Cursor)>> {
        // Each place is right by itself.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_remembered_and_others_are_found_by_reading() {
        let cursors = Cursors::default();
        for offset in 0..=PLACES_MAX as u64 {
            cursors.keep("pin", 0, Cursor::at(offset));
            cursors.keep("pin", 0, Cursor::at(offset));
        }
        assert_eq!(cursors.lock().len(), PLACES_MAX);
        assert_eq!(cursors.lock()[0].2, Cursor::at(1));
        for (topic, partition, offset) in [("pin", 0, 7), ("pin", 1, 7), ("geo", 0, 7)] {
            assert_eq!(cursors.at(topic, partition, offset), Cursor::at(7));
        }
    }
}
