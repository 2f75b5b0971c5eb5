//! What a post is before it is written down: its poster, category, moment and flaw.

use crate::emulator::dates::{Moment, POSTED};
use crate::emulator::poster::{LOST, PosterId};
use crate::emulator::random::{Chance, Random, Topic, mix};
use crate::emulator::vocabulary::Vocabulary;

/// Something wrong with a valid post; all of it has been seen in the wild, in about these
/// proportions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// All six placeholders at once.
    DeadStory,
    /// A story without a description.
    Story,
    /// A story without a description and image.
    StoryWithoutImage,
    /// An image or video without a description.
    NoDescription,
    /// An image or video without tags.
    NoTags,
    /// Title or description is `Untitled`.
    Untitled,
    /// The description counts points and comments.
    Engagement,
    /// A follower count such as `1.2M`, `3.5k`, `2m`, `7K` or `1B`.
    OddCount,
    /// One text is empty.
    EmptyText,
    /// One text is nothing but blanks.
    BlankText,
    /// Tags begin with `#`.
    HashedTags,
    /// The image is sent as `img_src`, which is null.
    MisnamedImage,
    /// Country or last name is empty or blank.
    BlankPartner,
}

/// Flaws and how many of 100 flawed posts have them.
pub(super) const FLAWS: [(Flaw, u32); 13] = [
    (Flaw::DeadStory, 6),
    (Flaw::Story, 34),
    (Flaw::StoryWithoutImage, 8),
    (Flaw::NoDescription, 9),
    (Flaw::NoTags, 9),
    (Flaw::Untitled, 2),
    (Flaw::Engagement, 2),
    (Flaw::OddCount, 12),
    (Flaw::EmptyText, 5),
    (Flaw::BlankText, 4),
    (Flaw::HashedTags, 5),
    (Flaw::MisnamedImage, 2),
    (Flaw::BlankPartner, 2),
];

/// A post: a pure function of the seed, the share of dirty posts, and its index.
#[derive(Clone, Copy)]
pub(super) struct Post {
    pub(super) index: u64,
    pub(super) poster: PosterId,
    pub(super) category: u32,
    pub(super) posted: Moment,
    pub(super) flaw: Option<Flaw>,
}

impl Post {
    pub(super) fn new(seed: u64, dirty: Chance, words: &Vocabulary, index: u64) -> Self {
        let mut random = Random::new(seed, Topic::Post, index);
        let category = random.below(words.categories.len() as u32);
        let posted = POSTED.start + random.below(POSTED.end - POSTED.start);
        let own = poster_of(&mut random, index);
        let flaw = random.happens(dirty).then(|| flaw(&mut random));
        let poster = match flaw {
            Some(Flaw::DeadStory) => LOST,
            _ => own,
        };
        Self {
            index,
            poster,
            category,
            posted,
            flaw,
        }
    }
}

/// New posters are this many of 256 posts; with the rarer of the old ones that makes one poster for
/// two posts.
const NEWCOMERS: u32 = 108;

/// Two of five posts are the first of their poster, who gets the post's number. The others belong
/// to an old poster: the numbers 0..=index are cut into stretches that double in length (2, 4, 8,
/// ..), a stretch is chosen, and a number in it. Thus a poster's share is in inverse proportion to
/// its number: Zipf's law, in integers.
fn poster_of(random: &mut Random, index: u64) -> PosterId {
    if random.below(256) < NEWCOMERS {
        return index;
    }
    let stretches = 63 - index.saturating_add(2).leading_zeros();
    let length = 2u64 << random.below(stretches);
    (length - 2 + (random.bits() & (length - 1))) % (index + 1)
}

fn flaw(random: &mut Random) -> Flaw {
    let mut left = random.below(100);
    for (flaw, share) in FLAWS {
        if left < share {
            return flaw;
        }
        left -= share;
    }
    Flaw::Story
}

/// The partition of post `index` in each stream of `partitions` partitions. Depends on nothing
/// else, so that a key never moves.
#[inline]
pub fn partition_of(index: u64, partitions: u32) -> u32 {
    (((mix(index) >> 32) * u64::from(partitions)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::emulator::vocabulary::vocabulary;

    #[test]
    fn one_poster_for_about_two_posts_and_some_with_very_many() {
        for posts in [10_000u64, 300_000] {
            let mut counts: HashMap<PosterId, u64> = HashMap::new();
            for index in 0..posts {
                let post = Post::new(100, Chance::of(0.0), vocabulary(), index);
                assert!(post.poster <= index);
                *counts.entry(post.poster).or_default() += 1;
            }
            let share = counts.len() as f64 / posts as f64;
            assert!((0.4..0.6).contains(&share), "{share} posters a post");
            let top = *counts.values().max().unwrap() as f64 / posts as f64;
            assert!((0.01..0.05).contains(&top), "{top} of posts by one poster");
            let single = counts.values().filter(|&&n| n == 1).count() as f64;
            assert!(single / counts.len() as f64 > 0.6);
        }
    }

    #[test]
    fn flaws_are_shares_of_a_hundred() {
        assert_eq!(FLAWS.iter().map(|(_, share)| share).sum::<u32>(), 100);
    }

    #[test]
    fn the_dirty_share_decides_which_posts_have_a_flaw_and_nothing_else() {
        for index in 0..2_000 {
            let some = Post::new(5, Chance::of(0.2), vocabulary(), index);
            let all = Post::new(5, Chance::of(1.0), vocabulary(), index);
            assert_eq!((some.category, some.posted), (all.category, all.posted));
            assert!(some.flaw.is_none() || some.flaw == all.flaw);
        }
    }

    #[test]
    fn the_first_and_the_last_post_have_a_poster() {
        for index in [0, 1, u64::from(u32::MAX), i64::MAX as u64] {
            assert!(Post::new(1, Chance::of(0.0), vocabulary(), index).poster <= index);
        }
    }

    #[test]
    fn partitions_are_equally_full() {
        let mut counts = [0u32; 5];
        for index in 0..50_000 {
            counts[partition_of(index, 5) as usize] += 1;
        }
        assert!(
            counts.iter().all(|n| (9_500..10_500).contains(n)),
            "{counts:?}"
        );
    }
}
