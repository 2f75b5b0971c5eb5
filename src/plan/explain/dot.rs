//! A picture in DOT, the notation of Graphviz.

use super::Lines;
use super::picture::{BoxKind, Picture, PictureBox};

/// A directed graph from left to right.
pub(super) fn dot(picture: &Picture) -> String {
    let shape = |shown: &PictureBox| {
        let label: Vec<String> = shown.lines.iter().map(|line| dot_text(line)).collect();
        let shape = match shown.kind {
            BoxKind::Stream => "parallelogram",
            BoxKind::Table => "cylinder",
            BoxKind::Node => "box",
            BoxKind::View => "oval",
        };
        let label = label.join("\\n");
        format!("{} [shape={shape}, label=\"{label}\"];", shown.name)
    };
    let mut lines = Lines::default();
    lines.add(0, "digraph pinflow {");
    lines.add(1, "rankdir=LR;");
    for shown in &picture.boxes {
        lines.add(1, &shape(shown));
    }
    for (number, (title, boxes)) in picture.frames.iter().enumerate() {
        lines.add(1, &format!("subgraph cluster_{number} {{"));
        lines.add(2, &format!("label=\"{}\";", dot_text(title)));
        for shown in boxes {
            lines.add(2, &shape(shown));
        }
        lines.add(1, "}");
    }
    for (from, to) in &picture.arrows {
        lines.add(1, &format!("{from} -> {to};"));
    }
    lines.add(0, "}");
    lines.0
}

/// Text inside the quotes of a DOT label.
fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(['\n', '\r'], " ")
}
