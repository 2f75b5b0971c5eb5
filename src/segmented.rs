//! A vector that grows without moving what it holds.
//!
//! State grows for as long as records come. A `Vec` that grows copies itself, and has up to twice
//! the room it needs; this one appends segments of a fixed length, so that growing costs what is
//! added, and no more than one segment stands empty.
//!
//! # Invariants
//! Every segment but the last is full.

use std::ops::{Index, IndexMut};

/// How many values are in a segment. The first one grows as a `Vec` does, so that what is small
/// stays small.
const SEGMENT: usize = 1 << 14;

/// A vector in segments; it never shrinks.
#[derive(Clone, Debug)]
pub struct Segmented<T> {
    segments: Vec<Vec<T>>,
}

impl<T> Default for Segmented<T> {
    fn default() -> Self {
        Segmented {
            segments: Vec::new(),
        }
    }
}

impl<T> Segmented<T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self.segments.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * SEGMENT + last.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The value at `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT)
    }

    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.last_with_room().push(value);
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten()
    }

    /// All values in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.segments.iter_mut().flatten()
    }

    /// The number of bytes it takes in memory, but not what values own themselves.
    pub fn bytes(&self) -> usize {
        let capacities = self.segments.iter().map(Vec::capacity);
        capacities.sum::<usize>() * size_of::<T>() + self.segments.capacity() * size_of::<Vec<T>>()
    }

    /// The segment that the next value goes to.
    fn last_with_room(&mut self) -> &mut Vec<T> {
        if self
            .segments
            .last()
            .is_none_or(|last| last.len() == SEGMENT)
        {
            let capacity = if self.segments.is_empty() { 0 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(capacity));
        }
        self.segments
            .last_mut()
            .expect("one was just pushed if there was none")
    }
}

impl<T: Clone> Segmented<T> {
    /// Appends `value` until there are `len` values.
    pub fn grow(&mut self, len: usize, value: T) {
        let mut missing = len.saturating_sub(self.len());
        while missing > 0 {
            let last = self.last_with_room();
            let more = missing.min(SEGMENT - last.len());
            last.resize(last.len() + more, value.clone());
            missing -= more;
        }
    }
}

impl<T> Index<usize> for Segmented<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.segments[index / SEGMENT][index % SEGMENT]
    }
}

impl<T> IndexMut<usize> for Segmented<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.segments[index / SEGMENT][index % SEGMENT]
    }
}

impl<T> FromIterator<T> for Segmented<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut all = Segmented::default();
        values.into_iter().for_each(|value| all.push(value));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_vector_holds() {
        let (mut segmented, mut vector) = (Segmented::default(), Vec::new());
        assert!(segmented.is_empty());
        for len in [0, 1, 7, SEGMENT - 1, SEGMENT, 3 * SEGMENT + 5, 5] {
            segmented.grow(len, len);
            vector.resize(vector.len().max(len), len);
            segmented.push(0);
            vector.push(0);
            assert_eq!(segmented.len(), vector.len());
        }
        segmented[SEGMENT] = 42;
        vector[SEGMENT] = 42;
        assert!(segmented.iter().eq(&vector));
        assert_eq!(segmented.get(SEGMENT), Some(&42));
        assert_eq!(segmented.get(vector.len()), None);
    }

    #[test]
    fn growing_moves_nothing_and_little_stands_empty() {
        let mut segmented: Segmented<u64> = (0..SEGMENT as u64).collect();
        let first: *const u64 = &segmented[0];
        for value in 0..10 * SEGMENT as u64 {
            segmented.push(value);
            assert!(segmented.bytes() <= (segmented.len() + SEGMENT) * 8 + 1000);
        }
        assert!(std::ptr::eq(first, &segmented[0]));
    }

    #[test]
    fn what_is_small_takes_little() {
        let segmented: Segmented<u64> = (0..10).collect();
        assert!(segmented.bytes() < 300);
    }
}
