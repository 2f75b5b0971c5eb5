//! Where log lines go: to standard error, or above the block while one is drawn there.
//!
//! The block is drawn over what is on its lines, so a line that the log wrote below or into it
//! would be gone half a second later. While a block is drawn, lines are therefore held, and the
//! thread that draws writes them above it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that are to be written above the block; `None` where there is no block.
static ABOVE: Held = Held(Mutex::new(None));

struct Held(Mutex<Option<Vec<u8>>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds `bytes`, if a block is drawn.
    fn hold(&self, bytes: &[u8]) -> bool {
        let mut held = self.lock();
        held.iter_mut()
            .for_each(|held| held.extend_from_slice(bytes));
        held.is_some()
    }

    fn take(&self) -> String {
        let lines = self.lock().as_mut().map(std::mem::take);
        text(lines)
    }

    /// Takes what is held, and holds nothing from then on: no line comes in between.
    fn release(&self) -> String {
        let lines = self.lock().take();
        text(lines)
    }
}

fn text(lines: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&lines.unwrap_or_default()).into_owned()
}

/// Writes the lines of the log.
#[derive(Debug)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match ABOVE.hold(bytes) {
            true => Ok(bytes.len()),
            false => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Holds the log's lines from now on, for a block that is drawn on standard error.
pub fn hold() {
    ABOVE.lock().get_or_insert_default();
}

/// The lines that were held since the last time, to be written above the block.
pub fn held() -> String {
    ABOVE.take()
}

/// Holds no lines any more: the last block is drawn. What was held is returned; what comes later is
/// written at once.
pub fn release() -> String {
    ABOVE.release()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_held_while_a_block_is_drawn_and_in_their_order() {
        let above = Held(Mutex::new(None));
        assert!(!above.hold(b"before\n"), "it goes where it always goes");
        above.lock().get_or_insert_default();
        assert!(above.hold(b"one\n") && above.hold(b"two\n"));
        assert_eq!(above.take(), "one\ntwo\n");
        assert_eq!(above.take(), "");
        assert!(above.hold(b"three\n"));
        assert_eq!(above.release(), "three\n");
        assert!(!above.hold(b"behind\n"), "it goes where it always goes");
    }
}
