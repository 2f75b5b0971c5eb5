//! Whole numbers by slot, in as few bytes each as hold all of them.
//!
//! An age fits one byte and a follower count mostly four, though SQL has eight for both; times are
//! mostly whole seconds, though SQL counts microseconds. So a column begins as narrow as can be,
//! and is rewritten wider when a number comes that does not fit: three times at most.
//!
//! # Invariants
//! Every number in a column is a multiple of its unit, and divided by it fits the width.

use arrow::buffer::NullBuffer;

use crate::segmented::Segmented;

/// The microseconds of a second.
const SECOND: i64 = 1_000_000;

/// The numbers of one column.
pub(super) struct Integers {
    /// All numbers are multiples of it, and kept divided by it: 1, or [`SECOND`].
    unit: i64,
    values: Width,
}

enum Width {
    One(Segmented<i8>),
    Two(Segmented<i16>),
    Four(Segmented<i32>),
    Eight(Segmented<i64>),
}

/// A type of whole numbers that may be too narrow for some.
trait Narrow: Copy + Into<i64> {
    /// The number, which must fit.
    fn of(number: i64) -> Self;
}

macro_rules! narrow {
    ($($type:ty),*) => {
        $(impl Narrow for $type {
            fn of(number: i64) -> Self {
                number as $type
            }
        })*
    };
}

narrow!(i8, i16, i32, i64);

impl Integers {
    /// No numbers yet.
    pub(super) fn numbers() -> Self {
        Integers {
            unit: 1,
            values: Width::One(Segmented::default()),
        }
    }

    /// No times yet; they are in microseconds.
    pub(super) fn times() -> Self {
        Integers {
            unit: SECOND,
            ..Self::numbers()
        }
    }

    /// Makes room for `slots` slots; new ones hold 0.
    pub(super) fn grow(&mut self, slots: usize) {
        match &mut self.values {
            Width::One(values) => values.grow(slots, 0),
            Width::Two(values) => values.grow(slots, 0),
            Width::Four(values) => values.grow(slots, 0),
            Width::Eight(values) => values.grow(slots, 0),
        }
    }

    /// Writes `numbers[row]` into `slot`, for each `(slot, row)` in order; 0 where it is null.
    pub(super) fn scatter<N: Copy + Into<i64>>(
        &mut self,
        numbers: &[N],
        nulls: Option<&NullBuffer>,
        writes: impl Iterator<Item = (u32, usize)> + Clone,
    ) {
        let number = |row: usize| -> i64 {
            match nulls {
                Some(nulls) if nulls.is_null(row) => 0,
                _ => numbers[row].into(),
            }
        };
        let (mut low, mut high) = (0, 0);
        for (_, row) in writes.clone() {
            low = number(row).min(low);
            high = number(row).max(high);
        }
        if self.unit == SECOND && writes.clone().any(|(_, row)| number(row) % SECOND != 0) {
            self.count_in_ones();
        }
        self.widen(low / self.unit, high / self.unit);
        match self.unit {
            SECOND => self.write(writes.map(|(slot, row)| (slot, number(row) / SECOND))),
            _ => self.write(writes.map(|(slot, row)| (slot, number(row)))),
        }
    }

    /// The numbers in `slots`, in that order, made into what `make` returns.
    pub(super) fn gather<N>(&self, slots: &[u32], make: impl Fn(i64) -> N) -> Vec<N> {
        let unit = self.unit;
        match &self.values {
            Width::One(values) => read(values, slots, |number| make(number * unit)),
            Width::Two(values) => read(values, slots, |number| make(number * unit)),
            Width::Four(values) => read(values, slots, |number| make(number * unit)),
            Width::Eight(values) => read(values, slots, |number| make(number * unit)),
        }
    }

