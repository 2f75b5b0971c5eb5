//! The sum of doubles, exactly, under additions and retractions.
//!
//! Adding doubles one after another rounds each time, so a sum that is maintained by adding and subtracting drifts:
//! after 10²⁰ has come and gone, 1.0 is gone with it. It also depends on the order of additions, hence on the
//! number of workers. So the sum is kept as the integer it is: every finite double is a multiple of 2⁻¹⁰⁷⁴, and so
//! is every sum. Adding is then integer addition, which retraction undoes to the bit, in any order; only reading
//! the sum rounds, once, to the nearest double (ties to even).
//!
//! ```text
//!   limb       0        1     ..     16        17       18     ..     34
//!   weight   2^-1088  2^-1024      2^-64       1       2^64          2^1088    two's complement
//!                                    '---- three limbs ----'
//!                                     are enough most of the time
//! ```
//!
//! The values of one group mostly lie close together: three limbs hold all numbers that are multiples of 2⁻¹²⁸ and
//! below 2⁶³, for one. So a sum owns no heap memory, until its numbers need more than 191 bits between the lowest
//! and the highest; then it takes all 35 limbs (280 bytes), and gives them back when they are no longer needed.
//!
//! Compared with a list of floating-point parts (Shewchuk's, as in Python's `fsum`) this cannot overflow on the way,
//! has no error terms that underflow, and multiplies by a count of any size without a loop.
//!
//! # Invariants
//! 1. `finite` is the exact sum of all finite values times their counts. Its 2240 bits hold 2⁶⁴ changes of the
//!    largest double by the largest count.
//! 2. Infinities and NaNs are counted apart, so that they too can be retracted.

/// The exact sum of doubles.
#[derive(Clone, Debug)]
pub struct ExactSum {
    finite: Finite,
    /// `None` if there are none.
    special: Option<Box<Special>>,
}

/// How many values of each kind that no integer can stand for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Special {
    nan: i64,
    infinity: i64,
    negative_infinity: i64,
}

#[derive(Clone, Debug)]
enum Finite {
    /// The limbs from `base` on. Those below are zero, those above repeat the sign.
    Narrow { limbs: [u64; NARROW], base: u8 },
    /// All limbs.
    Wide(Box<[u64; WIDE]>),
}

const NARROW: usize = 3;
const WIDE: usize = 35;

/// Bits below the binary point.
const FRACTION_BITS: usize = 1088;

/// A finite change on its way into a sum: limbs with their sign in the last, the lowest being limb `at`.
struct Change {
    limbs: [u64; NARROW],
    at: usize,
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum::new()
    }
}

impl ExactSum {
    /// The sum of nothing: 0. It owns no heap memory.
    pub const fn new() -> Self {
        ExactSum {
            finite: Finite::Narrow {
                limbs: [0; NARROW],
                base: (FRACTION_BITS / 64) as u8,
            },
            special: None,
        }
    }

    /// Adds `x` to the sum `diff` times, or takes it away -`diff` times. The cost does not depend on `diff`.
    #[inline]
    pub fn add(&mut self, x: f64, diff: i64) {
        if x.is_finite() {
            if let Some(change) = Change::new(x, diff) {
                self.finite.add(&change);
            }
        } else {
            self.add_special(x, diff);
        }
    }

    #[cold]
    fn add_special(&mut self, x: f64, diff: i64) {
        let special = self.special.get_or_insert_default();
        if x.is_nan() {
            special.nan += diff;
        } else if x > 0.0 {
            special.infinity += diff;
        } else {
            special.negative_infinity += diff;
        }
        if **special == Special::default() {
            self.special = None;
        }
    }

