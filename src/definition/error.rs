//! What is wrong with a dataflow file, where, and what to write instead.

use std::fmt;

/// A place in a dataflow file; both count from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// Why a dataflow file cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError {
    /// The file's name as the user gave it.
    pub file: String,
    /// Where in the file, as near as is known; `None` if it is about the file as a whole.
    pub place: Option<Place>,
    /// What is wrong, as a sentence without its full stop.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n   at: {}", self.what, self.file)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}
