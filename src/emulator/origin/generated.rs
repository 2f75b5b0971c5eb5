//! Posts that are made up.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Origin, OriginOptions, Row};
use crate::emulator::order::Draws;
use crate::emulator::outgoing::{Dressing, Outgoing, is_json};
use crate::emulator::record::{Edition, Records};
use crate::emulator::{Emulator, EmulatorError, Stream};

/// The emulator, with all that it sends late, twice and changed.
pub(super) struct Generated {
    emulator: Emulator,
    draws: Draws,
    dressing: Dressing,
    may_break: bool,
}

impl Generated {
    pub(super) fn new(options: &OriginOptions, draws: Draws) -> Result<Self, EmulatorError> {
        let mut emulated = options.emulator.clone();
        // The posts are counted from the first one on.
        emulated.posts = emulated
            .posts
            .map(|posts| posts.saturating_add(options.first_row));
        Ok(Self {
            may_break: emulated.broken > 0.0,
            emulator: Emulator::at(emulated, options.first_row)?,
            draws,
            dressing: options.dressing,
        })
    }
}

impl Origin for Generated {
    fn next<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<usize, EmulatorError>> {
        let (dressing, may_break) = (self.dressing, self.may_break);
        let mut turns = 0;
        while turns < most
            && self.emulator.next_turn(&mut |sent, record| {
                let whole = !may_break || is_json(record);
                out.push(dressing.outgoing(sent.stream, Some(sent.index), record, whole));
            })
        {
            turns += 1;
        }
        std::future::ready(Ok(turns)).boxed()
    }

    fn pause(&mut self) -> Duration {
        self.draws.draw().pause
    }
}

/// Any post of the emulator's world, as it is first sent.
pub(super) struct GeneratedRows {
    records: Records,
    dressing: Dressing,
    record: Vec<u8>,
}

impl GeneratedRows {
    pub(super) fn new(options: &OriginOptions) -> Result<Self, EmulatorError> {
        options.emulator.validate()?;
        Ok(Self {
            records: Records::new(&options.emulator),
            dressing: options.dressing,
            record: Vec::with_capacity(2048),
        })
    }

    pub(super) fn row(&mut self, index: u64) -> Row {
        let post = self.records.post(index);
        let mut row = Vec::with_capacity(3);
        for stream in Stream::ALL {
            self.records
                .write(stream, &post, Edition::First, &mut self.record);
            let whole = is_json(&self.record);
            row.push(
                self.dressing
                    .outgoing(stream, Some(index), &self.record, whole),
            );
        }
        row
    }
}
