//! Files, for posts that come out of other files or tables or in a drawn order. (Posts that are
//! made up in their own order are written by `files.rs`, faster.)

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Answer, Limits, Target};
use crate::emulator::files::{WriteOptions, refuse_occupied};
use crate::emulator::outgoing::Outgoing;
use crate::emulator::part::Part;
use crate::emulator::{EmulatorError, Stream, partition_of};

/// A folder of files.
pub(in crate::emulator) struct Folder {
    /// `[stream][partition]`
    parts: Mutex<Vec<Vec<Part>>>,
    partitions: u32,
    /// Whether to show files after every request: posts then come slowly.
    shown_at_once: bool,
}

impl Folder {
    /// `root` must not hold files of the streams yet.
    pub(in crate::emulator) fn open(
        root: &Path,
        partitions: u32,
        write: &WriteOptions,
        shown_at_once: bool,
    ) -> Result<Self, EmulatorError> {
        let mut parts = Vec::new();
        for stream in Stream::ALL {
            refuse_occupied(&write.layout.folder(root, stream), stream)?;
            let parts_of =
                (0..partitions).map(|partition| Part::new(root, stream, partition, write));
            parts.push(parts_of.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Self {
            parts: Mutex::new(parts),
            partitions,
            shown_at_once,
        })
    }

    fn write(&self, records: &[Outgoing]) -> Result<(), EmulatorError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let partition = record
                .key
                .map_or(0, |key| partition_of(key, self.partitions));
            parts[record.stream as usize][partition as usize].push(&record.body)?;
        }
        if self.shown_at_once {
            parts.iter_mut().flatten().try_for_each(Part::roll)?;
        }
        Ok(())
    }
}

impl Target for Folder {
    fn destinations(&self) -> usize {
        1
    }

    fn destination(&self, _: Stream) -> usize {
        0
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn limits(&self) -> Limits {
        Limits {
            records: usize::MAX,
            bytes: usize::MAX,
            keys_once: false,
        }
    }

    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer> {
        let answer = match self.write(records) {
            Ok(()) => Answer::all(records.len()),
            Err(error) => Answer::Fatal(error.to_string()),
        };
        std::future::ready(answer).boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), EmulatorError>> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let rolled = parts.iter_mut().flatten().try_for_each(Part::roll);
        std::future::ready(rolled).boxed()
    }
}