    /// The sum, rounded once to the nearest double, ties to even.
    ///
    /// As in floating-point addition, a NaN or infinities of both signs make it NaN, infinities of one sign make it
    /// that infinity, and a finite sum beyond the largest double is infinite (but it is not forgotten: once enough is
    /// retracted, the sum is finite again). A sum of zero is 0.0, never -0.0.
    pub fn value(&self) -> f64 {
        if let Some(special) = &self.special {
            let (positive, negative) = (special.infinity != 0, special.negative_infinity != 0);
            if special.nan != 0 || positive && negative {
                return f64::NAN;
            }
            return if positive {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            };
        }
        match &self.finite {
            Finite::Narrow { limbs, base } => nearest_double(*limbs, usize::from(*base)),
            Finite::Wide(limbs) => nearest_double(**limbs, 0),
        }
    }

    /// Bytes of heap memory the sum owns.
    pub fn heap_bytes(&self) -> usize {
        let wide = match self.finite {
            Finite::Narrow { .. } => 0,
            Finite::Wide(_) => size_of::<[u64; WIDE]>(),
        };
        wide + self.special.as_ref().map_or(0, |_| size_of::<Special>())
    }
}

impl Change {
    /// `x` times `diff`, if that is not zero; `x` must be finite.
    #[inline]
    fn new(x: f64, diff: i64) -> Option<Change> {
        let bits = x.to_bits();
        let exponent = (bits >> 52) as usize & 0x7ff;
        let fraction = bits & ((1 << 52) - 1);
        // Subnormal numbers have no hidden bit, but the exponent of the smallest normal ones.
        let mantissa = fraction | u64::from(exponent != 0) << 52;
        let lowest_bit = exponent.max(1) + FRACTION_BITS - 1075;
        // 53 by 64 bits: fits, and leaves room for the sign.
        let mut product = i128::from(mantissa) * i128::from(diff);
        if product == 0 {
            return None;
        }
        if x < 0.0 {
            product = -product;
        }
        let shift = lowest_bit % 64;
        let low = product << shift;
        let high = (product >> 64) >> (64 - shift);
        Some(Change {
            limbs: [low as u64, (low >> 64) as u64, high as u64],
            at: lowest_bit / 64,
        })
    }

    /// The limbs as seen from limb `base`, if they are all there and none is cut off.
    #[inline]
    fn seen_from(&self, base: usize) -> Option<[u64; NARROW]> {
        let [a, b, c] = self.limbs;
        match self.at.checked_sub(base)? {
            0 => Some(self.limbs),
            1 if c == sign_of(b) => Some([0, a, b]),
            2 if c == sign_of(a) && b == c => Some([0, 0, a]),
            _ => None,
        }
    }
}

impl Finite {
    #[inline]
    fn add(&mut self, change: &Change) {
        if let Finite::Narrow { limbs, base } = self
            && let Some(change) = change.seen_from(usize::from(*base))
        {
            let mut sum = *limbs;
            add_limbs(&mut sum, &change);
            let (old, new, added) = (limbs[2], sum[2], change[2]);
            let overflow = sign_of((old ^ new) & (added ^ new)) != 0;
            if !overflow {
                *limbs = sum;
                return;
            }
        }
        self.add_widely(change);
    }

    /// Adds with all limbs at hand, then keeps as few as will do.
    #[cold]
    fn add_widely(&mut self, change: &Change) {
        let mut wide = match self {
            Finite::Wide(limbs) => **limbs,
            Finite::Narrow { limbs, base } => extended(*limbs, usize::from(*base)),
        };
        add_limbs(&mut wide, &extended(change.limbs, change.at));
        // The next change probably is like this one, so let its lowest limb be there.
        let lowest = wide.iter().position(|limb| *limb != 0).unwrap_or(WIDE);
        for base in [lowest.min(change.at), lowest.min(WIDE - NARROW)] {
            let (limbs, above) = wide[base..].split_at(NARROW);
            let sign = sign_of(limbs[2]);
            if above.iter().all(|limb| *limb == sign) {
                *self = Finite::Narrow {
                    limbs: [limbs[0], limbs[1], limbs[2]],
                    base: base as u8,
                };
                return;
            }
        }
        match self {
            Finite::Wide(limbs) => **limbs = wide,
            Finite::Narrow { .. } => *self = Finite::Wide(Box::new(wide)),
        }
    }
}

