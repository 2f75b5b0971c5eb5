//! Posts as JSON: one compact object a record, keys in the order of the source tables, written byte
//! by byte.
//!
//! No serialiser is involved: a record is a row of fixed fragments with values between them, and
//! every text comes from the vocabulary already escaped.

use crate::emulator::Stream;
use crate::emulator::broken;
use crate::emulator::dates::{DateForm, write_moment};
use crate::emulator::options::EmulatorOptions;
use crate::emulator::pin_text::{write_description, write_tags, write_title};
use crate::emulator::post::{Flaw, Post};
use crate::emulator::poster::{LOST, NO_POSTER, Posters};
use crate::emulator::random::{Chance, Random, Topic};
use crate::emulator::vocabulary::{Vocabulary, vocabulary};
use crate::emulator::wire::{Dress, Wire, hex, write_dressed};

/// Which record of a key is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edition {
    /// The post as it was first sent.
    First,
    /// The same key with one other value.
    Update,
}

/// Makes the record of any post, stream and edition, in any order.
pub(super) struct Records {
    seed: u64,
    dirty: Chance,
    broken: Chance,
    variants: Chance,
    dates: Option<DateForm>,
    words: &'static Vocabulary,
    posters: Posters,
    /// The compact object, before it is dressed.
    plain: Vec<u8>,
}

impl Records {
    pub(super) fn new(options: &EmulatorOptions) -> Self {
        Self {
            seed: options.seed,
            dirty: Chance::of(options.dirty),
            broken: Chance::of(options.broken),
            variants: Chance::of(options.variants),
            dates: options.dates,
            words: vocabulary(),
            posters: Posters::new(options.seed),
            plain: Vec::with_capacity(2048),
        }
    }

    /// Post `index`, from which its records are written.
    #[inline]
    pub(super) fn post(&self, index: u64) -> Post {
        Post::new(self.seed, self.dirty, self.words, index)
    }

    /// Replaces `out` by the record of `post` in `stream`, without a line end.
    pub(super) fn write(
        &mut self,
        stream: Stream,
        post: &Post,
        edition: Edition,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        if edition == Edition::First
            && let Some(mut random) = broken::drawn(self.seed, self.broken, stream, post.index)
        {
            let wire = Wire {
                dates: self.dates.unwrap_or(Wire::CANONICAL.dates),
                ..Wire::CANONICAL
            };
            self.write_plain(stream, post, edition, wire, out);
            broken::break_record(stream, &mut random, out);
            return;
        }
        let mut wire = Wire::of(self.seed, self.variants, stream, post.index);
        wire.dates = self.dates.unwrap_or(wire.dates);
        if wire.dress == Dress::Plain {
            self.write_plain(stream, post, edition, wire, out);
        } else {
            let mut plain = std::mem::take(&mut self.plain);
            plain.clear();
            self.write_plain(stream, post, edition, wire, &mut plain);
            write_dressed(&plain, wire.dress, out);
            self.plain = plain;
        }
    }

    #[inline]
    fn write_plain(
        &self,
        stream: Stream,
        post: &Post,
        edition: Edition,
        wire: Wire,
        out: &mut Vec<u8>,
    ) {
        match stream {
            Stream::Pin => self.write_pin(post, edition, wire, out),
            Stream::Geo => self.write_geo(post, edition, wire, out),
            Stream::User => self.write_user(post, edition, wire, out),
        }
    }

