//! `inspect`: the live views of a running dataflow.

use std::io::IsTerminal;

use super::Failure;
use crate::serve::inspect::{InspectArgs, inspect};

/// Prints what was asked for.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let is_terminal = out.is_terminal();
    Ok(inspect(args, &mut out, is_terminal)?)
}
