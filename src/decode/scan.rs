//! Finds where the plain part of a JSON string ends, 64 bytes at a step.
//!
//! The end is the first *special* byte: `"`, `\` or a control byte (below 0x20). There is one
//! scanner for any machine (eight bytes in a word) and one for each vector width of x86-64; the
//! decoder is compiled once per scanner and picks the widest at run time. 64 bytes cover most
//! strings of a record, so that the loop's exit is predicted.

/// How a block is searched.
pub(super) trait Scan {
    /// Where the first special byte of the block is; 64 when there is none.
    fn first_special(block: &[u8; 64]) -> usize;
}

/// The `N` bytes of `text` from `at` on, if there are as many.
#[inline(always)]
pub(super) fn block_at<const N: usize>(text: &[u8], at: usize) -> Option<&[u8; N]> {
    if text.len() < N || at > text.len() - N {
        return None;
    }
    // SAFETY: `at + N` is at most the length, as was just found. (Slicing checks it three times
    // over, which is a tenth of all instructions of the decoder.)
    Some(unsafe { &*text.as_ptr().add(at).cast::<[u8; N]>() })
}

/// Which of sixteen bytes are no decimal digits, as bits, the first byte lowest.
#[inline(always)]
pub(super) fn not_digits(block: &[u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        // SAFETY: SSE2 is part of x86-64, and `block` is 16 readable bytes.
        let digits = unsafe {
            let values = _mm_sub_epi8(
                _mm_loadu_si128(block.as_ptr().cast()),
                _mm_set1_epi8(b'0' as i8),
            );
            _mm_movemask_epi8(_mm_cmpeq_epi8(
                _mm_min_epu8(values, _mm_set1_epi8(9)),
                values,
            ))
        };
        digits as u32 ^ 0xFFFF
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        not_digits_one_by_one(block)
    }
}

/// The same on any machine.
#[cfg_attr(
    target_arch = "x86_64",
    allow(dead_code, reason = "for other machines; tested on all")
)]
fn not_digits_one_by_one(block: &[u8; 16]) -> u32 {
    block.iter().rev().fold(0, |bits, byte| {
        bits << 1 | u32::from(!byte.is_ascii_digit())
    })
}

/// The first special byte of `text` at or after `from`, or the end of `text`.
#[inline(always)]
pub(super) fn plain_end<S: Scan>(text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let Some(block) = block_at::<64>(text, at) else {
            return plain_end_near_the_end(text, at);
        };
        let special = S::first_special(block);
        at += special;
        if special < 64 {
            return at;
        }
    }
}

/// The same where fewer than 64 bytes are left: they are padded with zeros, which are special.
#[cold]
#[inline(never)]
fn plain_end_near_the_end(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let mut block = [0; 64];
    block[..rest.len()].copy_from_slice(rest);
    from + Baseline::first_special(&block).min(rest.len())
}

/// The scanner for code that is compiled once, for any machine of its kind.
#[cfg(target_arch = "x86_64")]
pub(super) type Baseline = Sse2;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Baseline = Words;

/// Eight bytes at a time, on any machine.
#[cfg_attr(
    target_arch = "x86_64",
    allow(dead_code, reason = "for other machines; tested on all")
)]
pub(super) struct Words;

impl Scan for Words {
    #[inline(always)]
    fn first_special(block: &[u8; 64]) -> usize {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
        // The high bit of each zero byte. A byte above a zero byte may be marked falsely, never one
        // below the first.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        for (index, bytes) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*bytes);
            let special = zeros(word ^ (ONES * u64::from(b'"')))
                | zeros(word ^ (ONES * u64::from(b'\\')))
                | (word.wrapping_sub(ONES * 0x20) & !word & HIGH);
            if special != 0 {
                return index * 8 + special.trailing_zeros() as usize / 8;
            }
        }
        64
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{Avx2, Avx512, Sse2};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::Scan;

    /// Sixteen bytes at a time; every x86-64 has it.
    pub struct Sse2;

    /// Thirty-two bytes at a time. Only to be used where the machine has AVX2.
    pub struct Avx2;

    /// Sixty-four bytes at a time. Only to be used where the machine has AVX-512BW.
    pub struct Avx512;

    impl Scan for Sse2 {
        #[inline(always)]
        fn first_special(block: &[u8; 64]) -> usize {
            let mut mask = 0u64;
            for (index, lane) in block.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: SSE2 is part of x86-64, and `lane` is 16 readable bytes.
                let special = unsafe {
                    let bytes = _mm_loadu_si128(lane.as_ptr().cast());
                    let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
                    let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
                    let control = _mm_cmpeq_epi8(
                        _mm_max_epu8(bytes, _mm_set1_epi8(0x1f)),
                        _mm_set1_epi8(0x1f),
                    );
                    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
                };
                mask |= u64::from(special as u16) << (index * 16);
            }
            mask.trailing_zeros() as usize
        }
    }

    impl Scan for Avx2 {
        #[inline(always)]
        fn first_special(block: &[u8; 64]) -> usize {
            let mut mask = 0u64;
            for (index, lane) in block.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: whoever names this scanner has found AVX2, and `lane` is 32 readable
                // bytes.
                let special = unsafe {
                    let bytes = _mm256_loadu_si256(lane.as_ptr().cast());
                    let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
                    let backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
                    let control = _mm256_cmpeq_epi8(
                        _mm256_max_epu8(bytes, _mm256_set1_epi8(0x1f)),
                        _mm256_set1_epi8(0x1f),
                    );
                    _mm256_movemask_epi8(_mm256_or_si256(
                        _mm256_or_si256(quote, backslash),
                        control,
                    ))
                };
                mask |= u64::from(special as u32) << (index * 32);
            }
            mask.trailing_zeros() as usize
        }
    }

    impl Scan for Avx512 {
        #[inline(always)]
        fn first_special(block: &[u8; 64]) -> usize {
            // SAFETY: whoever names this scanner has found AVX-512BW, and `block` is 64 readable
            // bytes.
            let mask = unsafe {
                let bytes = _mm512_loadu_si512(block.as_ptr().cast());
                _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"' as i8))
                    | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\\' as i8))
                    | _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20))
            };
            mask.trailing_zeros() as usize
        }
    }
}
