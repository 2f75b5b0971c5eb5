//! Medians and percentiles of an ordered multiset: which ranks to look at, and what to make of the
//! values there.
//!
//! The multiset finds any rank in O(log n), so a quantile is a little arithmetic. But results must
//! be *the* results, to the last bit, so the arithmetic is that of the engines whose SQL we speak:
//!
//! | function | as in | n values, ascending |
//! |---|---|---|
//! | [`percentile_disc`] | PostgreSQL | the value at rank max(ceil(p·n), 1) - 1 |
//! | [`percentile_cont`] | PostgreSQL | lo + r·(hi - lo), at ranks floor(p·(n-1)) and ceil(p·(n-1)), r = p·(n-1) - floor(p·(n-1)) |
//! | [`median`] | DataFusion | the middle value, or (lo + hi) / 2 of the middle two in the type's own arithmetic |
//!
//! where every product is that of two doubles. Nulls are not values: who fills the set leaves them
//! out.
//!
//! # Where engines differ
//! * DataFusion's `percentile_cont` cuts the weight r down to six decimals, `floor(r·10⁶) / 10⁶`;
//!   so it differs from PostgreSQL (and from us) by up to 10⁻⁶·(hi - lo). For a descending order it
//!   takes the percentile 1 - p, we take the ranks from the other end, as PostgreSQL does; `1 - p`
//!   rounds. It returns the type of a float argument where PostgreSQL always computes and returns a
//!   double; cast our result if a narrower one is due.
//! * `median` is `percentile_cont(0.5)` in PostgreSQL, which has no `median`. For doubles
//!   DataFusion's `(lo + hi) / 2` and `lo + 0.5·(hi - lo)` may differ in the last bit, and the
//!   former overflows to infinity where the latter may not.
//! * PostgreSQL's own machine code may fuse `lo + r·(hi - lo)` into one rounding where the compiler
//!   is free to do so (not on x86-64, as it is distributed). We never do.
//! * A NaN is the greatest value here and in PostgreSQL, whatever its sign. DataFusion's aggregates
//!   put NaNs with a sign bit first, and its median of a set with NaNs in the lower half depends on
//!   the order of its input.
//! * Here -0.0 and 0.0 are one key (they are equal in SQL), and come out as 0.0; a NaN comes out as
//!   the one positive quiet NaN. PostgreSQL returns whichever it was given.

use super::ordered_multiset::OrderedMultiset;

/// The first value, in ascending order, of which the cumulative distribution is at least
/// `fraction`; `None` of an empty set.
///
/// Fractions are between 0 and 1, which whoever plans a query checks; one beyond is taken for the
/// nearer end.
pub fn percentile_disc<K, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    fraction: f64,
) -> Option<&K> {
    set.select(row_of_disc(set, fraction)?)
}

/// As [`percentile_disc`], in descending order (`WITHIN GROUP (ORDER BY x DESC)`).
pub fn percentile_disc_descending<K, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    fraction: f64,
) -> Option<&K> {
    let row = row_of_disc(set, fraction)?;
    set.select(set.len() - 1 - row)
}

/// The value at `fraction` of the way from the first to the last, in ascending order, interpolated
/// between the two values around it; `None` of an empty set. `number` is what a key stands for.
/// Fractions as in [`percentile_disc`].
pub fn percentile_cont<K, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    fraction: f64,
    number: impl Fn(&K) -> f64,
) -> Option<f64> {
    let rows = RowsOfCont::new(set, fraction)?;
    let (first, second) = neighbours(set, rows.first)?;
    Some(rows.interpolate(number(first), || number(second)))
}

/// As [`percentile_cont`], in descending order (`WITHIN GROUP (ORDER BY x DESC)`).
pub fn percentile_cont_descending<K, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    fraction: f64,
    number: impl Fn(&K) -> f64,
) -> Option<f64> {
    let rows = RowsOfCont::new(set, fraction)?;
    let (second, first) = neighbours(set, set.len() - 1 - rows.second)?;
    if rows.first == rows.second {
        return Some(number(second));
    }
    Some(rows.interpolate(number(first), || number(second)))
}

