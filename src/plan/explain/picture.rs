//! The dataflow as a diagram, whatever its notation: each node once, and an arrow for each input.

use std::collections::BTreeSet;

use super::Part;
use super::words::{Words, names};
use crate::plan::Op;

/// A line of a diagram's box has at most so many characters; the text has all of them.
const BOX_CHARS: usize = 72;

/// A diagram, whatever its notation.
#[derive(Default)]
pub(super) struct Picture {
    /// Boxes that stand by themselves.
    pub(super) boxes: Vec<PictureBox>,
    /// Boxes with a frame around them, and the frame's title.
    pub(super) frames: Vec<(String, Vec<PictureBox>)>,
    /// From box to box, by their names.
    pub(super) arrows: Vec<(String, String)>,
}

/// A box of a diagram.
pub(super) struct PictureBox {
    /// Its name in the notation, for arrows.
    pub(super) name: String,
    /// What it stands for.
    pub(super) kind: BoxKind,
    /// What stands in it.
    pub(super) lines: Vec<String>,
}

/// What a box stands for; each kind has a shape of its own.
#[derive(Clone, Copy)]
pub(super) enum BoxKind {
    Stream,
    Table,
    Node,
    View,
}

impl PictureBox {
    fn new(name: String, kind: BoxKind, lines: impl IntoIterator<Item = String>) -> PictureBox {
        let lines = lines.into_iter().map(|line| clipped(&line)).collect();
        PictureBox { name, kind, lines }
    }
}

impl Picture {
    pub(super) fn of(part: &Part<'_>) -> Picture {
        let plan = part.plan;
        let mut picture = Picture::default();
        let streams: BTreeSet<usize> = part
            .tables
            .iter()
            .map(|&table| plan.tables[table].stream)
            .collect();
        for stream in streams {
            let title = plan.streams[stream].clone();
            let stream = PictureBox::new(format!("s{stream}"), BoxKind::Stream, [title]);
            picture.boxes.push(stream);
        }
        for group in part.groups() {
            let boxes = group.iter().map(|&table| {
                let shown = &plan.tables[table];
                let key = format!("key {}", names(&shown.schema, &shown.key));
                let lines = [format!("table {}", shown.name), key];
                PictureBox::new(format!("t{table}"), BoxKind::Table, lines)
            });
            let frame = "one arrangement".to_owned();
            picture.frames.push((frame, boxes.collect()));
        }
        for &table in &part.tables {
            let stream = plan.tables[table].stream;
            picture.arrow(format!("s{stream}"), format!("t{table}"));
        }
        for &id in &part.nodes {
            let words = Words::of(plan, id);
            let lines = [format!("#{id} {}", words.title)].into_iter();
            let lines = lines.chain(words.details);
            let node = PictureBox::new(format!("n{id}"), BoxKind::Node, lines);
            picture.boxes.push(node);
            if let Op::Keyed { members, .. } = &plan.nodes[id].op {
                for member in members {
                    picture.arrow(format!("t{}", member.table), format!("n{id}"));
                }
            }
            for input in plan.nodes[id].op.inputs() {
                picture.arrow(format!("n{input}"), format!("n{id}"));
            }
        }
        for (number, view) in part.views.iter().enumerate() {
            let title = format!("view {}", view.name);
            let shown = PictureBox::new(format!("v{number}"), BoxKind::View, [title]);
            picture.boxes.push(shown);
            picture.arrow(format!("n{}", view.node), format!("v{number}"));
        }
        picture
    }

    fn arrow(&mut self, from: String, to: String) {
        self.arrows.push((from, to));
    }
}

fn clipped(line: &str) -> String {
    if line.chars().count() <= BOX_CHARS {
        return line.to_owned();
    }
    line.chars().take(BOX_CHARS - 1).chain(['…']).collect()
}
