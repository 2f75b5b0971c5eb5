//! Damage: what turns good input into input that nobody meant.

use crate::support::seed::Chance;

/// Pieces that mean something to some reader.
const WORDS: [&[u8]; 40] = [
    b"\"",
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b",",
    b":",
    b";",
    b"%",
    b"&",
    b"=",
    b"?",
    b"/",
    b"@",
    b"#",
    b"+",
    b"-",
    b"*",
    b".",
    b"\0",
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"%00",
    b"%",
    b"%ff%fe",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"1e999",
    b"-9223372036854775808",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
];

/// Numbers at the ends of types, and beyond them.
pub const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "-1",
    "1",
    "127",
    "128",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "1e308",
    "1e309",
    "-1e-400",
    "0.1e1",
    "00000000000000000000000000000000001",
];

/// A few edits of `bytes`: cut, repeated, swapped, flipped, nested, blown up.
pub fn damage(chance: &mut Chance, bytes: &mut Vec<u8>) {
    for _ in 0..1 + chance.below(4) {
        edit(chance, bytes);
    }
}

fn edit(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let begin = chance.below(bytes.len() + 1);
    let most = *chance.one(&[1, 2, 8, 64, usize::MAX]);
    let end = begin + chance.below((bytes.len() - begin).min(most - 1) + 1);
    match chance.below(12) {
        0 => bytes.truncate(begin),
        1 => drop(bytes.drain(begin..end)),
        2 => {
            let times = *chance.one(&[1, 1, 2, 40]);
            let again = bytes[begin..end].repeat(times.min(20_000 / (end - begin).max(1)));
            insert(bytes, begin, &again);
        }
        3 if begin < bytes.len() => bytes[begin] ^= 1 << chance.below(8),
        4 if begin < bytes.len() => bytes[begin] = chance.next() as u8,
        5 => bytes[begin..end].reverse(),
        6 => {
            let more = chance.below(6);
            let more = chance.bytes(more);
            insert(bytes, begin, &more);
        }
        7 => number(chance, bytes, begin),
        8 => {
            let piece = bytes[begin..end].to_vec();
            let to = chance.below(bytes.len() + 1);
            insert(bytes, to, &piece);
        }
        9 if chance.rarely(4) => {
            let piece =
                *chance.one(&[b"[" as &[u8], b"{\"a\":", b"(", b"a", b" ", b"\\\"", b"%41"]);
            let times = *chance.one(&[60, 300, 3000]);
            insert(bytes, begin, &piece.repeat(times));
        }
        _ => {
            let word = *chance.one(&WORDS);
            insert(bytes, begin, word);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Puts another number in the place of the first one behind `from`.
fn number(chance: &mut Chance, bytes: &mut Vec<u8>, from: usize) {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let Some(at) = bytes[from..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let (at, length) = (from + at, digits(&bytes[from + at..]));
    let number = chance.one(&NUMBERS).bytes();
    bytes.splice(at..at + length, number);
}

/// Bytes as a message shows them, shortened.
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 1500;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    match bytes.len() {
        length if length > MOST => format!("{text}.. ({length} bytes)"),
        _ => text,
    }
}
