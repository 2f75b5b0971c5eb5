//! From the bytes of a partition's files to pieces, in order.
//!
//! Blocks of large files become pieces as they are: nothing is copied. Small ones are gathered,
//! because a chunk costs as much as a few hundred records do, wherever it goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::open_file::{End, Framed, OpenFile, Unreadable, Writing};
use super::piece::{Piece, Segment};
use super::place::{FileSeen, Place, ReadTo, Tail};
use super::shared::{Event, Gauge, Shared};
use super::unzip::Unzip;
use crate::source::{Refused, SourceError};

/// Of a record that is no whole one, a dead letter holds so many bytes.
const LETTER_BYTES: usize = 64 << 10;

/// Text shorter than this is gathered.
const SMALL_BYTES: usize = 128 << 10;

/// Gathered text is handed on when it is about this long.
const GATHER_BYTES: usize = 1 << 20;

/// Makes the pieces of one partition.
pub(super) struct Assembler {
    shared: Arc<Shared>,
    stream: usize,
    partition: Arc<str>,
    pub gauge: Arc<Gauge>,
    gathered: Vec<u8>,
    segments: VecDeque<Segment>,
    file: Option<Reading>,
}

struct Reading {
    open: OpenFile,
    file: Arc<FileSeen>,
    /// How far whole records came, and what is before that.
    to: (ReadTo, Option<Tail>),
    /// Waits for what follows: at the end of a file its place is that the file is done.
    held: Option<Framed>,
}

/// Where a file is read on.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    /// How much of it was read.
    pub read: Option<ReadTo>,
    /// What must be before that.
    pub tail: Option<Tail>,
    /// How the file begins, unless it is read from there.
    pub head: Bytes,
    /// What is before the place, of a file that is not compressed.
    pub before: Bytes,
}

impl Start {
    /// Whether what was read is still in the file, as far as it can be seen before its text.
    pub(super) fn is_sound(&self) -> bool {
        match (self.read, self.tail) {
            (Some(ReadTo::Stored(1..)), Some(tail)) => tail.ends(&self.before),
            _ => true,
        }
    }
}

impl Assembler {
    /// For a partition.
    pub(super) fn new(shared: &Arc<Shared>, stream: usize, partition: &str) -> Self {
        Assembler {
            shared: Arc::clone(shared),
            stream,
            partition: partition.into(),
            gauge: shared.gauge(stream, partition),
            gathered: Vec::new(),
            segments: VecDeque::new(),
            file: None,
        }
    }

    /// Begins a file; see [`OpenFile::new`].
    pub(super) fn begin(&mut self, file: FileSeen, start: &Start) -> Result<(), SourceError> {
        if !start.head.is_empty() && Unzip::is_for(&file.path, &start.head) {
            let why = "it is compressed and grew after it had been read; write whole files under new names";
            return Err(self.shared.changed(&file.path, why.to_owned()));
        }
        self.gauge.used.store(true, Ordering::Relaxed);
        let read = start.read.unwrap_or(ReadTo::START);
        self.file = Some(Reading {
            open: OpenFile::new(&file.path, read, start.tail, &start.head, &start.before),
            file: Arc::new(file),
            to: (read, start.tail),
            held: None,
        });
        Ok(())
    }

    /// Notes a place that has no records before it which were not handed on.
    pub(super) fn note(&mut self, place: Place) {
        self.segments.push_back(Segment {
            end: self.gathered.len(),
            from: None,
            place,
            refused: None,
        });
    }

    /// See [`OpenFile::take_carry`].
    pub(super) fn take_carry(&mut self) -> Bytes {
        let open = self.file.as_mut().map(|file| &mut file.open);
        open.map(OpenFile::take_carry).unwrap_or_default()
    }

    /// Takes the next bytes of the file.
    pub(super) async fn block(&mut self, mut block: Bytes) -> Result<(), SourceError> {
        while !block.is_empty() {
            let Some(mut file) = self.file.take() else {
                return Ok(());
            };
            let framed = if file.open.is_slow() && block.len() > SMALL_BYTES / 2 {
                let work = tokio::task::spawn_blocking(move || {
                    let framed = file.open.push(&mut block);
                    (file, block, framed)
                });
                let framed;
                (file, block, framed) = work
                    .await
                    .map_err(|error| self.shared.storage_failed(&self.partition, error))?;
                framed
            } else {
                file.open.push(&mut block)
            };
            let seen = Arc::clone(&file.file);
            self.file = Some(file);
            let framed = framed.map_err(|why| self.unreadable(&seen.path, why))?;
            self.hold(framed).await?;
        }
        Ok(())
    }

