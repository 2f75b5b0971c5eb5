//! A picture in the notation of Mermaid, which Markdown renders.

use super::Lines;
use super::picture::{BoxKind, Picture, PictureBox};

/// A flowchart from left to right.
pub(super) fn mermaid(picture: &Picture) -> String {
    let shape = |shown: &PictureBox| {
        let label: Vec<String> = shown.lines.iter().map(|line| mermaid_text(line)).collect();
        let (open, close) = match shown.kind {
            BoxKind::Stream => ("[/", "/]"),
            BoxKind::Table => ("[(", ")]"),
            BoxKind::Node => ("[", "]"),
            BoxKind::View => ("([", "])"),
        };
        format!("{}{open}\"{}\"{close}", shown.name, label.join("<br/>"))
    };
    let mut lines = Lines::default();
    lines.add(0, "flowchart LR");
    for shown in &picture.boxes {
        lines.add(1, &shape(shown));
    }
    for (number, (title, boxes)) in picture.frames.iter().enumerate() {
        let title = mermaid_text(title);
        lines.add(1, &format!("subgraph g{number}[\"{title}\"]"));
        for shown in boxes {
            lines.add(2, &shape(shown));
        }
        lines.add(1, "end");
    }
    for (from, to) in &picture.arrows {
        lines.add(1, &format!("{from} --> {to}"));
    }
    lines.0
}

/// Text inside the quotes of a Mermaid label, where an entity stands for what would be read as
/// markup.
fn mermaid_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("#quot;"),
            '#' => escaped.push_str("#35;"),
            '&' => escaped.push_str("#amp;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '`' => escaped.push_str("#96;"),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