    fn write_pin(&self, post: &Post, edition: Edition, wire: Wire, out: &mut Vec<u8>) {
        let mut random = Random::new(self.seed, Topic::Pin, post.index);
        let category = &self.words.categories[post.category as usize];
        let hole = Hole::drawn(post.flaw, &mut random);
        let new_value = (edition == Edition::Update).then(|| self.new_pin_value(post));

        out.extend_from_slice(b"{\"index\":");
        write_number(post.index, wire.quoted, out);
        out.extend_from_slice(b",\"unique_id\":\"");
        write_uuid(&mut random, out);

        out.extend_from_slice(b"\",\"title\":\"");
        if new_value == Some(NewPinValue::Title) {
            let mut random = Random::new(self.seed, Topic::Update, post.index);
            write_title(self.words, category, &mut random, out);
            // No first title ends like this, so the new one always differs.
            out.extend_from_slice(b" (updated)");
        } else if !hole.filled(Column::Title, out) {
            match post.flaw {
                Some(Flaw::DeadStory) => out.extend_from_slice(b"No Title Data Available"),
                Some(Flaw::Untitled) if post.posted.is_multiple_of(4) => {
                    out.extend_from_slice(b"Untitled");
                }
                _ => write_title(self.words, category, &mut random, out),
            }
        }

        out.extend_from_slice(b"\",\"description\":\"");
        if !hole.filled(Column::Description, out) {
            match post.flaw {
                Some(Flaw::DeadStory | Flaw::Story | Flaw::StoryWithoutImage) => {
                    out.extend_from_slice(b"No description available Story format");
                }
                Some(Flaw::NoDescription) => out.extend_from_slice(b"No description available"),
                Some(Flaw::Untitled) if !post.posted.is_multiple_of(4) => {
                    out.extend_from_slice(b"Untitled");
                }
                Some(Flaw::Engagement) => write_engagement(&mut random, out),
                _ => write_description(self.words, category, &mut random, out),
            }
        }

        out.extend_from_slice(b"\",\"poster_name\":\"");
        if !hole.filled(Column::PosterName, out) {
            self.posters.write_name(post.poster, out);
        }

        out.extend_from_slice(b"\",\"follower_count\":\"");
        if new_value == Some(NewPinValue::Followers) {
            let followers = self.posters.followers(post.poster).grown();
            write_number(u64::from(followers.number), false, out);
            out.extend_from_slice(followers.unit);
        } else if !hole.filled(Column::FollowerCount, out) {
            match post.flaw {
                Some(Flaw::DeadStory) => out.extend_from_slice(NO_POSTER),
                Some(Flaw::OddCount) => write_odd_count(&mut random, out),
                _ => {
                    let followers = self.posters.followers(post.poster);
                    write_number(u64::from(followers.number), false, out);
                    out.extend_from_slice(followers.unit);
                }
            }
        }

        out.extend_from_slice(b"\",\"tag_list\":\"");
        if !hole.filled(Column::TagList, out) {
            match post.flaw {
                Some(Flaw::DeadStory | Flaw::NoTags) => {
                    out.extend_from_slice(b"N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e");
                }
                flaw => {
                    let hashed = flaw == Some(Flaw::HashedTags);
                    write_tags(category, hashed, &mut random, out);
                }
            }
        }

        out.extend_from_slice(b"\",\"is_image_or_video\":\"");
        let downloaded = write_media(post.flaw, &hole, &mut random, out);
        out.extend_from_slice(b",\"downloaded\":");
        write_number(downloaded, wire.quoted, out);
        out.extend_from_slice(&category.tail);
    }

    fn new_pin_value(&self, post: &Post) -> NewPinValue {
        if post.poster != LOST && post.posted.is_multiple_of(2) {
            NewPinValue::Followers
        } else {
            NewPinValue::Title
        }
    }

    fn write_geo(&self, post: &Post, edition: Edition, wire: Wire, out: &mut Vec<u8>) {
        let place = self.posters.place(post.poster);
        out.extend_from_slice(b"{\"ind\":");
        write_number(post.index, wire.quoted, out);
        out.extend_from_slice(b",\"timestamp\":\"");
        write_moment(post.posted, wire.dates, out);
        out.extend_from_slice(b"\",\"latitude\":");
        write_degrees(place.latitude, wire.quoted, out);
        out.extend_from_slice(b",\"longitude\":");
        write_degrees(place.longitude, wire.quoted, out);
        out.extend_from_slice(b",\"country\":\"");
        match (edition, missing_partner(post)) {
            (Edition::First, Some((Stream::Geo, blank))) => out.extend_from_slice(blank),
            (Edition::First, _) => out.extend_from_slice(self.words.countries.get(place.country)),
            (Edition::Update, _) => {
                let next = (place.country + 1) % self.words.countries.len();
                out.extend_from_slice(self.words.countries.get(next));
            }
        }
        out.extend_from_slice(b"\"}");
    }

    fn write_user(&self, post: &Post, edition: Edition, wire: Wire, out: &mut Vec<u8>) {
        let person = self.posters.person(post.poster);
        let age = match edition {
            Edition::First => person.age,
            Edition::Update if person.age < 60 => person.age + 1,
            Edition::Update => person.age - 1,
        };
        out.extend_from_slice(b"{\"ind\":");
        write_number(post.index, wire.quoted, out);
        out.extend_from_slice(b",\"first_name\":\"");
        out.extend_from_slice(person.first_name);
        out.extend_from_slice(b"\",\"last_name\":\"");
        match missing_partner(post) {
            Some((Stream::User, blank)) => out.extend_from_slice(blank),
            _ => out.extend_from_slice(person.last_name),
        }
        out.extend_from_slice(b"\",\"age\":");
        write_number(u64::from(age), wire.quoted, out);
        out.extend_from_slice(b",\"date_joined\":\"");
        write_moment(person.joined, wire.dates, out);
        out.extend_from_slice(b"\"}");
    }
}

