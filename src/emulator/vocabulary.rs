//! The word lists made ready for writing: escaped for JSON once, laid out for cheap random picks.

use std::sync::LazyLock;

use crate::emulator::random::Random;
use crate::emulator::words;

/// Texts back to back, already escaped: what is picked is copied into a JSON string as it is.
pub(super) struct Pool {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Pool {
    fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for text in texts {
            escape(text.as_ref(), &mut bytes);
            ends.push(bytes.len() as u32);
        }
        Self { bytes, ends }
    }

    /// Texts between separators; line breaks of the source count as blanks.
    fn split(list: &str, separator: char) -> Self {
        let texts = list.split(separator);
        Self::new(texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    fn words(list: &str) -> Self {
        Self::new(list.split_whitespace())
    }

    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32 - 1
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        &self.bytes[self.ends[at] as usize..self.ends[at + 1] as usize]
    }

    #[inline]
    pub(super) fn pick(&self, random: &mut Random) -> &[u8] {
        self.get(random.below(self.len()))
    }
}

/// Appends `text` as the inside of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(byte),
        }
    }
}

/// The words of one category.
pub(super) struct CategoryWords {
    /// Subjects as in a title: `Linocut Prints`.
    pub(super) titled: Pool,
    /// Subjects as in a sentence: `linocut prints`.
    pub(super) subjects: Pool,
    /// `Linocut Prints`, `Easy Prints`, `Prints Ideas`, ..
    pub(super) tags: Pool,
    /// The end of a pin, after the value of `downloaded`.
    pub(super) tail: Vec<u8>,
}

impl CategoryWords {
    fn new(category: &words::Category) -> Self {
        let subjects = Pool::split(category.subjects, ',');
        let titled: Vec<String> = (0..subjects.len())
            .map(|at| title_case(&String::from_utf8_lossy(subjects.get(at))))
            .collect();
        let tags = titled.iter().flat_map(|subject| {
            let last = subject.rsplit(' ').next().unwrap_or(subject);
            let before = words::TAG_PREFIXES
                .iter()
                .map(move |prefix| format!("{prefix} {last}"));
            let after = words::TAG_SUFFIXES
                .iter()
                .map(move |suffix| format!("{last} {suffix}"));
            std::iter::once(subject.clone()).chain(before).chain(after)
        });
        let name = category.name;
        let tail =
            format!(r#","save_location":"Local save in /data/{name}","category":"{name}"}}"#);
        Self {
            tags: Pool::new(tags),
            titled: Pool::new(titled),
            subjects,
            tail: tail.into_bytes(),
        }
    }
}

fn title_case(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    for word in text.split(' ') {
        if !titled.is_empty() {
            titled.push(' ');
        }
        titled.push_str(&word[..1].to_ascii_uppercase());
        titled.push_str(&word[1..]);
    }
    titled
}

/// Everything there is to say.
pub(super) struct Vocabulary {
    pub(super) categories: Vec<CategoryWords>,
    pub(super) countries: Pool,
    pub(super) first_names: Pool,
    pub(super) last_names: Pool,
    pub(super) name_starts: Pool,
    pub(super) name_ends: Pool,
    /// Three pieces a style: before, between and after the two words of a name.
    pub(super) name_styles: Pool,
    pub(super) openings: Pool,
    pub(super) counted_openings: Pool,
    pub(super) world_openings: Pool,
    pub(super) title_endings: Pool,
    pub(super) description_openings: Pool,
    pub(super) description_middles: Pool,
    pub(super) description_sentences: Pool,
    pub(super) world_sentences: Pool,
    pub(super) hash_tags: Pool,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary {
    categories: words::CATEGORIES.iter().map(CategoryWords::new).collect(),
    countries: Pool::split(words::COUNTRIES, ';'),
    first_names: Pool::words(words::FIRST_NAMES),
    last_names: Pool::words(words::LAST_NAMES),
    name_starts: Pool::words(words::NAME_STARTS),
    name_ends: Pool::words(words::NAME_ENDS),
    name_styles: Pool::new(words::NAME_STYLES.iter().flatten()),
    openings: Pool::new(words::OPENINGS),
    counted_openings: Pool::new(words::COUNTED_OPENINGS),
    world_openings: Pool::new(words::WORLD_OPENINGS),
    title_endings: Pool::new(words::TITLE_ENDINGS),
    description_openings: Pool::new(words::DESCRIPTION_OPENINGS),
    description_middles: Pool::new(words::DESCRIPTION_MIDDLES),
    description_sentences: Pool::new(words::DESCRIPTION_SENTENCES),
    world_sentences: Pool::new(words::WORLD_SENTENCES),
    hash_tags: Pool::new(words::HASH_TAGS),
});

/// The vocabulary, made on first use.
pub(super) fn vocabulary() -> &'static Vocabulary {
    &VOCABULARY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_long_as_the_real_ones_ask_for() {
        let words = vocabulary();
        assert_eq!(words.categories.len(), 13);
        assert!((235..=250).contains(&words.countries.len()));
        assert!(words.first_names.len() > 200 && words.last_names.len() > 300);
        let chagos = b"British Indian Ocean Territory (Chagos Archipelago)";
        assert!((0..words.countries.len()).any(|at| words.countries.get(at) == chagos));
    }

    #[test]
    fn sentences_that_may_be_cut_hold_no_escape() {
        let words = vocabulary();
        for pool in [
            &words.description_sentences,
            &words.world_sentences,
            &words.hash_tags,
        ] {
            assert!(!pool.bytes.contains(&b'\\'));
        }
    }

    #[test]
    fn quotes_and_line_breaks_are_escaped() {
        let pool = Pool::new(["a \"b\"\n\\"]);
        assert_eq!(pool.get(0), br#"a \"b\"\n\\"#);
    }
}