    /// Ends the file, of which `size` bytes are stored. Tells how much of it was read, and what is
    /// before that.
    pub(super) async fn end(
        &mut self,
        size: u64,
        writing: Writing,
    ) -> Result<(ReadTo, Option<Tail>), SourceError> {
        let nothing = (ReadTo::START, None);
        let Some(file) = &mut self.file else {
            return Ok(nothing);
        };
        let seen = Arc::clone(&file.file);
        let end = file.open.finish(writing);
        let End { framed, done } = end.map_err(|why| self.unreadable(&seen.path, why))?;
        self.hold(framed).await?;
        let Some(mut file) = self.file.take() else {
            return Ok(nothing);
        };
        if done {
            file.to = (ReadTo::Stored(size), file.open.tail());
        } else if writing == Writing::Rests {
            tracing::warn!(
                "{}: the file {} ends in the middle of a record: {} bytes are left to the next run; \
                 if nothing is to follow them, end them with a newline",
                self.shared.name,
                seen.path,
                file.open.begun().len()
            );
        }
        let (read, tail) = file.to;
        match file.held.take() {
            Some(mut last) => {
                if let (true, Some(mark)) = (done, last.marks.last_mut()) {
                    (mark.read, mark.tail) = (read, tail);
                }
                self.hand_on(last, &file).await?;
            }
            None => self.note(Place {
                file: Arc::clone(&file.file),
                read,
                tail,
            }),
        }
        Ok((read, tail))
    }

    /// Hands on what was read of a file that cannot be read on.
    pub(super) async fn abandon(&mut self) -> Result<Option<Bytes>, SourceError> {
        let Some(mut file) = self.file.take() else {
            return Ok(None);
        };
        if let Some(last) = file.held.take() {
            self.hand_on(last, &file).await?;
        }
        let begun = file.open.begun();
        Ok(Some(Bytes::copy_from_slice(
            &begun[..begun.len().min(LETTER_BYTES)],
        )))
    }

    /// Refuses the rest of a file that cannot be read on: a blank line stands for it. Of `size` bytes
    /// nothing is left then.
    pub(super) async fn refuse(
        &mut self,
        file: FileSeen,
        size: u64,
        why: &str,
    ) -> Result<Place, SourceError> {
        let begun = self.abandon().await?.unwrap_or_default();
        tracing::warn!(
            "{}: the file {} could not be read on: {why}; its rest is a dead letter",
            self.shared.name,
            file.path
        );
        self.gauge.used.store(true, Ordering::Relaxed);
        self.gathered.push(b'\n');
        let refused = Refused {
            offset: 0,
            file: file.path.clone(),
            why: why.to_owned(),
            begun,
        };
        let place = Place {
            file: Arc::new(file),
            read: ReadTo::Stored(size),
            tail: None,
        };
        self.segments.push_back(Segment {
            end: self.gathered.len(),
            from: None,
            place: place.clone(),
            refused: Some(refused),
        });
        Ok(place)
    }

    fn unreadable(&self, path: &str, why: Unreadable) -> SourceError {
        match why {
            Unreadable::Damaged(why) => self.shared.bad_file(path, why),
            Unreadable::Rewritten => self.shared.rewritten(path),
        }
    }

    /// Hands on what was gathered.
    pub(super) async fn flush(&mut self) -> Result<(), SourceError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let text = Bytes::from(std::mem::take(&mut self.gathered));
        let segments = std::mem::take(&mut self.segments);
        self.send(text, segments).await;
        Ok(())
    }

    async fn hold(&mut self, framed: Vec<Framed>) -> Result<(), SourceError> {
        for framed in framed {
            let Some(mut file) = self.file.take() else {
                return Ok(());
            };
            if let Some(mark) = framed.marks.last() {
                file.to = (mark.read, mark.tail);
            }
            if let Some(before) = file.held.replace(framed) {
                self.hand_on(before, &file).await?;
            }
            self.file = Some(file);
        }
        Ok(())
    }

    async fn hand_on(&mut self, framed: Framed, file: &Reading) -> Result<(), SourceError> {
        let small = framed.text.len() < SMALL_BYTES;
        if !small {
            self.flush().await?;
        }
        let base = self.gathered.len();
        let mut from = framed.from;
        let segments = framed.marks.into_iter().map(|mark| Segment {
            end: base + mark.end,
            from: from.take(),
            place: Place {
                read: mark.read,
                file: Arc::clone(&file.file),
                tail: mark.tail,
            },
            refused: None,
        });
        self.segments.extend(segments);
        if !small {
            let segments = std::mem::take(&mut self.segments);
            self.send(framed.text, segments).await;
            return Ok(());
        }
        self.gathered.extend_from_slice(&framed.text);
        if self.gathered.last().is_some_and(|last| *last != b'\n') {
            self.gathered.push(b'\n');
            if let Some(last) = self.segments.back_mut() {
                last.end += 1;
            }
        }
        if self.gathered.len() >= GATHER_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn send(&mut self, text: Bytes, segments: VecDeque<Segment>) {
        let permit = self.shared.waiting.take(text.len()).await;
        self.gauge
            .waiting
            .fetch_add(text.len() as u64, Ordering::Relaxed);
        // Without a receiver the source is gone, and this task with it.
        let _ = self.shared.events.send(Event::Piece(Piece {
            stream: self.stream,
            partition: Arc::clone(&self.partition),
            text,
            segments,
            gauge: Arc::clone(&self.gauge),
            _permit: permit,
        }));
    }
}
