//! The only source of chance in the emulator: SplitMix64, started anew for every question.
//!
//! A generator is opened for (seed, topic, n), never carried from one post to the next. That is
//! what makes post `n` a pure function of (seed, n): any post can be made without its predecessors,
//! on any thread, at any time. Only integer arithmetic is used, so that the bytes are the same on
//! every machine.

/// What a series of numbers is drawn for. Topics never share numbers.
#[derive(Clone, Copy)]
pub(super) enum Topic {
    /// Which poster, category, times and flaws a post has.
    Post = 1,
    /// The words of a pin.
    Pin = 2,
    /// A poster: name, person, place, followers.
    Poster = 3,
    /// What is delayed, re-sent or updated, and when.
    Schedule = 4,
    /// The wire form of one record.
    Wire = 5,
    /// How a broken record is broken.
    Broken = 6,
    /// The new values of an update.
    Update = 7,
    /// The arrangement of poster names.
    Names = 8,
    /// How long to wait before a request is repeated.
    Jitter = 9,
    /// Partition keys without meaning.
    PartitionKey = 10,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters neighbouring
/// numbers.
#[inline]
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64.
#[derive(Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The numbers of topic `topic` for item `n`.
    #[inline]
    pub(super) fn new(seed: u64, topic: Topic, n: u64) -> Self {
        let start = mix(seed.wrapping_add(GOLDEN.wrapping_mul(topic as u64)));
        Self {
            state: mix(start ^ n.wrapping_mul(0xd134_2543_de82_ef95)),
        }
    }

    /// 64 fresh bits.
    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `0..n`; `n` must not be 0. Uniform up to a bias of `n` in 2^32.
    #[inline]
    pub(super) fn below(&mut self, n: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// True in one of `n` cases.
    #[inline]
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// True with the probability of `chance`.
    #[inline]
    pub(super) fn happens(&mut self, chance: Chance) -> bool {
        chance.covers((self.bits() >> 32) as u32)
    }
}

/// A probability as the number of 32-bit words that say yes, so that 0 is never and 1 is always.
#[derive(Clone, Copy)]
pub(super) struct Chance(u64);

impl Chance {
    /// `share` is in `0.0..=1.0`.
    pub(super) fn of(share: f64) -> Self {
        Self((share * 4_294_967_296.0) as u64)
    }

    /// Whether a uniform word says yes.
    #[inline]
    pub(super) fn covers(self, word: u32) -> bool {
        u64::from(word) < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_of_zero_never_and_of_one_always_happens() {
        for word in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(!Chance::of(0.0).covers(word));
            assert!(Chance::of(1.0).covers(word));
        }
    }

    #[test]
    fn topics_and_items_have_numbers_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..1000 {
            for topic in [Topic::Post, Topic::Pin, Topic::Poster, Topic::Wire] {
                let mut random = Random::new(100, topic, n);
                for _ in 0..8 {
                    assert!(seen.insert(random.bits()));
                }
            }
        }
    }

    #[test]
    fn below_is_uniform() {
        let mut counts = [0u32; 10];
        let mut random = Random::new(7, Topic::Post, 0);
        for _ in 0..100_000 {
            counts[random.below(10) as usize] += 1;
        }
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
    }
}
