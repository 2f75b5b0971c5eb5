//! The way to a process of a launch: a pipe that the process reads as its standard input.
//!
//! In a terminal process 0 draws, so what the others say goes through its pipe, and it writes it
//! above what it draws.
//!
//! # Invariants
//! 1. Nothing here waits for a process that does not read.
//! 2. No line is lost, whenever process 0 ends: what its pipe does not take is said here, and so is
//!    what it did not read before it was gone.
//! 3. What is said after a line that was cut begins on a line of its own.

use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::command::signals::END;

/// The launcher's side of such a pipe.
#[derive(Clone)]
pub(super) struct Pipe(Arc<Mutex<Ends>>);

struct Ends {
    /// `None` once the process was asked to end by the end of the pipe.
    to: Option<PipeWriter>,
    /// Whether only a part of the last line was taken.
    is_cut: bool,
    /// What the process reads from, too.
    from: PipeReader,
}

impl Pipe {
    /// A pipe, and what a process is to read as its standard input.
    pub(super) fn new() -> io::Result<(Pipe, PipeReader)> {
        let (from, to) = io::pipe()?;
        let flags = fcntl_getfl(&to)?;
        fcntl_setfl(&to, flags | OFlags::NONBLOCK)?;
        let stdin = from.try_clone()?;
        let ends = Ends {
            to: Some(to),
            is_cut: false,
            from,
        };
        Ok((Pipe(Arc::new(Mutex::new(ends))), stdin))
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line, and returns what was not taken of it.
    fn say<'line>(&self, line: &'line [u8]) -> &'line [u8] {
        let mut ends = self.lock();
        let ends = &mut *ends;
        let Some(to) = &mut ends.to else { return line };
        if ends.is_cut && !write_what_fits(to, b"\n").is_empty() {
            return line;
        }
        let left = write_what_fits(to, line);
        ends.is_cut = !left.is_empty() && left.len() < line.len();
        left
    }

    /// Asks the process to end well.
    pub(super) fn end(&self) {
        if !self.say(&[END, b"\n"].concat()).is_empty() {
            self.lock().to = None;
        }
    }

    /// The lines that the process did not read, now that it is gone.
    pub(super) fn unread(&self) -> String {
        let mut ends = self.lock();
        ends.to = None;
        let mut unread = Vec::new();
        // The only writer is gone, so this ends.
        let _ = ends.from.read_to_end(&mut unread);
        let lines = unread.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty() && *line != END);
        lines
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
            .collect()
    }
}

/// Writes what is taken at once, and returns the rest.
fn write_what_fits<'bytes>(to: &mut impl Write, mut bytes: &'bytes [u8]) -> &'bytes [u8] {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) if count > 0 => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    bytes
}

/// Hands the lines of a process to the one that draws, as long as it takes them, and the rest to
/// `elsewhere`.
pub(super) fn pass_on(said: impl Read, process: usize, leader: &Pipe, mut elsewhere: impl Write) {
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = format!("process {process}: {}\n", line.replace('\0', ""));
        // There is nowhere left to say that this failed.
        let _ = elsewhere.write_all(leader.say(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> io::Sink {
        io::sink()
    }

    #[test]
    fn what_a_process_says_goes_to_the_one_that_draws() {
        let (leader, mut stdin) = Pipe::new().unwrap();
        pass_on(&b"WARN one\nWARN \0two"[..], 1, &leader, nowhere());
        leader.end();
        let mut read = [0; 42];
        stdin.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"process 1: WARN one\nprocess 1: WARN two\n\0\n");
    }

    #[test]
    fn what_the_pipe_does_not_take_is_said_elsewhere_and_nothing_twice() {
        let (leader, mut stdin) = Pipe::new().unwrap();
        let long = "x".repeat(1 << 20);
        let mut elsewhere = Vec::new();
        pass_on(long.as_bytes(), 1, &leader, &mut elsewhere);
        let taken = "process 1: ".len() + long.len() + 1 - elsewhere.len();
        assert!(taken > 0 && elsewhere.len() > 1);
        // It is full, and so all of this line goes elsewhere.
        let cut = elsewhere.len();
        pass_on(&b"two"[..], 2, &leader, &mut elsewhere);
        assert_eq!(&elsewhere[cut..], b"process 2: two\n");
        let mut read = vec![0; taken];
        stdin.read_exact(&mut read).unwrap();
        // What follows the half of a line is not glued to it.
        pass_on(&b"three"[..], 2, &leader, nowhere());
        drop(stdin);
        assert_eq!(leader.unread(), "process 2: three\n");
        let joined = [&read[..], &elsewhere[..cut]].concat();
        assert_eq!(joined, format!("process 1: {long}\n").into_bytes());
    }

    #[test]
    fn what_the_one_that_draws_did_not_read_before_it_ended_is_not_lost() {
        let (leader, stdin) = Pipe::new().unwrap();
        drop(stdin);
        pass_on(&b"error: why"[..], 1, &leader, nowhere());
        leader.end();
        assert_eq!(leader.unread(), "process 1: error: why\n");
        let mut elsewhere = Vec::new();
        pass_on(&b"late"[..], 1, &leader, &mut elsewhere);
        assert_eq!(elsewhere, b"process 1: late\n");
    }
}
