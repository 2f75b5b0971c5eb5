//! The sum of doubles, exactly, under additions and retractions.
//!
//! Adding doubles one after another rounds each time, so a sum that is maintained by adding and
//! subtracting drifts: after 10²⁰ has come and gone, 1.0 is gone with it. It also depends on the
//! order of additions, hence on the number of workers. So the sum is kept as the integer it is:
//! every finite double is a multiple of 2⁻¹⁰⁷⁴, and so is every sum. Adding is then integer
//! addition, which retraction undoes to the bit, in any order; only reading the sum rounds, once,
//! to the nearest double (ties to even).
//!
//! ```text
//!   limb       0        1     ..     16        17       18     ..     34
//!   weight   2^-1088  2^-1024      2^-64       1       2^64          2^1088    two's complement
//!                                    '---- three limbs ----'
//!                                     are enough most of the time
//! ```
//!
//! The values of one group mostly lie close together: three limbs hold all numbers that are
//! multiples of 2⁻¹²⁸ and below 2⁶³, for one. So a sum owns no heap memory, until its numbers need
//! more than 191 bits between the lowest and the highest; then it takes all 35 limbs (280 bytes),
//! and gives them back when they are no longer needed.
//!
//! Compared with a list of floating-point parts (Shewchuk's, as in Python's `fsum`) this cannot
//! overflow on the way, has no error terms that underflow, and multiplies by a count of any size
//! without a loop.
//!
//! # Invariants
//! 1. `finite` is the exact sum of all finite values times their counts. Its 2240 bits hold 2⁶⁴
//!    changes of the largest double by the largest count.
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

/// A finite change on its way into a sum: limbs with their sign in the last, the lowest being limb
/// `at`.
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

    /// Adds `x` to the sum `diff` times, or takes it away -`diff` times. The cost does not depend
    /// on `diff`.
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
    /// As in floating-point addition, a NaN or infinities of both signs make it NaN, infinities of
    /// one sign make it that infinity, and a finite sum beyond the largest double is infinite (but
    /// it is not forgotten: once enough is retracted, the sum is finite again). A sum of zero is
    /// 0.0, never -0.0.
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

/// The double nearest to a two's complement number of which the lowest limb is limb `base`, ties to
/// even.
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
    // A double has 53 of the bits, a subnormal one fewer. (It is never rounded: no sum has bits
    // below 2^-1074.)
    let dropped = 11 + (-1022 - exponent).max(0);
    let mut mantissa = leading >> dropped;
    let half = leading >> (dropped - 1) & 1 != 0;
    let above_half = rest || leading & ((1 << (dropped - 1)) - 1) != 0;
    if half && (above_half || mantissa & 1 != 0) {
        mantissa += 1;
    }
    // The hidden bit, where there is one, is added to the exponent one below its own. If rounding
    // has carried into the next power of two, that comes out right too, up to infinity.
    let exponent_below = (exponent + 1022).max(0).cast_unsigned();
    f64::from_bits(sign << 63 | ((exponent_below << 52) + mantissa))
}

#[cfg(test)]
mod tests;
