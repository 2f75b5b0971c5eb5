//! Against integers of any size, and the cases that doubles are known for.

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

/// An integer by schoolbook: sign and magnitude in base 10⁹, so that it shares nothing with the
/// limbs above.
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
            let n =
                i64::from(*digit) + sign * i64::from(*other.digits.get(i).unwrap_or(&0)) + carry;
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
        // Multiples of 1/64 below 2^47: their sum in doubles would be exact anyway, so it can be
        // compared.
        let exact: i64 = cents.iter().map(|(n, diff)| n * diff).sum();
        let changes: Vec<_> = cents.iter().map(|(n, diff)| (*n as f64 / 64.0, *diff)).collect();
        prop_assert_eq!(sum(&changes).value(), exact as f64 / 64.0);
    }
}
