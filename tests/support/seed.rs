//! How much chance a randomised test tries, and which: `PINFLOW_CASES` and `PINFLOW_SEED`.
//!
//! Case `i` of a test is made from the seed `PINFLOW_SEED + i` and from nothing else, so that
//! `PINFLOW_SEED=<seed of a failure> PINFLOW_CASES=1` repeats exactly that failure.

/// Which cases a test tries.
#[derive(Clone, Copy, Debug)]
pub struct Cases {
    /// The seed of the first case.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

impl Cases {
    /// What the environment asks for; otherwise `count` cases, the same ones each time.
    pub fn or(count: u64) -> Cases {
        Cases {
            first: asked("PINFLOW_SEED").unwrap_or(1),
            count: asked("PINFLOW_CASES").unwrap_or(count),
        }
    }

    /// The seeds of all cases.
    pub fn seeds(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |case| self.first.wrapping_add(case))
    }
}

/// The command that repeats the case of `seed` of the test called `test`.
pub fn again(test: &str, seed: u64) -> String {
    format!("PINFLOW_SEED={seed} PINFLOW_CASES=1 cargo test --release --test main -- {test}")
}

fn asked(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable} is `{text}`: {error}"),
    }
}

/// A stream of numbers that is given by its seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of `seed`; streams of neighbouring seeds have nothing in common.
    pub fn new(seed: u64) -> Chance {
        let mut chance = Chance(seed);
        Chance(chance.next())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// One of `choices`.
    pub fn one<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// True about once in `n` times.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// `length` random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
