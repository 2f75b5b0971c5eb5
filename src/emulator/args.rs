//! The arguments of `emulate`, and what they ask for.

use std::fmt;
use std::time::Duration;

use crate::command::address::Address;
use crate::emulator::backoff::Backoff;
use crate::emulator::dates::DateForm;
use crate::emulator::files::{Layout, WriteOptions};
use crate::emulator::order::{Pause, RowOrder};
use crate::emulator::origin::{OriginAddress, OriginOptions};
use crate::emulator::outgoing::Dressing;
use crate::emulator::pace::Pacing;
use crate::emulator::posting::PostingOptions;
use crate::emulator::{EmulatorError, EmulatorOptions};

/// Posts that are made if neither a number nor a rate is given.
pub(super) const POSTS: u64 = 1_000_000;

/// Records of a request if nothing is said.
const BATCH: u32 = 100;

/// Post the pin, geo and user streams of an emulated service: to files, a gateway, Kafka or
/// Kinesis. The same options give the same records.
///
/// Targets: `dir:PATH`; `http://HOST:8082/[STAGE/]topics/ID.*` (Kafka REST proxy);
/// `http://HOST:8082/[STAGE/]streams/streaming-ID-*` or `../streams/SHARED?partition_key=ID_*`
/// (Kinesis by the gateway); `kafka://HOST:9092?topic_prefix=ID.`; `kinesis://streaming-ID-*` or
/// `kinesis://SHARED?partition_key=ID_*`. A `*` stands for pin, geo and user.
#[derive(Clone, clap::Args)]
pub struct EmulateArgs {
    /// Where to post to; a folder must be new or hold no streams yet
    #[arg(long, value_name = "TARGET")]
    pub to: String,

    /// Where posts come from: `generated`, `dir:PATH` (files as sources read them), or
    /// `mysql://USER:PASSWORD@HOST:3306/DATABASE` (pinterest_data, geolocation_data and user_data)
    #[arg(long, value_name = "ORIGIN", default_value = "generated", value_parser = Address::<OriginAddress>::new())]
    pub from: OriginAddress,

    /// Posts to make; each is a pin, a geo and a user record [default: 1000000, or all rows there
    /// are, or endless with --rate or --pause]
    #[arg(long, value_name = "N")]
    pub posts: Option<u64>,

    /// Posts a second; files appear every second [default: as fast as possible]
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,

    /// Seconds between posts, or `random`: as the order draws them
    #[arg(long, value_name = "SECONDS", conflicts_with = "rate")]
    pub pause: Option<Pause>,

    /// Which row follows which
    #[arg(long, value_enum, default_value_t = RowOrder::Sequential)]
    pub order: RowOrder,

    /// Where a sequential order begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first_row: u64,

    /// The last row that an order can draw
    #[arg(long, value_name = "N", default_value_t = 11_000)]
    pub last_row: u64,

    /// Records of a request, at most 500 for Kinesis [default: 100; 1 with --pause, as the original
    /// scripts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: Option<u32>,

    /// Requests under way at once for each topic or stream
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub in_flight: u32,

    /// How often a record that was not acknowledged is sent again before the emulation gives up
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub retries: u32,

    /// The key of a gateway, sent as `x-api-key`
    #[arg(
        long,
        value_name = "KEY",
        env = "PINFLOW_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,

    /// How all dates of generated posts and tables are spelled [default: mixed; `space` for tables]
    #[arg(long, value_enum)]
    pub dates: Option<DateForm>,

    /// Wrap each record in an array
    #[arg(long)]
    pub wrap: bool,

    /// Send each record as base64 in a JSON string: base64 inside base64 on Kinesis
    #[arg(long)]
    pub base64: bool,

    /// Chooses the world: its posters, posts and accidents; and the rows that an order draws
    #[arg(long, value_name = "S", default_value_t = 100)]
    pub seed: u64,

