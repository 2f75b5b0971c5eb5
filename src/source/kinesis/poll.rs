//! Reads a shard by GetRecords.
//!
//! The server allows 5 reads a second and 2 MB a second of a shard, for all its readers together:
//! reads keep a pause, and back off when refused. An iterator lives five minutes; one that expired
//! (the queue was full for long) is replaced by one behind what was read last.

use std::time::Instant;

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::place::Place;
use super::reader::{Ending, Reader};
use super::retry::{Verdict, judge};
use crate::source::SourceError;

/// The most records that the server gives at once.
const RECORDS_MAX: usize = 10_000;

/// Reads the shard until it ends.
pub async fn poll(reader: &mut Reader) -> Result<Ending, SourceError> {
    let mut iterator: Option<String> = None;
    // How large records are, so that an answer fits its room: a guess at first, then what was seen.
    let mut record_bytes = 4096;
    loop {
        let portion = reader.inlet.portion();
        let mut room = reader.inlet.room(portion).await;
        reader.check_retention()?;
        if reader.oldest {
            iterator = None;
        }
        let asked = Instant::now();
        let Some(current) = (match iterator.take() {
            Some(iterator) => Some(iterator),
            None => new_iterator(reader).await?,
        }) else {
            drop(room);
            continue;
        };
        let limit = (portion / record_bytes).clamp(1, RECORDS_MAX) as i32;
        let request = reader
            .client
            .get_records()
            .shard_iterator(&current)
            .limit(limit);
        match request.send().await {
            Ok(answer) => {
                reader.works();
                let bytes: usize = answer
                    .records()
                    .iter()
                    .map(|record| record.data().as_ref().len())
                    .sum();
                if let Some(mean) = bytes.checked_div(answer.records().len()) {
                    record_bytes = ((record_bytes + mean) / 2).max(64);
                }
                let behind_ms = answer.millis_behind_latest().unwrap_or(0);
                let last = answer.next_shard_iterator().is_none();
                let ending = reader.take(answer.records(), behind_ms, last, asked, &mut room)?;
                drop(room);
                if let Some(ending) = ending {
                    return Ok(ending);
                }
                iterator = answer.next_shard_iterator().map(str::to_owned);
                tokio::time::sleep_until((asked + reader.poll).into()).await;
            }
            Err(error) => {
                drop(room);
                let (verdict, why) = judge(&error);
                match verdict {
                    Verdict::Again => {
                        iterator = Some(current);
                        reader.wait(&why).await;
                    }
                    // A server may refuse an old iterator as no iterator; one that is refused when
                    // it is new is asked for again with pauses, then given up.
                    Verdict::Renew | Verdict::Refused if reader.backoff.tries() < 5 => {
                        reader.wait(&why).await
                    }
                    Verdict::Gone => return Err(reader.gone(why)),
                    Verdict::Renew | Verdict::Refused | Verdict::Fatal => {
                        return Err(reader.failed(why));
                    }
                }
            }
        }
    }
}

/// An iterator at the reader's place; `None` when it could not be had this time.
async fn new_iterator(reader: &mut Reader) -> Result<Option<String>, SourceError> {
    let request = reader
        .client
        .get_shard_iterator()
        .stream_name(&reader.kinesis)
        .shard_id(&reader.shard);
    let request = match reader.place() {
        None => request.shard_iterator_type(ShardIteratorType::Latest),
        Some(Place::Beginning) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        Some(Place::Time(ms)) => request
            .shard_iterator_type(ShardIteratorType::AtTimestamp)
            .timestamp(DateTime::from_millis(ms)),
        Some(Place::After(sequence)) => request
            .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
            .starting_sequence_number(sequence.as_str()),
    };
    match request.send().await {
        Ok(answer) => Ok(answer.shard_iterator().map(str::to_owned)),
        Err(error) => {
            let (verdict, why) = judge(&error);
            match verdict {
                Verdict::Again | Verdict::Renew => {
                    reader.wait(&why).await;
                    Ok(None)
                }
                Verdict::Gone => Err(reader.gone(why)),
                Verdict::Refused => Err(reader.refused(why)),
                Verdict::Fatal => Err(reader.failed(why)),
            }
        }
    }
}
