//! Rows in the order that is drawn for them, or one after the other.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Origin, Reader, Row};
use crate::emulator::EmulatorError;
use crate::emulator::order::{Draw, Draws};
use crate::emulator::outgoing::Outgoing;

/// Rows at random, without end.
pub(super) struct Drawn<R> {
    draws: Draws,
    drawn: Option<Draw>,
    row: R,
}

impl<R: FnMut(u64) -> Option<Row> + Send> Drawn<R> {
    /// `row` is asked for each row drawn. As with the original scripts, nothing is posted when
    /// there is no such row; at least one that can be drawn must be there.
    pub(super) fn new(draws: Draws, row: R) -> Self {
        Self {
            draws,
            drawn: None,
            row,
        }
    }
}

impl<R: FnMut(u64) -> Option<Row> + Send> Origin for Drawn<R> {
    fn next<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<usize, EmulatorError>> {
        let mut posts = 0;
        while posts < most {
            let draw = self.drawn.take().unwrap_or_else(|| self.draws.draw());
            if let Some(row) = (self.row)(draw.row) {
                out.extend(row);
                posts += 1;
            }
        }
        std::future::ready(Ok(posts)).boxed()
    }

    fn pause(&mut self) -> Duration {
        self.drawn.get_or_insert_with(|| self.draws.draw()).pause
    }
}

/// The first rows of `reader`, at most `most`.
pub(super) async fn first_rows(
    mut reader: Box<dyn Reader>,
    most: u64,
) -> Result<Vec<Row>, EmulatorError> {
    let mut rows = Vec::new();
    let most = most as usize;
    loop {
        let before = rows.len();
        if before < most {
            reader.read(most - before, &mut rows).await?;
        }
        if rows.len() == before {
            return Ok(rows);
        }
    }
}

/// All rows, one after the other.
pub(super) struct InTurn {
    reader: Box<dyn Reader>,
    draws: Draws,
    rows: Vec<Row>,
}

impl InTurn {
    /// Begins behind the first `skipped` rows.
    pub(super) async fn after(
        mut reader: Box<dyn Reader>,
        skipped: u64,
        draws: Draws,
    ) -> Result<Self, EmulatorError> {
        let mut rows = Vec::new();
        let mut left = skipped;
        while left > 0 {
            rows.clear();
            reader.read(left.min(4096) as usize, &mut rows).await?;
            if rows.is_empty() {
                break;
            }
            left -= rows.len() as u64;
        }
        rows.clear();
        Ok(Self {
            reader,
            draws,
            rows,
        })
    }
}

impl Origin for InTurn {
    fn next<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<usize, EmulatorError>> {
        async move {
            self.reader.read(most, &mut self.rows).await?;
            let posts = self.rows.len();
            out.extend(self.rows.drain(..).flatten());
            Ok(posts)
        }
        .boxed()
    }

    fn pause(&mut self) -> Duration {
        self.draws.draw().pause
    }
}

/// Another origin, up to a number of posts.
pub(super) struct Limited<O> {
    origin: O,
    left: u64,
}

impl<O: Origin> Limited<O> {
    pub(super) fn new(origin: O, posts: u64) -> Self {
        Self {
            origin,
            left: posts,
        }
    }
}

impl<O: Origin> Origin for Limited<O> {
    fn next<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<usize, EmulatorError>> {
        async move {
            let most = usize::try_from(self.left).map_or(most, |left| left.min(most));
            if most == 0 {
                return Ok(0);
            }
            let posts = self.origin.next(most, out).await?;
            self.left -= posts as u64;
            Ok(posts)
        }
        .boxed()
    }

    fn pause(&mut self) -> Duration {
        self.origin.pause()
    }
}