/// The value of a pin that an update changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewPinValue {
    Title,
    Followers,
}

/// Texts of a pin that can be empty or blank.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Title,
    Description,
    PosterName,
    FollowerCount,
    TagList,
    ImageSrc,
}

const COLUMNS: [Column; 6] = [
    Column::Title,
    Column::Description,
    Column::PosterName,
    Column::FollowerCount,
    Column::TagList,
    Column::ImageSrc,
];

/// Texts that say nothing, the last with no-break spaces.
const BLANKS: [&str; 4] = [" ", "   ", "\u{a0}", " \u{a0} "];

/// At most one text of a pin is nothing but blanks.
struct Hole(Option<(Column, &'static [u8])>);

impl Hole {
    fn drawn(flaw: Option<Flaw>, random: &mut Random) -> Self {
        let text: &[u8] = match flaw {
            Some(Flaw::EmptyText) => b"",
            Some(Flaw::BlankText) => BLANKS[random.below(4) as usize].as_bytes(),
            _ => return Self(None),
        };
        Self(Some((COLUMNS[random.below(6) as usize], text)))
    }

    /// Writes the blanks if the hole is in `column`; then nothing else belongs there.
    #[inline]
    fn filled(&self, column: Column, out: &mut Vec<u8>) -> bool {
        match self.0 {
            Some((at, text)) if at == column => {
                out.extend_from_slice(text);
                true
            }
            _ => false,
        }
    }
}

/// The stream besides `pin` that has an empty or blank text, and the text.
fn missing_partner(post: &Post) -> Option<(Stream, &'static [u8])> {
    (post.flaw == Some(Flaw::BlankPartner)).then(|| {
        let stream = if post.posted.is_multiple_of(2) {
            Stream::Geo
        } else {
            Stream::User
        };
        let text: &[u8] = if post.posted % 4 < 2 { b"" } else { b" " };
        (stream, text)
    })
}

/// Appends the kind of media, its closing quote, and the image member; returns the value of
/// `downloaded`.
fn write_media(flaw: Option<Flaw>, hole: &Hole, random: &mut Random, out: &mut Vec<u8>) -> u64 {
    let story = matches!(
        flaw,
        Some(Flaw::DeadStory | Flaw::Story | Flaw::StoryWithoutImage)
    );
    let video = !story && random.one_in(30);
    out.extend_from_slice(match (story, video) {
        (true, _) => b"multi-video(story page format)",
        (_, true) => b"video",
        _ => b"image",
    });
    if flaw == Some(Flaw::MisnamedImage) {
        out.extend_from_slice(b"\",\"img_src\":null");
        return 1;
    }
    out.extend_from_slice(b"\",\"image_src\":\"");
    let mut downloaded = 1;
    if matches!(flaw, Some(Flaw::DeadStory | Flaw::StoryWithoutImage)) {
        out.extend_from_slice(b"Image src error.");
        downloaded = 0;
    } else if !hole.filled(Column::ImageSrc, out) {
        write_image(video, random, out);
    }
    out.push(b'"');
    downloaded
}

fn write_image(video: bool, random: &mut Random, out: &mut Vec<u8>) {
    out.extend_from_slice(b"https://i.pinimg.com/");
    if video {
        out.extend_from_slice(b"videos/thumbnails/");
    }
    out.extend_from_slice(b"originals/");
    let mut name = [0u8; 32];
    for half in name.chunks_exact_mut(16) {
        write_hex(random.bits(), half);
    }
    for folder in name[..6].chunks_exact(2) {
        out.extend_from_slice(folder);
        out.push(b'/');
    }
    out.extend_from_slice(&name);
    out.extend_from_slice(match random.below(100) {
        0..83 => b".jpg".as_slice(),
        83..97 => b".png",
        97..99 => b".webp",
        _ => b".gif",
    });
}

/// A random UUID, version 4.
fn write_uuid(random: &mut Random, out: &mut Vec<u8>) {
    let high = random.bits() & !0xf000 | 0x4000;
    let low = random.bits() & !(0b11 << 62) | (0b10 << 62);
    let mut digits = [0u8; 32];
    write_hex(high, &mut digits[..16]);
    write_hex(low, &mut digits[16..]);
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14..18].copy_from_slice(&digits[12..16]);
    text[19..23].copy_from_slice(&digits[16..20]);
    text[24..].copy_from_slice(&digits[20..]);
    out.extend_from_slice(&text);
}

/// Writes the sixteen digits of `bits`.
#[inline]
fn write_hex(bits: u64, digits: &mut [u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        pair.copy_from_slice(&hex(byte));
    }
}

/// `1.2M`, `3.5k`, `2m`, `7K`, `1B`, ..: counts that only scraping makes.
fn write_odd_count(random: &mut Random, out: &mut Vec<u8>) {
    let (large, small, tenth) = (1 + random.below(9), 1 + random.below(99), random.below(10));
    let (number, fraction, unit) = match random.below(10) {
        0 | 1 => (large, Some(tenth), b'M'),
        2 | 3 => (small, Some(tenth), b'k'),
        4 => (large, None, b'm'),
        5 => (small, None, b'K'),
        6 => (large, Some(tenth), b'm'),
        7 => (small, Some(tenth), b'K'),
        8 => (large, None, b'B'),
        _ => (1, Some(tenth), b'b'),
    };
    write_number(u64::from(number), false, out);
    if let Some(tenth) = fraction {
        out.extend_from_slice(&[b'.', b'0' + tenth as u8]);
    }
    out.push(unit);
}

/// `4,096 points • 128 comments`: a real text that looks like noise.
fn write_engagement(random: &mut Random, out: &mut Vec<u8>) {
    write_number(u64::from(1 + random.below(19)), false, out);
    let rest = random.below(1000);
    let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
    out.push(b',');
    out.extend_from_slice(&digits);
    out.extend_from_slice(" points • ".as_bytes());
    write_number(u64::from(2 + random.below(900)), false, out);
    out.extend_from_slice(b" comments");
}

#[inline]
fn write_number(number: u64, quoted: bool, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    if quoted {
        out.push(b'"');
        out.extend_from_slice(digits);
        out.push(b'"');
    } else {
        out.extend_from_slice(digits);
    }
}

/// Appends millionths of a degree as the source prints them: six significant digits, no zeros at
/// the end.
fn write_degrees(millionths: i32, quoted: bool, out: &mut Vec<u8>) {
    if quoted {
        out.push(b'"');
    }
    if millionths < 0 {
        out.push(b'-');
    }
    let size = millionths.unsigned_abs();
    let decimals: u32 = match size {
        100_000_000.. => 3,
        10_000_000.. => 4,
        1_000_000.. => 5,
        _ => 6,
    };
    let step = 10u32.pow(6 - decimals);
    let rounded = (size + step / 2) / step;
    let one = 10u32.pow(decimals);
    write_number(u64::from(rounded / one), false, out);
    out.push(b'.');
    let (mut fraction, mut place) = (rounded % one, one / 10);
    loop {
        out.push(b'0' + (fraction / place) as u8);
        fraction %= place;
        if fraction == 0 {
            break;
        }
        place /= 10;
    }
    if quoted {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn degrees_have_six_significant_digits() {
        for (millionths, text) in [
            (-89_978_700, "-89.9787"),
            (8_659_530, "8.65953"),
            (-173_293_412, "-173.293"),
            (-88_000_000, "-88.0"),
            (72_500, "0.0725"),
            (-999, "-0.000999"),
            (0, "0.0"),
            (9_999_999, "10.0"),
        ] {
            assert_eq!(written(|out| write_degrees(millionths, false, out)), text);
        }
        assert_eq!(
            written(|out| write_degrees(1_500_000, true, out)),
            "\"1.5\""
        );
    }

    #[test]
    fn unique_ids_are_version_4() {
        for n in 0..100 {
            let id = written(|out| write_uuid(&mut Random::new(1, Topic::Pin, n), out));
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn odd_counts_have_every_unit_and_decimals() {
        let counts: Vec<String> = (0..500)
            .map(|n| written(|out| write_odd_count(&mut Random::new(1, Topic::Pin, n), out)))
            .collect();
        for unit in ["k", "K", "m", "M", "b", "B"] {
            assert!(counts.iter().any(|count| count.ends_with(unit)), "{unit}");
        }
        assert!(counts.iter().any(|count| count.contains('.')));
    }
}
