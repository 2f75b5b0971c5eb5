//! Every target against a server in this process that fails at random: what is acknowledged is
//! there once, what is there was acknowledged, and the records of a key are in their order.

mod gateway;
mod kafka;
mod kinesis;
mod server;

use std::collections::BTreeMap;

use clap::Parser as _;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::channel;

use crate::emulator::command::{Report, run_with};
use crate::emulator::pace::WallClock;
use crate::emulator::posted::Posted;
use crate::emulator::{EmulateArgs, Emulator, EmulatorError, Stream};

/// Records of each stream and key, with what is not ASCII escaped, in the order in which they
/// arrived.
type Arrived = BTreeMap<(&'static str, u64), Vec<String>>;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: EmulateArgs,
}

fn parsed(arguments: &str) -> EmulateArgs {
    let words = std::iter::once("emulate").chain(arguments.split(' '));
    Command::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{error}"))
        .args
}

/// Runs the command as the program does, with a runtime of its own.
fn emulate(arguments: &str) -> Result<Posted, EmulatorError> {
    emulate_until(arguments, |_| 0)
}

/// The same, interrupted as often as `interrupts` says for the records that were acknowledged so
/// far.
fn emulate_until(
    arguments: &str,
    interrupts: impl Fn(u64) -> usize,
) -> Result<Posted, EmulatorError> {
    let runtime = Runtime::new().unwrap();
    let (interrupt, mut stop) = channel(8);
    let mut sent = 0;
    let report = run_with(
        parsed(arguments),
        &runtime,
        &mut WallClock::start(),
        &mut stop,
        &mut |_, sample| {
            while sent < interrupts(sample().records) {
                let _ = interrupt.try_send(());
                sent += 1;
            }
        },
    );
    runtime.shutdown_background();
    report.map(|report| match report {
        Report::Posted(posted) => posted,
        Report::Written(_) => panic!("nothing is written to files"),
    })
}

/// What the emulator of these arguments makes.
fn made(arguments: &str) -> Arrived {
    let mut emulator =
        Emulator::new(parsed(&format!("--to dir:x {arguments}")).emulator_options()).unwrap();
    let mut made = Arrived::new();
    while emulator.next_turn(&mut |sent, record| {
        let record = record.escape_ascii().to_string();
        made.entry((sent.stream.name(), sent.index))
            .or_default()
            .push(record);
    }) {}
    made
}

fn count(records: &Arrived) -> u64 {
    records.values().map(|records| records.len() as u64).sum()
}

/// The stream of a topic, Kinesis stream or partition key that ends in its name.
fn stream_of(name: &str) -> &'static str {
    let stream = Stream::ALL
        .into_iter()
        .find(|stream| name.ends_with(stream.name()));
    stream.unwrap_or_else(|| panic!("{name}")).name()
}

/// Files records under their key, which is in them.
fn by_key<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Arrived {
    let mut arrived = Arrived::new();
    for (name, record) in records {
        let key = crate::emulator::outgoing::key_of(record).unwrap_or(u64::MAX);
        let record = record.escape_ascii().to_string();
        arrived
            .entry((stream_of(name), key))
            .or_default()
            .push(record);
    }
    arrived
}
