//! The texts of a pin: title, description, tags, all composed from the vocabulary.

use crate::emulator::random::Random;
use crate::emulator::vocabulary::{CategoryWords, Vocabulary};

/// Descriptions are cut at this many characters; a cut one ends in an ellipsis and a no-break
/// space.
const LONGEST_DESCRIPTION: usize = 180;

/// Tags of nearly every pin.
const TAGS: u32 = 9;

/// Appends a title, about 50 characters; one in ten goes beyond ASCII, one in 250 has a line break.
pub(super) fn write_title(
    words: &Vocabulary,
    category: &CategoryWords,
    random: &mut Random,
    out: &mut Vec<u8>,
) {
    match random.below(100) {
        0..9 => out.extend_from_slice(words.world_openings.pick(random)),
        9..45 => {
            let count = 3 + random.below(99);
            out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
            out.push(b' ');
            out.extend_from_slice(words.counted_openings.pick(random));
        }
        _ => out.extend_from_slice(words.openings.pick(random)),
    }
    out.push(b' ');
    out.extend_from_slice(category.titled.pick(random));
    if random.one_in(250) {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(words.title_endings.pick(random));
}

/// Appends a description, about 130 characters; a third of them is cut.
pub(super) fn write_description(
    words: &Vocabulary,
    category: &CategoryWords,
    random: &mut Random,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(words.description_openings.pick(random));
    out.push(b' ');
    out.extend_from_slice(category.subjects.pick(random));
    out.extend_from_slice(words.description_middles.pick(random));
    if random.below(100) < 37 {
        let sentences = words.description_sentences.len();
        let mut at = random.below(sentences);
        // Steps that do not divide the number of sentences, so that none is said twice.
        let step = [5, 7, 11, 13][random.below(4) as usize];
        while out.len() - start < LONGEST_DESCRIPTION + 24 {
            out.extend_from_slice(words.description_sentences.get(at));
            at = (at + step) % sentences;
        }
    } else if random.one_in(2) {
        out.extend_from_slice(words.description_sentences.pick(random));
    }
    match random.below(100) {
        0..12 => out.extend_from_slice(words.world_sentences.pick(random)),
        12..20 => out.extend_from_slice(words.hash_tags.pick(random)),
        _ => {}
    }
    if out.len() - start > LONGEST_DESCRIPTION {
        cut(start, out);
    }
}

/// Cuts the description that begins at `start` like the source does, in the middle of a word.
/// Escapes count as two characters, which only makes the text shorter; they stand so early that
/// none is cut apart.
fn cut(start: usize, out: &mut Vec<u8>) {
    let keep = LONGEST_DESCRIPTION - 2;
    let mut characters = 0;
    let mut end = None;
    for (at, byte) in out[start..].iter().enumerate() {
        if byte & 0xc0 != 0x80 {
            if characters == keep {
                end = Some(start + at);
            }
            characters += 1;
        }
    }
    if characters > LONGEST_DESCRIPTION
        && let Some(end) = end
    {
        out.truncate(end);
        out.extend_from_slice("…\u{a0}".as_bytes());
    }
}

/// Appends nine tags between commas, rarely fewer; with `hashed`, two of three begin with `#`.
pub(super) fn write_tags(
    category: &CategoryWords,
    hashed: bool,
    random: &mut Random,
    out: &mut Vec<u8>,
) {
    let tags = if random.one_in(500) { 3 } else { TAGS };
    // Each tag comes from the tags of another remainder, so that none occurs twice.
    let (first, rows) = (random.below(TAGS), category.tags.len() / TAGS);
    for at in 0..tags {
        if at > 0 {
            out.push(b',');
        }
        if hashed && at % 3 != 2 {
            out.push(b'#');
        }
        let column = (first + at) % TAGS;
        out.extend_from_slice(category.tags.get(column + TAGS * random.below(rows)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::random::Topic;
    use crate::emulator::vocabulary::vocabulary;

    fn descriptions() -> impl Iterator<Item = String> {
        (0..20_000).map(|n| {
            let words = vocabulary();
            let mut out = Vec::new();
            let mut random = Random::new(100, Topic::Pin, n);
            write_description(
                words,
                &words.categories[n as usize % 13],
                &mut random,
                &mut out,
            );
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn a_third_of_the_descriptions_is_cut_at_180_characters() {
        let mut cut = 0;
        for text in descriptions() {
            assert!(text.chars().count() <= LONGEST_DESCRIPTION, "{text}");
            if text.ends_with("…\u{a0}") {
                assert_eq!(text.chars().count(), LONGEST_DESCRIPTION);
                cut += 1;
            }
        }
        assert!((6_000..8_500).contains(&cut), "{cut}");
    }

    #[test]
    fn texts_are_nearly_all_different() {
        let all: Vec<String> = descriptions().collect();
        let distinct: std::collections::HashSet<&String> = all.iter().collect();
        assert!(distinct.len() > all.len() * 9 / 10, "{}", distinct.len());
    }

    #[test]
    fn there_are_nine_different_tags() {
        let mut out = Vec::new();
        let words = vocabulary();
        write_tags(
            &words.categories[0],
            false,
            &mut Random::new(1, Topic::Pin, 1),
            &mut out,
        );
        let tags: std::collections::HashSet<&[u8]> = out.split(|&c| c == b',').collect();
        assert_eq!(tags.len(), 9);
        assert!(!out.contains(&b'#'));
    }
}
