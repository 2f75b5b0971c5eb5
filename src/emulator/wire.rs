//! The forms one and the same record can take on its way: what producers and gateways do to JSON.

use crate::emulator::Stream;
use crate::emulator::dates::DateForm;
use crate::emulator::random::{Chance, Random, Topic};

/// How the object is dressed after it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    /// Compact, as it is.
    Plain,
    /// `[{..}]`
    Wrapped,
    /// `[ {..} ]`
    WrappedLoosely,
    /// `{"a": 1, "b": 2}`
    Spaced,
    /// Everything beyond ASCII as `\uXXXX`, pairs of surrogates included.
    Escaped,
}

/// The wire form of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) dates: DateForm,
    /// Numbers are strings: `"index":"12"`.
    pub(super) quoted: bool,
    pub(super) dress: Dress,
}

impl Wire {
    /// What nearly all records look like.
    pub(super) const CANONICAL: Self = Self {
        dates: DateForm::Space,
        quoted: false,
        dress: Dress::Plain,
    };

    /// The form of the record of `stream` of post `index`: one in four dates has a `T`; a share of
    /// `variants` is uncommon.
    pub(super) fn of(seed: u64, variants: Chance, stream: Stream, index: u64) -> Self {
        let item = index.wrapping_mul(4).wrapping_add(stream as u64);
        let mut random = Random::new(seed, Topic::Wire, item);
        let mut wire = Self::CANONICAL;
        let bits = random.bits();
        if bits & 3 == 0 {
            wire.dates = DateForm::Iso;
        }
        if !variants.covers((bits >> 32) as u32) {
            return wire;
        }
        match random.below(6) {
            0 => wire.quoted = true,
            1 => wire.dress = Dress::Wrapped,
            2 => wire.dress = Dress::WrappedLoosely,
            3 => wire.dress = Dress::Spaced,
            // A pin has no dates; a geo or user record has only ASCII.
            _ if stream == Stream::Pin => wire.dress = Dress::Escaped,
            4 => wire.dates = DateForm::Colons,
            _ => wire.dates = DateForm::Slashes,
        }
        wire
    }
}

/// Appends `record`, a compact JSON object, in `dress`.
pub(super) fn write_dressed(record: &[u8], dress: Dress, out: &mut Vec<u8>) {
    match dress {
        Dress::Plain => out.extend_from_slice(record),
        Dress::Wrapped => {
            out.push(b'[');
            out.extend_from_slice(record);
            out.push(b']');
        }
        Dress::WrappedLoosely => {
            out.extend_from_slice(b"[ ");
            out.extend_from_slice(record);
            out.extend_from_slice(b" ]");
        }
        Dress::Spaced => write_spaced(record, out),
        Dress::Escaped => write_escaped(record, out),
    }
}

fn write_spaced(record: &[u8], out: &mut Vec<u8>) {
    let (mut inside, mut escaped) = (false, false);
    for &byte in record {
        out.push(byte);
        if escaped {
            escaped = false;
        } else if inside && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            inside = !inside;
        } else if !inside && matches!(byte, b':' | b',') {
            out.push(b' ');
        }
    }
}

fn write_escaped(record: &[u8], out: &mut Vec<u8>) {
    for part in record.utf8_chunks() {
        for character in part.valid().chars() {
            if character.is_ascii() {
                out.push(character as u8);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                out.extend(unit.to_be_bytes().iter().flat_map(|&byte| hex(byte)));
            }
        }
    }
}

/// Two small hexadecimal digits.
#[inline]
pub(super) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dressed(record: &str, dress: Dress) -> String {
        let mut out = Vec::new();
        write_dressed(record.as_bytes(), dress, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spaces_stand_between_tokens_and_not_inside_strings() {
        let record = r#"{"a":"b:\",c","d":1}"#;
        assert_eq!(dressed(record, Dress::Spaced), r#"{"a": "b:\",c", "d": 1}"#);
    }

    #[test]
    fn signs_beyond_ascii_become_escapes_and_pairs_of_surrogates() {
        assert_eq!(
            dressed("{\"a\":\"é😀\"}", Dress::Escaped),
            r#"{"a":"\u00e9\ud83d\ude00"}"#
        );
    }

    #[test]
    fn an_array_may_hold_the_object() {
        assert_eq!(dressed("{}", Dress::Wrapped), "[{}]");
        assert_eq!(dressed("{}", Dress::WrappedLoosely), "[ {} ]");
    }

    #[test]
    fn without_variants_only_the_two_common_date_forms_remain() {
        for index in 0..5_000 {
            let wire = Wire::of(1, Chance::of(0.0), Stream::Geo, index);
            assert!(matches!(wire.dates, DateForm::Space | DateForm::Iso));
            assert!(!wire.quoted && wire.dress == Dress::Plain);
        }
    }
}