/// Which row, from 0, `percentile_disc` looks at.
fn row_of_disc<K, const CAP: usize>(set: &OrderedMultiset<K, CAP>, fraction: f64) -> Option<u64> {
    let last = set.len().checked_sub(1)?;
    // The product cannot pass n, but n as a double may, where it has more than 53 bits.
    let row = (fraction * set.len() as f64).ceil() as u64;
    Some(row.saturating_sub(1).min(last))
}

/// Which rows, from 0, `percentile_cont` looks at: the second is the first or the next one.
struct RowsOfCont {
    first: u64,
    second: u64,
    proportion: f64,
}

impl RowsOfCont {
    fn new<K, const CAP: usize>(set: &OrderedMultiset<K, CAP>, fraction: f64) -> Option<Self> {
        let last = set.len().checked_sub(1)?;
        let position = fraction * last as f64;
        let first = (position.floor() as u64).min(last);
        Some(RowsOfCont {
            first,
            second: (position.ceil() as u64).min(last),
            proportion: position - first as f64,
        })
    }

    fn interpolate(&self, lo: f64, hi: impl Fn() -> f64) -> f64 {
        if self.first == self.second {
            lo
        } else {
            plain(lo + self.proportion * (hi() - lo))
        }
    }
}

/// The two values in the middle; twice the one, if their number is odd. `None` of an empty set.
pub fn middle<K, const CAP: usize>(set: &OrderedMultiset<K, CAP>) -> Option<(&K, &K)> {
    let (low, high) = neighbours(set, set.len().checked_sub(1)? / 2)?;
    Some(if set.len() % 2 == 1 {
        (low, low)
    } else {
        (low, high)
    })
}

/// The middle value, or the middle of the two middle values; `None` of an empty set. `value` is the
/// number that a key stands for, in the type in which the middle is computed.
///
/// DataFusion casts integers to `f64` before it looks for a median, so give it an `f64` for those
/// (the cast keeps the order, and may be done here); floats and decimals keep their type, decimals
/// as their unscaled integers.
pub fn median<K, V: Middle, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    value: impl Fn(&K) -> V,
) -> Option<V> {
    let (low, high) = middle(set)?;
    Some(if set.len() % 2 == 1 {
        value(low)
    } else {
        V::middle(value(low), value(high))
    })
}

/// The values at `rank` and the one after it (or the same again, at the last).
fn neighbours<K, const CAP: usize>(set: &OrderedMultiset<K, CAP>, rank: u64) -> Option<(&K, &K)> {
    let mut from = set.iter_from(rank);
    let (first, left) = from.next()?;
    let second = if left > 1 {
        first
    } else {
        from.next().map_or(first, |(key, _)| key)
    };
    Some((first, second))
}

/// A type in which DataFusion computes medians.
pub trait Middle {
    /// What DataFusion's `median` makes of the two middle values, `low <= high`.
    fn middle(low: Self, high: Self) -> Self;
}

impl Middle for f64 {
    /// `(low + high) / 2`, which is infinite if the sum is.
    fn middle(low: Self, high: Self) -> Self {
        plain((low + high) / 2.0)
    }
}

impl Middle for f32 {
    /// `(low + high) / 2` in single precision, which is infinite if the sum is.
    fn middle(low: Self, high: Self) -> Self {
        let middle = (low + high) / 2.0;
        if middle.is_nan() { f32::NAN } else { middle }
    }
}

macro_rules! middle_of_integers {
    ($($integer:ty)*) => {$(
        impl Middle for $integer {
            /// `(low + high) / 2`, cut off towards zero, without overflow: the unscaled value of a
            /// decimal.
            fn middle(low: Self, high: Self) -> Self {
                match low.checked_add(high) {
                    Some(sum) => sum / 2,
                    // Both have one sign, so their remainders have, and carry at most one.
                    None => low / 2 + high / 2 + (low % 2 + high % 2) / 2,
                }
            }
        }
    )*};
}
middle_of_integers!(i32 i64 i128);

/// `x`, where it is a NaN the positive quiet one: processors and compilers make NaNs of either
/// sign.
fn plain(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x }
}

/// A key that orders as SQL orders doubles: NaN last, -0.0 equal to 0.0.
pub fn f64_to_key(x: f64) -> u64 {
    // -0.0 + 0.0 is 0.0, and nothing else changes.
    let bits = plain(x + 0.0).to_bits();
    // Negative numbers grow downwards in their bits; turn them over, and put all others above.
    let negative = (bits.cast_signed() >> 63).cast_unsigned();
    bits ^ (negative | SIGN)
}

