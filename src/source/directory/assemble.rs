//! From the bytes of a partition's files to pieces, in order.
//!
//! Blocks of large files become pieces as they are: nothing is copied. Small ones are gathered, because a chunk costs as much as a few hundred records
//! do, wherever it goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::open_file::{End, Framed, OpenFile};
use super::piece::{Piece, Segment};
use super::place::{Order, Place, ReadTo};
use super::shared::{Event, Gauge, Shared};
use super::unzip::Unzip;
use crate::source::SourceError;

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
    path: Arc<str>,
    order: Order,
    /// Waits for what follows: at the end of a file its place is that the file is done.
    held: Option<Framed>,
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
    pub(super) fn begin(
        &mut self,
        path: &Arc<str>,
        order: Order,
        start: ReadTo,
        head: &[u8],
    ) -> Result<(), SourceError> {
        if !head.is_empty() && Unzip::is_for(path, head) {
            let why = "it is compressed and grew after it had been read; write whole files under new names";
            return Err(self.shared.changed(path, why.to_owned()));
        }
        self.gauge.used.store(true, Ordering::Relaxed);
        self.file = Some(Reading {
            open: OpenFile::new(path, start, head),
            path: Arc::clone(path),
            order,
            held: None,
        });
        Ok(())
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
            let path = Arc::clone(&file.path);
            self.file = Some(file);
            self.hold(framed.map_err(|why| self.shared.storage_failed(&path, why))?)
                .await?;
        }
        Ok(())
    }

    /// Ends the file, of which `size` bytes are stored; `complete` if nothing more can be written to it. Tells how much of it was read.
    pub(super) async fn end(&mut self, size: u64, complete: bool) -> Result<ReadTo, SourceError> {
        let Some(file) = &mut self.file else {
            return Ok(ReadTo::START);
        };
        let path = Arc::clone(&file.path);
        let end = file.open.finish(complete);
        let End { framed, done } = end.map_err(|why| self.shared.storage_failed(&path, why))?;
        self.hold(framed).await?;
        let Some(mut file) = self.file.take() else {
            return Ok(ReadTo::START);
        };
        let read = if done {
            ReadTo::Stored(size)
        } else {
            file.open.read_to()
        };
        if let Some(mut last) = file.held.take() {
            if let (true, Some(mark)) = (done, last.marks.last_mut()) {
                mark.1 = read;
            }
            self.hand_on(last, &file).await?;
        }
        Ok(read)
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
        let segments = framed.marks.into_iter().map(|(end, read)| Segment {
            end: base + end,
            from: from.take(),
            place: Place {
                read,
                file: Arc::clone(&file.path),
                order: file.order.clone(),
            },
        });
        if !small {
            let segments = segments.collect();
            self.send(framed.text, segments).await;
            return Ok(());
        }
        self.segments.extend(segments);
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
