//! Who posts: everything about a poster follows from the seed and the poster's number.
//!
//! A poster's public name, person, and place go together one to one, as in the real data:
//! `poster_name`, (first name, last name, age, joining moment) and (country, latitude, longitude)
//! each name the poster. The public name is unique by construction; for the two others a
//! coincidence is possible and, at ten million posters, unlikely.

use crate::emulator::dates::{JOINED, Moment};
use crate::emulator::random::{Random, Topic};
use crate::emulator::vocabulary::{Vocabulary, vocabulary};

/// A poster's number. A poster's number is never above the number of a post it made, [`LOST`]
/// aside.
pub(super) type PosterId = u64;

/// The poster of dead stories: a person like others, of whom the public side says `User Info
/// Error`.
pub(super) const LOST: PosterId = u64::MAX;

/// What is written where a poster's name or follower count could not be had.
pub(super) const NO_POSTER: &[u8] = b"User Info Error";

/// Followers as shown: a number and its unit.
#[derive(Clone, Copy)]
pub(super) struct Followers {
    pub(super) number: u32,
    /// `k`, `M` or nothing.
    pub(super) unit: &'static [u8],
}

impl Followers {
    /// The next higher count of the same unit.
    pub(super) fn grown(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

/// The private side of a poster.
pub(super) struct Person<'a> {
    pub(super) first_name: &'a [u8],
    pub(super) last_name: &'a [u8],
    /// 20 to 60, most of them 20.
    pub(super) age: u32,
    pub(super) joined: Moment,
}

/// Where a poster posts from. Not geography: the point need not lie in the country.
pub(super) struct Place {
    /// Number of the country in the word list.
    pub(super) country: u32,
    /// Millionths of a degree, -90 to 90 degrees.
    pub(super) latitude: i32,
    /// Millionths of a degree, -180 to 180 degrees.
    pub(super) longitude: i32,
}

/// All posters of a seed.
pub(super) struct Posters {
    seed: u64,
    words: &'static Vocabulary,
    /// Names there are before numbers must be added.
    names: u64,
    first_name_at: u64,
}

/// A prime that divides no product of list lengths: a step of it visits every name once.
const NAME_STEP: u64 = 1_000_003;

/// How many of 1,000 posters have each age from 20 to 24; the others are spread over
/// [`AGE_GROUPS`].
const YOUNG_AGES: [u32; 5] = [190, 110, 60, 45, 35];

/// (how many of 1,000 posters, youngest, number of ages)
const AGE_GROUPS: [(u32, u32, u32); 3] = [(275, 25, 11), (195, 36, 15), (90, 51, 10)];

/// Millions of followers, as often as they occur.
const MILLIONS: [u32; 16] = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 15];

impl Posters {
    pub(super) fn new(seed: u64) -> Self {
        let words = vocabulary();
        let styles = words.name_styles.len() / 3;
        let names = u64::from(words.name_starts.len())
            * u64::from(words.name_ends.len())
            * u64::from(styles);
        let first_name_at = Random::new(seed, Topic::Names, 0).bits() % names;
        Self {
            seed,
            words,
            names,
            first_name_at,
        }
    }

    fn random(&self, poster: PosterId, side: u64) -> Random {
        Random::new(
            self.seed,
            Topic::Poster,
            poster.wrapping_mul(4).wrapping_add(side),
        )
    }

    /// Appends the public name. Different posters have different names.
    pub(super) fn write_name(&self, poster: PosterId, out: &mut Vec<u8>) {
        if poster == LOST {
            out.extend_from_slice(NO_POSTER);
            return;
        }
        let (round, at) = (poster / self.names, poster % self.names);
        let name = (at * NAME_STEP + self.first_name_at) % self.names;
        let starts = u64::from(self.words.name_starts.len());
        let ends = u64::from(self.words.name_ends.len());
        let start = (name % starts) as u32;
        let end = (name / starts % ends) as u32;
        let style = 3 * (name / starts / ends) as u32;
        out.extend_from_slice(self.words.name_styles.get(style));
        out.extend_from_slice(self.words.name_starts.get(start));
        out.extend_from_slice(self.words.name_styles.get(style + 1));
        out.extend_from_slice(self.words.name_ends.get(end));
        if round > 0 {
            out.extend_from_slice(itoa::Buffer::new().format(round + 1).as_bytes());
        }
        out.extend_from_slice(self.words.name_styles.get(style + 2));
    }

