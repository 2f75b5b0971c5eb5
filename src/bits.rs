//! A growing set of small numbers, one bit each.

/// A bitmap that also knows how many bits are set.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
    ones: usize,
}

impl Bits {
    /// Makes room for `len` bits; new ones are clear.
    pub fn resize(&mut self, len: usize) {
        self.words.resize(len.div_ceil(64), 0);
    }

    /// Whether bit `index` is set; it must be within the size.
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Sets or clears bit `index`, and returns what it was.
    #[inline]
    pub fn set(&mut self, index: usize, value: bool) -> bool {
        let word = &mut self.words[index / 64];
        let mask = 1u64 << (index % 64);
        let before = *word & mask != 0;
        if before != value {
            *word ^= mask;
            if value {
                self.ones += 1;
            } else {
                self.ones -= 1;
            }
        }
        before
    }

    /// Whether no bit is set.
    pub fn none(&self) -> bool {
        self.ones == 0
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        self.ones
    }

    /// The number of bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}