    /// Share of records sent twice, byte for byte, at once or up to 2000 posts later
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().duplicates)]
    pub duplicates: f64,

    /// Share of posts with placeholders, odd counts, empty or blank texts
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().dirty)]
    pub dirty: f64,

    /// Share of posts of which one record comes up to 2000 posts late
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().late)]
    pub late: f64,

    /// Share of posts sent again 4000 to 6000 posts later with a changed value
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().updates)]
    pub updates: f64,

    /// Share of records that cannot become rows: cut, mistyped, without key or date
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().broken)]
    pub broken: f64,

    /// Share of records in a rare wire form: other dates, quoted numbers, array-wrapped, escaped
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().variants)]
    pub variants: f64,

    /// Partitions of each stream
    #[arg(long, value_name = "N", default_value_t = EmulatorOptions::default().partitions)]
    pub partitions: u32,

    /// Names of files and folders
    #[arg(long, value_enum, default_value_t = Layout::Topics)]
    pub layout: Layout,

    /// Compress the files
    #[arg(long)]
    pub gzip: bool,

    /// Records after which a new file begins [default: about 64 MB of them]
    #[arg(long, value_name = "N")]
    pub roll_records: Option<u64>,
}

impl EmulateArgs {
    /// What is emulated.
    pub fn emulator_options(&self) -> EmulatorOptions {
        let endless = self.rate.is_some() || self.pause.is_some() || self.reads_to_the_end();
        EmulatorOptions {
            posts: self.posts.or((!endless).then_some(POSTS)),
            seed: self.seed,
            duplicates: self.duplicates,
            dirty: self.dirty,
            late: self.late,
            updates: self.updates,
            broken: self.broken,
            variants: self.variants,
            dates: self.dates,
            partitions: self.partitions,
        }
    }

    /// Whether the origin has an end of its own.
    pub(super) fn reads_to_the_end(&self) -> bool {
        self.from != OriginAddress::Generated && self.order == RowOrder::Sequential
    }

    pub(super) fn write_options(&self) -> WriteOptions {
        WriteOptions {
            layout: self.layout,
            gzip: self.gzip,
            roll_records: self.roll_records,
            rate: self.rate,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ..WriteOptions::default()
        }
    }

    pub(super) fn dressing(&self) -> Dressing {
        Dressing {
            wrap: self.wrap,
            base64: self.base64,
        }
    }

    pub(super) fn origin_options(&self) -> OriginOptions {
        OriginOptions {
            emulator: self.emulator_options(),
            order: self.order,
            first_row: self.first_row,
            last_row: self.last_row,
            dates: self.dates,
            dressing: self.dressing(),
        }
    }

    pub(super) fn posting_options(&self) -> PostingOptions {
        PostingOptions {
            pacing: match (self.rate, self.pause) {
                (Some(rate), _) => Pacing::Rate(rate),
                (None, Some(Pause::Drawn)) => Pacing::Pauses(None),
                (None, Some(Pause::Fixed(pause))) => Pacing::Pauses(Some(pause)),
                (None, None) => Pacing::Free,
            },
            batch: self
                .batch
                .unwrap_or(if self.pause.is_some() { 1 } else { BATCH })
                as usize,
            in_flight: self.in_flight as usize,
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
                retries: self.retries,
            },
            jitter: u64::from(std::process::id()),
        }
    }

    /// Whether the emulator writes its files itself, at full speed.
    pub(super) fn is_plain(&self) -> bool {
        self.from == OriginAddress::Generated
            && self.order == RowOrder::Sequential
            && self.pause.is_none()
            && self.first_row == 0
            && self.dressing() == Dressing::default()
    }

    pub(super) fn validate(&self) -> Result<(), EmulatorError> {
        if let Some(rate) = self.rate.filter(|rate| !(*rate > 0.0 && rate.is_finite())) {
            return Err(EmulatorError::Rate(rate));
        }
        if self.roll_records == Some(0) {
            return Err(EmulatorError::RollRecords);
        }
        if self.pause == Some(Pause::Drawn) && self.order == RowOrder::RowsOnly {
            return Err(EmulatorError::Options(
                "--order rows-only draws no pauses: give --pause a number of seconds",
            ));
        }
        if self.order != RowOrder::Sequential && self.first_row > 0 {
            return Err(EmulatorError::Options(
                "--first-row belongs to --order sequential; rows are drawn from 0 on",
            ));
        }
        if self.dates.is_some() && matches!(self.from, OriginAddress::Files(_)) {
            return Err(EmulatorError::Options(
                "records out of files are posted as they are, so --dates cannot be used with --from dir:",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for EmulateArgs {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulateArgs")
            .field("from", &self.from)
            .field("order", &self.order)
            .field("emulator", &self.emulator_options())
            .finish_non_exhaustive()
    }
}
