//! Numbers in as few bytes as they need: seven bits a byte, the lowest first; the last byte has its
//! highest bit clear (LEB128, as in DWARF 5, section 7.6).

/// The most bytes a number takes.
pub const BYTES_MAX: usize = 10;

/// Appends a number.
#[inline]
pub fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Writes a number to the front of `bytes`, which has room for it; returns how many bytes it took.
#[inline]
pub fn write(bytes: &mut [u8], mut number: u64) -> usize {
    let mut at = 0;
    while number >= 0x80 {
        bytes[at] = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    bytes[at] = number as u8;
    at + 1
}

/// Takes the number off that `bytes` begin with.
#[inline]
pub fn take(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

/// Numbers of either sign, such that small ones are small without a sign too.
#[inline]
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// What [`zigzag`] was given.
#[inline]
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_order() {
        let numbers = [0, 1, 127, 128, 300, 1 << 35, u64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|&number| put(&mut bytes, number));
        let mut rest = bytes.as_slice();
        assert_eq!(numbers.map(|_| take(&mut rest)), numbers);
        assert!(rest.is_empty());
        assert_eq!(bytes[..3], [0, 1, 127]);
        for number in numbers {
            let (mut put_bytes, mut written) = (Vec::new(), [0; BYTES_MAX]);
            put(&mut put_bytes, number);
            let length = write(&mut written, number);
            assert_eq!(written[..length], put_bytes);
        }
    }

    #[test]
    fn small_numbers_of_either_sign_are_small() {
        for number in [0, -1, 1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
    }
}
