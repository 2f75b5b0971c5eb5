//! The dataflow as people read it: text, Mermaid or Graphviz's DOT.

use super::Plan;

/// In which notation a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented text.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// Prints the dataflow, or the part of it that `view` needs.
pub fn explain(_plan: &Plan, _view: Option<&str>, _format: Format) -> String {
    String::new()
}
