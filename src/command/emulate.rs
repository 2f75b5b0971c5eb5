//! `emulate`: emulated streams to files.

use super::Failure;
use crate::emulator::{EmulateArgs, run as emulate};

/// Writes the streams and prints what was written.
pub fn run(args: EmulateArgs) -> Result<(), Failure> {
    println!("{}", emulate(args)?);
    Ok(())
}
