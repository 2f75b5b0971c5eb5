//! Framed text on its way from the background to whoever reads: whole records, cut into chunks on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::budget::Permit;
use super::place::{Place, ReadTo};
use super::shared::Gauge;
use crate::decode::last_newline;

/// Records of one partition, in order.
pub(super) struct Piece {
    /// The stream.
    pub stream: usize,
    /// The partition.
    pub partition: Arc<str>,
    /// One record a line; only the last line may lack its newline.
    pub text: Bytes,
    /// Where the text comes from, in its order. Their ends increase, and the last is the end of the text.
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
    /// Where it begins in its file, if its bytes are those of the file: it may be cut at any newline then. Else it is handed out whole.
    pub from: Option<ReadTo>,
    /// Where the partition stands behind it.
    pub place: Place,
}

impl Piece {
    /// Takes records of at most about `bytes_max` bytes off the front; there must be some.
    pub(super) fn cut(&mut self, bytes_max: usize) -> Option<(Bytes, Place)> {
        let limit = match bytes_max.saturating_add(bytes_max / 4) {
            // What would be left is not worth a chunk.
            all if self.text.len() <= all => self.text.len(),
            _ => bytes_max.max(1),
        };
        let mut cut = 0;
        let mut place = None;
        while let Some(segment) = self.segments.front() {
            if segment.end > limit {
                break;
            }
            cut = segment.end;
            place = self.segments.pop_front().map(|segment| segment.place);
        }
        if place.is_none() {
            let first = self.segments.front_mut()?;
            let window = &self.text[..limit.min(first.end)];
            let newline = first
                .from
                .and_then(|_| {
                    last_newline(window).or_else(|| memchr::memchr(b'\n', &self.text[..first.end]))
                })
                .filter(|newline| newline + 1 < first.end);
            match (newline, first.from) {
                (Some(newline), Some(from)) => {
                    cut = newline + 1;
                    let read = match from {
                        ReadTo::Stored(at) => ReadTo::Stored(at + cut as u64),
                        ReadTo::Text(at) => ReadTo::Text(at + cut as u64),
                    };
                    first.from = Some(read);
                    place = Some(Place {
                        read,
                        ..first.place.clone()
                    });
                }
                _ => {
                    cut = first.end;
                    place = self.segments.pop_front().map(|segment| segment.place);
                }
            }
        }
        for segment in &mut self.segments {
            segment.end -= cut;
        }
        self.gauge.waiting.fetch_sub(cut as u64, Ordering::Relaxed);
        place.map(|place| (self.text.split_to(cut), place))
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Order;
    use super::*;

    fn place(read: u64, file: &str) -> Place {
        Place {
            read: ReadTo::Stored(read),
            file: file.into(),
            order: Order::Names(0),
        }
    }

    fn cuts(bytes_max: usize) -> Vec<(String, String)> {
        let mut piece = Piece {
            stream: 0,
            partition: "p".into(),
            text: Bytes::from("aaa\nbb\ncccc\nd"),
            segments: VecDeque::from([
                Segment {
                    end: 7,
                    from: Some(ReadTo::Stored(100)),
                    place: place(107, "one"),
                },
                Segment {
                    end: 12,
                    from: None,
                    place: place(50, "two"),
                },
                Segment {
                    end: 13,
                    from: Some(ReadTo::Stored(0)),
                    place: place(1, "three"),
                },
            ]),
            gauge: Arc::default(),
            _permit: None,
        };
        let mut cuts = Vec::new();
        while !piece.text.is_empty() {
            let (text, place) = piece.cut(bytes_max).unwrap();
            cuts.push((String::from_utf8(text.to_vec()).unwrap(), place.token()));
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
                ("aaa\n", "104:0:one"),
                ("bb\n", "107:0:one"),
                ("cccc\n", "50:0:two"),
                ("d", "1:0:three"),
            ],
        );
        expect(
            cuts(9),
            &[("aaa\nbb\n", "107:0:one"), ("cccc\nd", "1:0:three")],
        );
        expect(cuts(100), &[("aaa\nbb\ncccc\nd", "1:0:three")]);
    }
}