    /// The follower count of a poster that is not [`LOST`].
    pub(super) fn followers(&self, poster: PosterId) -> Followers {
        let mut random = self.random(poster, 0);
        match random.below(1000) {
            0..737 => Followers {
                number: 1 + random.below(991).min(random.below(991)),
                unit: b"k",
            },
            737..819 => Followers {
                number: MILLIONS[random.below(16) as usize],
                unit: b"M",
            },
            _ => Followers {
                number: random.below(973),
                unit: b"",
            },
        }
    }

    /// The person behind a poster.
    pub(super) fn person(&self, poster: PosterId) -> Person<'static> {
        let mut random = self.random(poster, 1);
        Person {
            first_name: self.words.first_names.pick(&mut random),
            last_name: self.words.last_names.pick(&mut random),
            age: age(&mut random),
            joined: JOINED.start + random.below(JOINED.end - JOINED.start),
        }
    }

    /// The place of a poster: countries early in the alphabet and the south-west are preferred.
    pub(super) fn place(&self, poster: PosterId) -> Place {
        let mut random = self.random(poster, 2);
        let mut country = random.below(self.words.countries.len());
        if !random.one_in(4) {
            country = random.below(country + 1);
        }
        Place {
            country,
            latitude: skewed(&mut random, 89_979_600, 89_994_600),
            longitude: skewed(&mut random, 179_908_000, 179_935_000),
        }
    }
}

/// A number in `-below..above`, nearly four out of five times negative.
fn skewed(random: &mut Random, below: u64, above: u64) -> i32 {
    let uniform = random.bits() >> 32;
    let cube = (((uniform * uniform) >> 32) * uniform) >> 32;
    let up = (cube * (below + above)) >> 32;
    (up as i64 - below as i64) as i32
}

fn age(random: &mut Random) -> u32 {
    let mut left = random.below(1000);
    for (age, share) in (20..).zip(YOUNG_AGES) {
        if left < share {
            return age;
        }
        left -= share;
    }
    for (share, youngest, ages) in AGE_GROUPS {
        if left < share {
            return youngest + left * ages / share;
        }
        left -= share;
    }
    20
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_posters_share_a_name() {
        let posters = Posters::new(100);
        let mut names = HashSet::new();
        for poster in 0..500_000 {
            let mut name = Vec::new();
            posters.write_name(poster, &mut name);
            assert!(names.insert(name), "poster {poster}");
        }
    }

    #[test]
    fn no_two_posters_share_a_person_or_a_place() {
        let posters = Posters::new(100);
        let (mut persons, mut places) = (HashSet::new(), HashSet::new());
        for poster in 0..300_000 {
            let person = posters.person(poster);
            let place = posters.place(poster);
            assert!(persons.insert((
                person.first_name,
                person.last_name,
                person.age,
                person.joined
            )));
            assert!(places.insert((place.country, place.latitude, place.longitude)));
        }
    }

    #[test]
    fn ages_countries_and_places_are_skewed_as_the_real_ones() {
        let posters = Posters::new(3);
        let (mut twenty, mut first_ten, mut south, mut last_ten) = (0, 0, 0, 0);
        for poster in 0..100_000 {
            let person = posters.person(poster);
            assert!((20..=60).contains(&person.age));
            twenty += u32::from(person.age == 20);
            let place = posters.place(poster);
            first_ten += u32::from(place.country < 10);
            last_ten += u32::from(place.country + 10 >= posters.words.countries.len());
            south += u32::from(place.latitude < 0);
        }
        assert!((18_000..20_000).contains(&twenty), "{twenty}");
        assert!((10_000..30_000).contains(&first_ten), "{first_ten}");
        assert!((100..5_000).contains(&last_ten), "{last_ten}");
        assert!((77_000..81_000).contains(&south), "{south}");
    }
}