/// The double of a key made by [`f64_to_key`].
pub fn key_to_f64(key: u64) -> f64 {
    let negative = !(key.cast_signed() >> 63).cast_unsigned();
    f64::from_bits(key ^ (negative | SIGN))
}

/// A key that orders as the integer does.
pub fn i64_to_key(x: i64) -> u64 {
    x.cast_unsigned() ^ SIGN
}

/// The integer of a key made by [`i64_to_key`].
pub fn key_to_i64(key: u64) -> i64 {
    (key ^ SIGN).cast_signed()
}

const SIGN: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set_of(values: &[f64]) -> OrderedMultiset<u64> {
        let mut set = OrderedMultiset::new();
        for value in values {
            set.update(f64_to_key(*value), 1);
        }
        set
    }

    #[derive(Clone, Copy)]
    enum Direction {
        Ascending,
        Descending,
    }
    use Direction::{Ascending, Descending};

    fn disc(values: &[f64], fraction: f64, direction: Direction) -> Option<f64> {
        let set = set_of(values);
        let key = match direction {
            Ascending => percentile_disc(&set, fraction),
            Descending => percentile_disc_descending(&set, fraction),
        };
        key.map(|key| key_to_f64(*key))
    }

    fn cont(values: &[f64], fraction: f64, direction: Direction) -> Option<f64> {
        let set = set_of(values);
        match direction {
            Ascending => percentile_cont(&set, fraction, |key| key_to_f64(*key)),
            Descending => percentile_cont_descending(&set, fraction, |key| key_to_f64(*key)),
        }
    }

    fn sorted(values: &[f64]) -> Vec<f64> {
        let mut sorted: Vec<f64> = values.iter().map(|x| x + 0.0).collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        sorted
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(disc(&[], 0.5, Ascending), None);
        assert_eq!(disc(&[], 0.5, Descending), None);
        assert_eq!(cont(&[], 0.5, Ascending), None);
        assert_eq!(cont(&[], 0.5, Descending), None);
        assert_eq!(median(&set_of(&[]), |key| key_to_f64(*key)), None);
    }

    #[test]
    fn fractions_beyond_the_ends_are_the_ends() {
        let values = [1.0, 2.0, 4.0];
        for (fraction, first, last) in [(-0.1, 1.0, 4.0), (1.1, 4.0, 1.0), (f64::NAN, 1.0, 4.0)] {
            assert_eq!(disc(&values, fraction, Ascending), Some(first));
            assert_eq!(cont(&values, fraction, Ascending), Some(first));
            assert_eq!(disc(&values, fraction, Descending), Some(last));
            assert_eq!(cont(&values, fraction, Descending), Some(last));
        }
    }

    #[test]
    fn percentiles_are_those_of_postgresql() {
        // Values and percentile; then what PostgreSQL 15 says: percentile_disc in ascending and
        // descending order, percentile_cont likewise.
        type Case = (&'static [f64], f64, [f64; 4]);
        #[rustfmt::skip]
        let cases: &[Case] = &[
            (&[1.5], 0.0, [1.5, 1.5, 1.5, 1.5]),
            (&[1.5], 1.0, [1.5, 1.5, 1.5, 1.5]),
            (&[1.1, 2.7], 0.5, [1.1, 2.7, 1.9000000000000001, 1.9000000000000001]),
            (&[1.1, 2.7, 9.3], 0.3, [1.1, 9.3, 2.06, 5.340000000000001]),
            (&[1.1, 2.7, 9.3], 0.5, [2.7, 2.7, 2.7, 2.7]),
            (&[1.1, 2.7, 9.3], 0.95, [9.3, 1.1, 8.64, 1.2600000000000002]),
            (&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 0.1, [0.1, 0.7, 0.16000000000000003, 0.6399999999999999]),
            (&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 0.3333333333333333, [0.3, 0.5, 0.3, 0.5]),
            (&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 0.99, [0.7, 0.1, 0.694, 0.10600000000000005]),
            (&[972.0, 467.0, 467.0, 1000.0, 15000000.0, 15000000.0, 5000.0, 6000.0], 0.5, [1000.0, 5000.0, 3000.0, 3000.0]),
            (&[972.0, 467.0, 467.0, 1000.0, 15000000.0, 15000000.0, 5000.0, 6000.0], 0.7, [6000.0, 972.0, 5899.999999999999, 974.8000000000001]),
            (&[972.0, 467.0, 467.0, 1000.0, 15000000.0, 15000000.0, 5000.0, 6000.0], 0.9, [15000000.0, 467.0, 15000000.0, 467.0]),
            (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 0.3, [3.0, 8.0, 3.6999999999999997, 7.300000000000001]),
            (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 0.7, [7.0, 4.0, 7.3, 3.7]),
            (&[-1e+308, 1e+308], 0.5, [-1e+308, 1e+308, f64::INFINITY, f64::NEG_INFINITY]),
            (&[-3.5, 5e-324, 0.0], 0.25, [-3.5, 5e-324, -1.75, 5e-324]),
            (&[1.0, f64::INFINITY], 0.5, [1.0, f64::INFINITY, f64::INFINITY, f64::NAN]),
            (&[f64::NEG_INFINITY, 2.0, f64::NAN], 0.75, [f64::NAN, f64::NEG_INFINITY, f64::NAN, f64::NEG_INFINITY]),
            (&[1e+16, 1.0, 3.0], 0.8, [1e+16, 1.0, 6000000000000001.0, 1.7999999999999998]),
        ];
        for (values, fraction, expected) in cases {
            let actual = [
                disc(values, *fraction, Ascending),
                disc(values, *fraction, Descending),
                cont(values, *fraction, Ascending),
                cont(values, *fraction, Descending),
            ];
            let bits = |x: f64| plain(x).to_bits();
            assert_eq!(
                actual.map(|x| bits(x.unwrap())),
                expected.map(bits),
                "{values:?} at {fraction}: {actual:?}, not {expected:?}"
            );
        }
    }

    #[test]
    fn the_median_of_doubles_is_half_of_the_sum() {
        let median = |values: &[f64]| median(&set_of(values), |key| key_to_f64(*key));
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 4.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[7.0, 7.0]), Some(7.0));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::INFINITY));
        assert_eq!(median(&[f64::MAX, f64::MAX, f64::MAX]), Some(f64::MAX));
        assert_eq!(median(&[5e-324, 0.0]), Some(0.0));
        assert!(
            median(&[f64::NEG_INFINITY, f64::INFINITY])
                .unwrap()
                .is_nan()
        );
        // NaN is the greatest.
        assert_eq!(median(&[-f64::NAN, 1.0, 2.0]), Some(2.0));
        assert!(median(&[f64::NAN, 1.0]).unwrap().is_nan());
    }

    #[test]
    fn the_median_of_integers_is_a_double_and_that_of_decimals_is_cut_off() {
        let mut set: OrderedMultiset<i64> = OrderedMultiset::new();
        set.update_all(&mut vec![(1, 1), (2, 1)]);
        assert_eq!(median(&set, |key| *key as f64), Some(1.5));
        assert_eq!(median(&set, |key| *key), Some(1));
        set.update_all(&mut vec![(1, -1), (2, -1), (-1, 1), (-2, 1)]);
        assert_eq!(median(&set, |key| *key), Some(-1));
        for (low, high, middle) in [
            (i64::MAX - 2, i64::MAX, i64::MAX - 1),
            (i64::MAX - 1, i64::MAX, i64::MAX - 1),
            (i64::MIN, i64::MIN + 1, i64::MIN + 1),
            (i64::MIN, i64::MIN + 2, i64::MIN + 1),
            (i64::MIN, i64::MAX, 0),
            (-3, 4, 0),
            (-4, 1, -1),
        ] {
            assert_eq!(i64::middle(low, high), middle, "{low} {high}");
            assert_eq!(i128::middle(low.into(), high.into()), middle.into());
        }
        assert_eq!(i128::middle(i128::MAX, i128::MAX), i128::MAX);
        assert_eq!(f32::middle(1.0, 2.0), 1.5);
        assert_eq!(f32::middle(f32::MAX, f32::MAX), f32::INFINITY);
    }

    #[test]
    fn percentiles_follow_insertions_and_retractions() {
        let mut set = set_of(&[10.0, 20.0, 30.0]);
        let median = |set: &_| percentile_cont(set, 0.5, |key| key_to_f64(*key));
        assert_eq!(median(&set), Some(20.0));
        set.update(f64_to_key(40.0), 1);
        assert_eq!(median(&set), Some(25.0));
        set.update(f64_to_key(10.0), -1);
        set.update(f64_to_key(20.0), -1);
        assert_eq!(median(&set), Some(35.0));
        set.update_all(&mut vec![(f64_to_key(30.0), -1), (f64_to_key(40.0), -1)]);
        assert_eq!(median(&set), None);
    }

    #[test]
    fn keys_order_as_sql_orders_doubles() {
        let ascending = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -f64::MIN_POSITIVE,
            -5e-324,
            0.0,
            5e-324,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(ascending.is_sorted_by(|a, b| f64_to_key(*a) < f64_to_key(*b)));
        assert_eq!(f64_to_key(-0.0), f64_to_key(0.0));
        assert_eq!(f64_to_key(-f64::NAN), f64_to_key(f64::NAN));
        for x in ascending {
            assert_eq!(key_to_f64(f64_to_key(x)).to_bits(), x.to_bits());
        }
        assert!(
            [i64::MIN, -1, 0, 1, i64::MAX].is_sorted_by(|a, b| i64_to_key(*a) < i64_to_key(*b))
        );
    }

    /// Doubles of all sizes, with many that are equal.
    fn doubles() -> impl Strategy<Value = Vec<f64>> {
        let double = prop_oneof![
            (-5..5i32).prop_map(f64::from),
            -1e3..1e3,
            any::<f64>().prop_filter("a number", |x| x.is_finite()),
        ];
        proptest::collection::vec(double, 1..60)
    }

    proptest! {
        #[test]
        fn keys_are_the_doubles(x in any::<f64>(), y in any::<f64>()) {
            let (a, b) = (f64_to_key(x), f64_to_key(y));
            prop_assert_eq!(key_to_f64(a).to_bits(), (x + 0.0).to_bits());
            prop_assert_eq!(Some(a.cmp(&b)), x.partial_cmp(&y));
        }

        #[test]
        fn integer_keys_are_the_integers(x in any::<i64>(), y in any::<i64>()) {
            prop_assert_eq!(key_to_i64(i64_to_key(x)), x);
            prop_assert_eq!(i64_to_key(x).cmp(&i64_to_key(y)), x.cmp(&y));
        }

        #[test]
        fn percentile_disc_is_the_first_value_with_enough_below(values in doubles(), fraction in 0.0..=1.0f64) {
            let n = values.len() as f64;
            let mut values = sorted(&values);
            for direction in [Ascending, Descending] {
                // The definition, by its cumulative distribution; the row number is compared as
                // PostgreSQL does.
                let first = (0..values.len()).find(|i| (i + 1) as f64 >= fraction * n).unwrap();
                prop_assert_eq!(disc(&values, fraction, direction), Some(values[first]));
                values.reverse();
            }
        }

        #[test]
        fn percentile_cont_is_the_formula_over_a_sorted_vector(values in doubles(), fraction in 0.0..=1.0f64) {
            let mut values = sorted(&values);
            for direction in [Ascending, Descending] {
                let position = fraction * (values.len() - 1) as f64;
                let (lo, hi) = (values[position.floor() as usize], values[position.ceil() as usize]);
                let expected = if position == position.floor() { lo } else { lo + (position - position.floor()) * (hi - lo) };
                let actual = cont(&values, fraction, direction).unwrap();
                prop_assert_eq!(actual.to_bits(), plain(expected).to_bits());
                values.reverse();
            }
        }

        #[test]
        fn the_median_is_the_middle_of_a_sorted_vector(values in doubles()) {
            let values = sorted(&values);
            let n = values.len();
            let expected = if n % 2 == 1 { values[n / 2] } else { (values[n / 2 - 1] + values[n / 2]) / 2.0 };
            prop_assert_eq!(median(&set_of(&values), |key| key_to_f64(*key)), Some(expected));
        }

        #[test]
        fn the_middle_of_integers_never_overflows(a in any::<i64>(), b in any::<i64>()) {
            let exact = (i128::from(a) + i128::from(b)) / 2;
            prop_assert_eq!(i128::from(i64::middle(a, b)), exact);
        }
    }
}
