//! Framed text on its way from the background to whoever reads: whole records, cut into chunks on
//! demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::budget::Permit;
use super::open_file::From;
use super::place::{Place, ReadTo, TAIL_BYTES, Tail, last};
use super::shared::Gauge;
use crate::decode::last_newline;
use crate::source::Refused;

/// Records of one partition, in order.
pub(super) struct Piece {
    /// The stream.
    pub stream: usize,
    /// The partition.
    pub partition: Arc<str>,
    /// One record a line; only the last line may lack its newline.
    pub text: Bytes,
    /// Where the text comes from, in its order. Their ends increase, and the last is the end of the
    /// text.
    pub segments: VecDeque<Segment>,
    /// What is told of the partition.
    pub gauge: Arc<Gauge>,
    /// What the piece takes of the budget.
    pub _permit: Option<Permit>,
}

/// Part of a piece's text that comes from one file.
pub(super) struct Segment {
    /// Where it ends in the text that is left of the piece.
    pub end: usize,
    /// Where it begins in its file, if its bytes are those of the file: it may be cut at any
    /// newline then. Else it is handed out whole.
    pub from: Option<From>,
    /// Where the partition stands behind it.
    pub place: Place,
    /// What cannot be read on, if the segment is the blank line of a rest: its offset is not known
    /// yet.
    pub refused: Option<Refused>,
}

impl Piece {
    /// Takes records of at most about `bytes_max` bytes off the front; there must be some. `passed`
    /// is called with each segment of them, in order; their ends are those in the text that is
    /// taken.
    pub(super) fn cut(&mut self, bytes_max: usize, mut passed: impl FnMut(Segment)) -> Bytes {
        let limit = match bytes_max.saturating_add(bytes_max / 4) {
            // What would be left is not worth a chunk.
            all if self.text.len() <= all => self.text.len(),
            _ => bytes_max.max(1),
        };
        let mut cut = 0;
        while let Some(segment) = self.segments.pop_front_if(|segment| segment.end <= limit) {
            cut = segment.end;
            passed(segment);
        }
        if cut == 0
            && let Some(mut first) = self.segments.pop_front()
        {
            let front = match first.split(&self.text, limit) {
                None => first,
                Some(front) => {
                    self.segments.push_front(first);
                    front
                }
            };
            cut = front.end;
            passed(front);
        }
        for segment in &mut self.segments {
            segment.end -= cut;
        }
        self.gauge.waiting.fetch_sub(cut as u64, Ordering::Relaxed);
        self.text.split_to(cut)
    }
}

impl Segment {
    /// Splits the first segment of `text` behind a newline, the last before `limit` if there is
    /// one: what is before that, which cannot be split again.
    fn split(&mut self, text: &[u8], limit: usize) -> Option<Segment> {
        let from = self.from.as_mut()?;
        let newline = last_newline(&text[..limit.min(self.end)])
            .or_else(|| memchr::memchr(b'\n', &text[..self.end]))?;
        let cut = newline + 1;
        if cut == self.end {
            return None;
        }
        let read = match from.read {
            ReadTo::Stored(at) => ReadTo::Stored(at + cut as u64),
            ReadTo::Text(at) => ReadTo::Text(at + cut as u64),
        };
        let tail = Tail::of(&from.before, &text[..cut]);
        let newest = last(&text[..cut], TAIL_BYTES);
        let kept = last(&from.before, TAIL_BYTES - newest.len());
        *from = From {
            read,
            before: [kept, newest].concat().into(),
        };
        let file = self.place.file.clone();
        Some(Segment {
            end: cut,
            from: None,
            place: Place { file, read, tail },
            refused: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::FileSeen;
    use super::*;

    fn place(read: u64, path: &str) -> Place {
        let file = FileSeen {
            path: path.into(),
            ..FileSeen::default()
        };
        Place {
            read: ReadTo::Stored(read),
            file: file.into(),
            tail: None,
        }
    }

    fn from(read: u64) -> Option<From> {
        Some(From {
            read: ReadTo::Stored(read),
            before: Bytes::new(),
        })
    }

    fn cuts(bytes_max: usize) -> Vec<(String, String)> {
        let mut piece = Piece {
            stream: 0,
            partition: "p".into(),
            text: Bytes::from("aaa\nbb\ncccc\nd"),
            segments: VecDeque::from([
                Segment {
                    end: 0,
                    from: None,
                    place: place(0, "empty"),
                    refused: None,
                },
                Segment {
                    end: 7,
                    from: from(100),
                    place: place(107, "one"),
                    refused: None,
                },
                Segment {
                    end: 12,
                    from: None,
                    place: place(50, "two"),
                    refused: None,
                },
                Segment {
                    end: 13,
                    from: from(0),
                    place: place(1, "three"),
                    refused: None,
                },
            ]),
            gauge: Arc::default(),
            _permit: None,
        };
        let mut cuts = Vec::new();
        while !piece.text.is_empty() {
            let mut places = Vec::new();
            let text = piece.cut(bytes_max, |Segment { place, .. }| {
                places.push(format!("{}:{}", place.read, place.file.path));
            });
            cuts.push((String::from_utf8(text.to_vec()).unwrap(), places.join(" ")));
        }
        cuts
    }

    #[test]
    fn a_piece_is_cut_at_newlines_and_knows_its_place_at_each() {
        let expect = |cuts: Vec<(String, String)>, expected: &[(&str, &str)]| {
            let cuts: Vec<(&str, &str)> = cuts
                .iter()
                .map(|(text, token)| (text.as_str(), token.as_str()))
                .collect();
            assert_eq!(cuts, expected);
        };
        expect(
            cuts(1),
            &[
                ("aaa\n", "0:empty 104:one"),
                ("bb\n", "107:one"),
                ("cccc\n", "50:two"),
                ("d", "1:three"),
            ],
        );
        expect(
            cuts(9),
            &[
                ("aaa\nbb\n", "0:empty 107:one"),
                ("cccc\nd", "50:two 1:three"),
            ],
        );
        expect(
            cuts(100),
            &[("aaa\nbb\ncccc\nd", "0:empty 107:one 50:two 1:three")],
        );
    }
}