/// All limbs of a two's complement number that begins at limb `base`.
fn extended(limbs: [u64; NARROW], base: usize) -> [u64; WIDE] {
    let mut wide = [sign_of(limbs[NARROW - 1]); WIDE];
    wide[..base].fill(0);
    wide[base..base + NARROW].copy_from_slice(&limbs);
    wide
}

/// All ones if the two's complement number that ends in `limb` is negative, else zero.
#[inline]
fn sign_of(limb: u64) -> u64 {
    (limb.cast_signed() >> 63).cast_unsigned()
}

/// Adds two's complement numbers, modulo their size.
#[inline]
fn add_limbs<const N: usize>(limbs: &mut [u64; N], added: &[u64; N]) {
    let mut carry = false;
    for (limb, added) in limbs.iter_mut().zip(added) {
        let (sum, over) = limb.overflowing_add(*added);
        let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
        *limb = sum;
        carry = over | over_by_carry;
    }
}

/// The double nearest to a two's complement number of which the lowest limb is limb `base`, ties to even.
fn nearest_double<const N: usize>(mut limbs: [u64; N], base: usize) -> f64 {
    let sign = sign_of(limbs[N - 1]);
    if sign != 0 {
        let mut one = [0; N];
        one[0] = 1;
        limbs.iter_mut().for_each(|limb| *limb = !*limb);
        add_limbs(&mut limbs, &one);
    }
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else {
        return 0.0;
    };
    // The 64 bits from the highest one on, and whether any bit is lost with the rest.
    let zeros = limbs[top].leading_zeros();
    let (next, below) = match top.checked_sub(1) {
        Some(next) => (limbs[next], &limbs[..next]),
        None => (0, &[][..]),
    };
    let pair = (u128::from(limbs[top]) << 64 | u128::from(next)) << zeros;
    let leading = (pair >> 64) as u64;
    let rest = pair as u64 != 0 || below.iter().any(|limb| *limb != 0);
    // The highest bit is 2^exponent.
    let exponent = ((base + top) * 64 + 63 - zeros as usize) as i64 - FRACTION_BITS as i64;
    if exponent > 1023 {
        return f64::from_bits(sign << 63 | f64::INFINITY.to_bits());
    }
    // A double has 53 of the bits, a subnormal one fewer. (It is never rounded: no sum has bits below 2^-1074.)
    let dropped = 11 + (-1022 - exponent).max(0);
    let mut mantissa = leading >> dropped;
    let half = leading >> (dropped - 1) & 1 != 0;
    let above_half = rest || leading & ((1 << (dropped - 1)) - 1) != 0;
    if half && (above_half || mantissa & 1 != 0) {
        mantissa += 1;
    }
    // The hidden bit, where there is one, is added to the exponent one below its own. If rounding has carried into
    // the next power of two, that comes out right too, up to infinity.
    let exponent_below = (exponent + 1022).max(0).cast_unsigned();
    f64::from_bits(sign << 63 | ((exponent_below << 52) + mantissa))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn sum(values: &[(f64, i64)]) -> ExactSum {
        let mut sum = ExactSum::new();
        for (x, diff) in values {
            sum.add(*x, *diff);
        }
        sum
    }

    fn total(values: &[f64]) -> f64 {
        sum(&values.iter().map(|x| (*x, 1)).collect::<Vec<_>>()).value()
    }

    /// An integer by schoolbook: sign and magnitude in base 10⁹, so that it shares nothing with the limbs above.
    #[derive(Clone, Debug, PartialEq)]
    struct Integer {
        negative: bool,
        /// Lowest first, no zeros at the end; zero is empty and not negative.
        digits: Vec<u32>,
    }

    const BASE: u64 = 1_000_000_000;

    impl Integer {
        fn new(negative: bool, mut digits: Vec<u32>) -> Integer {
            while digits.last() == Some(&0) {
                digits.pop();
            }
            Integer {
                negative: negative && !digits.is_empty(),
                digits,
            }
        }

        fn from(mut n: u64) -> Integer {
            let mut digits = Vec::new();
            while n > 0 {
                digits.push((n % BASE) as u32);
                n /= BASE;
            }
            Integer::new(false, digits)
        }

        fn times(mut self, factor: u32) -> Integer {
            let mut carry = 0;
            for digit in &mut self.digits {
                let n = u64::from(*digit) * u64::from(factor) + carry;
                *digit = (n % BASE) as u32;
                carry = n / BASE;
            }
            self.digits.extend(Integer::from(carry).digits);
            Integer::new(self.negative, self.digits)
        }

        fn shifted(mut self, bits: u32) -> Integer {
            for _ in 0..bits / 31 {
                self = self.times(1 << 31);
            }
            self.times(1 << (bits % 31))
        }

        fn negated(self) -> Integer {
            Integer::new(!self.negative, self.digits)
        }

        fn cmp_magnitude(&self, other: &Integer) -> Ordering {
            let lengths = self.digits.len().cmp(&other.digits.len());
            lengths.then_with(|| self.digits.iter().rev().cmp(other.digits.iter().rev()))
        }

        fn plus(&self, other: &Integer) -> Integer {
            if self.cmp_magnitude(other).is_lt() {
                return other.plus(self);
            }
            let sign = if self.negative == other.negative {
                1
            } else {
                -1
            };
            let mut carry = 0;
            let mut digits = Vec::new();
            for (i, digit) in self.digits.iter().enumerate() {
                let n = i64::from(*digit)
                    + sign * i64::from(*other.digits.get(i).unwrap_or(&0))
                    + carry;
                digits.push(n.rem_euclid(BASE as i64) as u32);
                carry = n.div_euclid(BASE as i64);
            }
            digits.push(carry as u32);
            Integer::new(self.negative, digits)
        }

        /// `x` in units of 2⁻¹⁰⁷⁵, so that the middle between two doubles is an integer too.
        fn of_double(x: f64) -> Integer {
            let bits = x.abs().to_bits();
            let (exponent, fraction) = ((bits >> 52) as u32, bits & ((1 << 52) - 1));
            let magnitude = match exponent {
                0 => Integer::from(fraction).shifted(1),
                _ => Integer::from(fraction + (1 << 52)).shifted(exponent),
            };
            if x < 0.0 {
                magnitude.negated()
            } else {
                magnitude
            }
        }

        fn of_change(x: f64, diff: i64) -> Integer {
            let magnitude = diff.unsigned_abs();
            let (high, low) = ((magnitude >> 32) as u32, magnitude as u32);
            let x = Integer::of_double(x);
            let product = x.clone().times(high).shifted(32).plus(&x.times(low));
            if diff < 0 { product.negated() } else { product }
        }
    }

    /// Asserts that `value` is the double nearest to `exact`, the even one of two.
    fn assert_nearest(value: f64, exact: &Integer) {
        let magnitude = Integer::new(false, exact.digits.clone());
        let x = value.abs();
        assert_eq!(value.is_sign_negative(), exact.negative);
        // What is finite is below the middle of the largest double and 2^1024.
        let infinite = Integer::from((1 << 54) - 1).shifted(2045);
        if x.is_infinite() {
            assert!(magnitude.cmp_magnitude(&infinite).is_ge());
            return;
        }
        let twice = magnitude.clone().times(2);
        let even = x.to_bits() & 1 == 0;
        let inside = |distance: Ordering| distance.is_lt() || distance.is_eq() && even;
        if x == f64::MAX {
            assert!(magnitude.cmp_magnitude(&infinite).is_lt());
        } else {
            let above = Integer::of_double(x).plus(&Integer::of_double(x.next_up()));
            assert!(inside(twice.cmp_magnitude(&above)), "{value} is too low");
        }
        if x > 0.0 {
            let below = Integer::of_double(x).plus(&Integer::of_double(x.next_down()));
            assert!(inside(below.cmp_magnitude(&twice)), "{value} is too high");
        }
    }

    #[test]
    fn the_sum_of_nothing_is_zero_and_owns_nothing() {
        assert_eq!(ExactSum::new().value().to_bits(), 0.0f64.to_bits());
        assert_eq!(ExactSum::new().heap_bytes(), 0);
        assert_eq!(size_of::<ExactSum>(), 40);
        assert_eq!(total(&[-0.0, -0.0]).to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn ten_tenths_are_one() {
        assert_eq!(total(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[(0.1, 10)]).value(), 1.0);
        assert_eq!(total(&[0.1, 0.2, 0.3]), 0.6);
        assert_eq!(total(&[1e16, 1.0, 1e-16]), 1e16 + 2.0);
    }

    #[test]
    fn what_came_and_went_leaves_no_trace() {
        let mut sum = sum(&[(1.0, 1), (0.1, 3)]);
        for x in [1e20, 1e300, 5e-324, f64::MAX, -1.5e-200] {
            let before = sum.value();
            sum.add(x, 7);
            assert_ne!(sum.heap_bytes() == 0, x != 1e20);
            sum.add(x, -7);
            assert_eq!(sum.value(), before);
            assert_eq!(sum.heap_bytes(), 0);
        }
        sum.add(0.1, -3);
        assert_eq!(sum.value(), 1.0);
        sum.add(1.0, -1);
        assert_eq!(sum.value(), 0.0);
    }

    #[test]
    fn an_overflow_is_infinite_until_it_is_retracted() {
        let mut sum = sum(&[(f64::MAX, 2), (1.0, 1)]);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::MAX, -1);
        assert_eq!(sum.value(), f64::MAX);
        sum.add(f64::MAX, i64::MIN);
        assert_eq!(sum.value(), f64::NEG_INFINITY);
        sum.add(f64::MAX, i64::MAX);
        assert_eq!(sum.value(), 1.0);
        // Half of the last place above the largest double is the first that overflows.
        let half = 2f64.powi(970);
        assert_eq!(total(&[f64::MAX, half]), f64::INFINITY);
        assert_eq!(total(&[f64::MAX, half.next_down()]), f64::MAX);
        assert_eq!(total(&[f64::MAX, half, -5e-324]), f64::MAX);
    }

    #[test]
    fn infinities_and_nans_can_be_retracted() {
        const INFINITY: f64 = f64::INFINITY;
        let mut sum = sum(&[(2.5, 1), (INFINITY, 2)]);
        assert_eq!(sum.value(), INFINITY);
        sum.add(-INFINITY, 1);
        assert!(sum.value().is_nan());
        sum.add(INFINITY, -2);
        assert_eq!(sum.value(), -INFINITY);
        sum.add(f64::NAN, 1);
        assert!(sum.value().is_nan());
        sum.add(-INFINITY, -1);
        assert!(sum.value().is_nan());
        sum.add(-f64::NAN, -1);
        assert_eq!(sum.value(), 2.5);
        assert_eq!(sum.heap_bytes(), 0);
        sum.add(f64::NAN, 0);
        assert_eq!(sum.value(), 2.5);
    }

    #[test]
    fn ties_go_to_the_even_double() {
        let ulp = 2f64.powi(-52);
        assert_eq!(total(&[1.0, ulp / 2.0]), 1.0);
        assert_eq!(total(&[1.0, ulp / 2.0, 5e-324]), 1.0 + ulp);
        assert_eq!(total(&[1.0 + ulp, ulp / 2.0]), 1.0 + 2.0 * ulp);
        assert_eq!(total(&[1.0 + ulp, ulp / 2.0, -5e-324]), 1.0 + ulp);
        assert_eq!(total(&[-1.0, -ulp / 2.0, -5e-324]), -1.0 - ulp);
        assert_eq!(total(&[2.0 - ulp, ulp / 2.0]), 2.0);
        assert_eq!(total(&[5e-324, 5e-324]), 1e-323);
        assert_eq!(
            total(&[f64::MIN_POSITIVE, -5e-324]),
            f64::MIN_POSITIVE.next_down()
        );
    }

    #[test]
    fn a_sum_may_outgrow_its_limbs() {
        for (small, sign) in [(0.1, 1.0), (0.1, -1.0), (-0.1, 1.0), (3e-50, -1.0)] {
            let mut sum = ExactSum::new();
            let mut exact = Integer::from(0);
            let large = (0..200).map(|power| sign * 2f64.powi(power));
            for x in [small].into_iter().chain(large) {
                for diff in [1, 2, 1] {
                    sum.add(x, diff);
                    exact = exact.plus(&Integer::of_change(x, diff));
                    assert_nearest(sum.value(), &exact);
                }
            }
        }
    }

    #[test]
    fn everyday_numbers_stay_off_the_heap() {
        let mut sum = ExactSum::new();
        for i in 0..100_000 {
            for x in [89.978_7, 1e-9, 15e6, -173.293, f64::from(i) / 7.0] {
                sum.add(x, 1 + i64::from(i) % 3);
                assert_eq!(sum.heap_bytes(), 0);
            }
        }
    }

    /// Doubles in which magnitudes meet that cancel, tie, overflow and underflow.
    fn change() -> impl Strategy<Value = (f64, i64)> {
        let double = prop_oneof![
            4 => any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
            4 => (-1_000_000i32..1_000_000).prop_map(|x| f64::from(x) / 100.0),
            2 => (-1074..1024i32, any::<bool>()).prop_map(|(e, negative)| {
                let power = 2f64.powi(e / 2) * 2f64.powi(e - e / 2);
                if negative { -power } else { power }
            }),
            2 => -1e3..1e3,
            1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(5e-324), Just(f64::MIN_POSITIVE), Just(0.0)],
        ];
        let diff =
            prop_oneof![6 => -3..4i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        (double, diff)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_value_is_the_double_nearest_to_the_exact_sum(changes in proptest::collection::vec(change(), 0..12)) {
            let mut sum = ExactSum::new();
            let mut exact = Integer::from(0);
            for (x, diff) in changes {
                sum.add(x, diff);
                exact = exact.plus(&Integer::of_change(x, diff));
                assert_nearest(sum.value(), &exact);
            }
        }

        #[test]
        fn neighbours_of_a_number_cancel_and_tie(
            centre in any::<f64>().prop_filter("finite", |x| x.is_finite()),
            changes in proptest::collection::vec((-3..4i32, -60..5i32, -2..3i64), 0..12),
        ) {
            let mut sum = ExactSum::new();
            let mut exact = Integer::from(0);
            for (ulps, scale, diff) in changes {
                let near = f64::from_bits(centre.to_bits().wrapping_add_signed(ulps.into()));
                let x = near * 2f64.powi(scale);
                if x.is_finite() {
                    sum.add(x, diff);
                    exact = exact.plus(&Integer::of_change(x, diff));
                    assert_nearest(sum.value(), &exact);
                }
            }
        }

        #[test]
        fn neither_order_nor_retracted_values_matter(
            kept in proptest::collection::vec(change(), 0..20),
            gone in proptest::collection::vec(change(), 0..20),
            seed in any::<u64>(),
        ) {
            let mut history = kept.clone();
            for (x, diff) in gone {
                history.push((x, diff));
                // -i64::MIN is no i64: take it back in two steps.
                history.extend([(x, -(diff / 2)), (x, -(diff - diff / 2))]);
            }
            history.sort_by_key(|(x, diff)| (x.to_bits() ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ *diff as u64);
            prop_assert_eq!(sum(&history).value().to_bits(), sum(&kept).value().to_bits());
        }

        #[test]
        fn cents_are_exact(cents in proptest::collection::vec((-1_000_000_000..1_000_000_000i64, -5..6i64), 0..200)) {
            // Multiples of 1/64 below 2^47: their sum in doubles would be exact anyway, so it can be compared.
            let exact: i64 = cents.iter().map(|(n, diff)| n * diff).sum();
            let changes: Vec<_> = cents.iter().map(|(n, diff)| (*n as f64 / 64.0, *diff)).collect();
            prop_assert_eq!(sum(&changes).value(), exact as f64 / 64.0);
        }
    }
}
