//! The random numbers of the original scripts: CPython's `random` module, bit for bit.
//!
//! `random.seed(100)` and the calls that follow decide which rows the original emulators post and
//! how long they sleep. With the same generator their sequences can be played again. This is the
//! Mersenne Twister MT19937 (Matsumoto, Nishimura 1998) with CPython's seeding by an integer and
//! its way from words to numbers; neither has changed since Python 3.2.

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// `random.Random(seed)` for a seed that is an integer, not negative, below 2^64.
#[derive(Clone)]
pub(super) struct PythonRandom {
    state: [u32; WORDS],
    at: usize,
}

impl PythonRandom {
    /// `random.seed(seed)`
    pub(super) fn seeded(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words };
        let mut state = [0u32; WORDS];
        state[0] = 19_650_218;
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        // The key has at most two words, so the state's length decides.
        for _ in 0..WORDS {
            let last = state[i - 1];
            state[i] = (state[i] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            if i == WORDS {
                state[0] = state[WORDS - 1];
                i = 1;
            }
            j = (j + 1) % key.len();
        }
        for _ in 1..WORDS {
            let last = state[i - 1];
            state[i] = (state[i] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(i as u32);
            i += 1;
            if i == WORDS {
                state[0] = state[WORDS - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, at: WORDS }
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let bits = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if bits & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % WORDS] ^ (bits >> 1) ^ twist;
        }
        self.at = 0;
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            self.refill();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `random.getrandbits(bits)` for 1 to 64 bits.
    fn bits(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return u64::from(self.word() >> (32 - bits));
        }
        // The low word comes first.
        let low = u64::from(self.word());
        low | u64::from(self.word() >> (64 - bits)) << 32
    }

    /// `random.randrange(below)`: a number in `0..below`; `below` must not be 0.
    pub(super) fn randrange(&mut self, below: u64) -> u64 {
        let bits = 64 - below.leading_zeros();
        loop {
            let number = self.bits(bits);
            if number < below {
                return number;
            }
        }
    }

    /// `random.randint(0, last)`, the last included; `last` is below `u64::MAX`.
    pub(super) fn randint(&mut self, last: u64) -> u64 {
        self.randrange(last + 1)
    }

    /// `random.random()`
    pub(super) fn random(&mut self) -> f64 {
        let high = f64::from(self.word() >> 5);
        let low = f64::from(self.word() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn it_is_the_mersenne_twister() {
        // From the reference implementation with init_genrand(5489) these would differ; these are
        // random.seed(0); random.getrandbits(32), four times.
        let mut random = PythonRandom::seeded(0);
        let words: Vec<u64> = (0..4).map(|_| random.bits(32)).collect();
        assert_eq!(
            words,
            [3_626_764_237, 1_654_615_998, 3_255_389_356, 3_823_568_514]
        );
    }

    #[test]
    fn it_says_what_python_says() {
        let program = "
import random
for seed in (0, 1, 100, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1):
    random.seed(seed)
    for turn in range(700):
        print(random.randrange(0, 2), random.randint(0, 11000), random.randint(0, 10**12), (random.uniform(0, 2)).hex())
";
        let python = Command::new("python3").args(["-c", program]).output();
        let output = match python {
            Ok(output) if output.status.success() => output.stdout,
            other => {
                let why = other.map_or_else(|error| error.to_string(), |_| "it failed".to_owned());
                eprintln!("NOT COMPARED WITH PYTHON: there is no python3 that runs ({why})");
                return;
            }
        };
        let mut lines = std::str::from_utf8(&output).unwrap().lines();
        for seed in [
            0,
            1,
            100,
            (1 << 32) - 1,
            1 << 32,
            (1 << 63) + 12345,
            u64::MAX,
        ] {
            let mut random = PythonRandom::seeded(seed);
            for turn in 0..700 {
                let line = lines.next().unwrap();
                let mut words = line.split(' ');
                for below in [2, 11_001, 1_000_000_000_001] {
                    let number: u64 = words.next().unwrap().parse().unwrap();
                    assert_eq!(random.randrange(below), number, "seed {seed}, turn {turn}");
                }
                let uniform = 2.0 * random.random();
                assert_eq!(
                    uniform,
                    from_hex(words.next().unwrap()),
                    "seed {seed}, turn {turn}"
                );
            }
        }
        assert_eq!(lines.next(), None);
        eprintln!("compared with python3");
    }

    /// The number that Python's `float.hex` wrote: `0x1.8p+0`.
    fn from_hex(text: &str) -> f64 {
        let (digits, exponent) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
        mantissa as f64 * 2f64.powi(exponent - 4 * fraction.len() as i32)
    }
}