    /// The number of bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.values {
            Width::One(values) => values.bytes(),
            Width::Two(values) => values.bytes(),
            Width::Four(values) => values.bytes(),
            Width::Eight(values) => values.bytes(),
        }
    }

    fn write(&mut self, writes: impl Iterator<Item = (u32, i64)>) {
        match &mut self.values {
            Width::One(values) => write(values, writes),
            Width::Two(values) => write(values, writes),
            Width::Four(values) => write(values, writes),
            Width::Eight(values) => write(values, writes),
        }
    }

    fn all(&self) -> Box<dyn Iterator<Item = i64> + '_> {
        match &self.values {
            Width::One(values) => Box::new(values.iter().map(|&number| number.into())),
            Width::Two(values) => Box::new(values.iter().map(|&number| number.into())),
            Width::Four(values) => Box::new(values.iter().map(|&number| number.into())),
            Width::Eight(values) => Box::new(values.iter().copied()),
        }
    }

    /// Makes the numbers from `low` to `high` fit.
    fn widen(&mut self, low: i64, high: i64) {
        let fits = |least: i64, most: i64| least <= low && high <= most;
        let bytes = match () {
            _ if fits(i8::MIN.into(), i8::MAX.into()) => 1,
            _ if fits(i16::MIN.into(), i16::MAX.into()) => 2,
            _ if fits(i32::MIN.into(), i32::MAX.into()) => 4,
            _ => 8,
        };
        let wider = match (&self.values, bytes) {
            (Width::One(_), 2) => Width::Two(self.all().map(Narrow::of).collect()),
            (Width::One(_) | Width::Two(_), 4) => Width::Four(self.all().map(Narrow::of).collect()),
            (Width::One(_) | Width::Two(_) | Width::Four(_), 8) => {
                Width::Eight(self.all().collect())
            }
            _ => return,
        };
        self.values = wider;
    }

    /// A time came that is no whole second.
    fn count_in_ones(&mut self) {
        self.values = Width::Eight(self.all().map(|number| number * self.unit).collect());
        self.unit = 1;
    }
}

fn read<V: Narrow, N>(values: &Segmented<V>, slots: &[u32], make: impl Fn(i64) -> N) -> Vec<N> {
    let number = |&slot: &u32| make(values[slot as usize].into());
    slots.iter().map(number).collect()
}

fn write<V: Narrow>(values: &mut Segmented<V>, writes: impl Iterator<Item = (u32, i64)>) {
    for (slot, number) in writes {
        values[slot as usize] = V::of(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes `numbers` one by one, each into a slot of its own.
    fn written(mut integers: Integers, numbers: &[i64]) -> Integers {
        for (slot, &number) in (0..).zip(numbers) {
            integers.grow(slot as usize + 1);
            integers.scatter(&[number], None, [(slot, 0)].into_iter());
        }
        integers
    }

    fn bytes_each(numbers: Integers) -> usize {
        let mut numbers = numbers;
        numbers.grow(1 << 20);
        numbers.bytes() >> 20
    }

    #[test]
    fn a_number_takes_what_the_widest_needs() {
        let numbers = |numbers: &[i64]| bytes_each(written(Integers::numbers(), numbers));
        assert_eq!(numbers(&[]), 1);
        assert_eq!(numbers(&[-128, 127]), 1);
        assert_eq!(numbers(&[128, 0]), 2);
        assert_eq!(numbers(&[-32_769, 5]), 4);
        assert_eq!(numbers(&[3, 1 << 31]), 8);
    }

    #[test]
    fn times_are_counted_in_seconds_until_one_is_not_whole() {
        let times = |times: &[i64]| bytes_each(written(Integers::times(), times));
        assert_eq!(times(&[1_600_000_000 * SECOND]), 4);
        assert_eq!(times(&[1_600_000_000 * SECOND, 1]), 8);
        assert_eq!(times(&[3_000_000_000 * SECOND]), 8);
    }

    proptest! {
        #[test]
        fn what_was_written_last_is_read(
            times in any::<bool>(),
            batches in prop::collection::vec(
                prop::collection::vec(
                    (
                        0..20_u32,
                        prop::option::of(prop_oneof![
                            -200..200_i64,
                            any::<i64>(),
                            any::<i32>().prop_map(i64::from),
                            any::<i32>().prop_map(|seconds| i64::from(seconds) * SECOND),
                        ]),
                    ),
                    0..10,
                ),
                0..10,
            ),
        ) {
            let mut integers = if times { Integers::times() } else { Integers::numbers() };
            let mut twin = [0; 20];
            integers.grow(20);
            for batch in &batches {
                let numbers: Vec<i64> = batch.iter().map(|(_, number)| number.unwrap_or(77)).collect();
                let nulls: NullBuffer = batch.iter().map(|(_, number)| number.is_some()).collect();
                let writes = batch.iter().zip(0..).map(|(&(slot, _), row)| (slot, row));
                integers.scatter(&numbers, Some(&nulls), writes);
                for &(slot, number) in batch {
                    twin[slot as usize] = number.unwrap_or(0);
                }
                let slots: Vec<u32> = (0..20).collect();
                prop_assert_eq!(integers.gather(&slots, |number| number), twin);
            }
        }
    }
}
