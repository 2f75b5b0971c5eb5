//! The address of a source, as users write it.

use std::str::FromStr;

use super::{
    Directory, Emulated, KafkaSource, Kinesis, Mysql, Opening, Source, SourceError, Storage,
};
use crate::emulator::EmulatorOptions;
use crate::kafka::KafkaAddress;
use crate::kinesis::KinesisAddress;
use crate::mysql::MysqlAddress;
use crate::redact::redact;

/// Which source, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    /// Files in a folder or a bucket.
    Directory(String),
    /// Topics of a Kafka cluster.
    Kafka(Box<KafkaAddress>),
    /// Streams of Kinesis.
    Kinesis(Box<KinesisAddress>),
    /// Tables of a database, read once.
    Mysql(Box<MysqlAddress>),
    /// The embedded emulator.
    Emulator {
        /// Posts a second.
        rate: f64,
        /// Posts in all; none for endless.
        posts: Option<u64>,
        /// The seed of everything it makes up.
        seed: u64,
    },
}

impl FromStr for SourceSpec {
    type Err = SourceError;

    fn from_str(address: &str) -> Result<Self, SourceError> {
        let wrong = |why: &str| SourceError::Address {
            address: redact(address),
            why: why.to_owned(),
        };
        let Some((kind, rest)) = address.split_once(':') else {
            return Err(wrong("it does not begin with a kind and a colon"));
        };
        match kind {
            "kafka" => Ok(SourceSpec::Kafka(Box::new(address.parse()?))),
            "kinesis" => Ok(SourceSpec::Kinesis(Box::new(address.parse()?))),
            "mysql" | "mariadb" => Ok(SourceSpec::Mysql(Box::new(address.parse()?))),
            "dir" if rest.is_empty() => Err(wrong("the folder is missing")),
            "dir" => Ok(SourceSpec::Directory(rest.to_owned())),
            "emulator" => {
                let mut spec = (100.0, None, EmulatorOptions::default().seed);
                for pair in rest
                    .trim_start_matches('?')
                    .split('&')
                    .filter(|pair| !pair.is_empty())
                {
                    let (name, value) = pair
                        .split_once('=')
                        .ok_or_else(|| wrong("an option is `name=value`"))?;
                    let number = || value.parse::<f64>().ok().filter(|number| *number > 0.0);
                    match name {
                        "rate" => {
                            spec.0 = number()
                                .ok_or_else(|| wrong("`rate` is posts a second, above 0"))?
                        }
                        "posts" => {
                            spec.1 = Some(
                                value
                                    .parse()
                                    .map_err(|_| wrong("`posts` is a whole number"))?,
                            )
                        }
                        "seed" => {
                            spec.2 = value
                                .parse()
                                .map_err(|_| wrong("`seed` is a whole number"))?
                        }
                        _ => {
                            return Err(wrong(
                                "the emulator's options are `rate`, `posts` and `seed`",
                            ));
                        }
                    }
                }
                Ok(SourceSpec::Emulator {
                    rate: spec.0,
                    posts: spec.1,
                    seed: spec.2,
                })
            }
            _ => Err(wrong(&format!("there is no kind `{kind}`"))),
        }
    }
}

/// A folder that is there, or a bucket.
impl SourceSpec {
    /// Opens the source; nothing is read yet.
    pub fn open(
        &self,
        opening: Opening,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Box<dyn Source>, SourceError> {
        match self {
            SourceSpec::Emulator { rate, posts, seed } => {
                let options = EmulatorOptions {
                    posts: *posts,
                    seed: *seed,
                    ..EmulatorOptions::default()
                };
                Ok(Box::new(Emulated::open(options, *rate, opening)?))
            }
            SourceSpec::Kafka(address) => Ok(Box::new(KafkaSource::open(address, opening)?)),
            SourceSpec::Kinesis(address) => {
                let address = KinesisAddress::clone(address);
                Ok(Box::new(Kinesis::open(address, opening, runtime)?))
            }
            SourceSpec::Mysql(address) => {
                let address = MysqlAddress::clone(address);
                Ok(Box::new(Mysql::open(address, opening, runtime)?))
            }
            SourceSpec::Directory(location) => {
                let refused = |why: String| SourceError::Address {
                    address: redact(&format!("dir:{location}")),
                    why,
                };
                let storage = Storage::at(location, &opening.troubles)
                    .map_err(|error| refused(error.to_string()))?;
                if matches!(&storage, Storage::Folder(folder) if !folder.is_dir()) {
                    return Err(refused("there is no such folder".to_owned()));
                }
                let source = Directory::open(storage, location.clone(), runtime, opening);
                Ok(Box::new(source))
            }
        }
    }

    /// Whether the process of `opening` reads this partition of a stream; every partition is read
    /// by one.
    pub fn reads(&self, opening: &Opening, stream: &str, partition: &str) -> bool {
        match self {
            SourceSpec::Emulator { .. } => opening.process == 0,
            // A Kinesis stream goes to one process with all its shards.
            SourceSpec::Kinesis(_) => {
                let kinesis = partition
                    .split_once('/')
                    .map_or(partition, |(name, _)| name);
                opening.is_mine("", kinesis)
            }
            _ => opening.is_mine(stream, partition),
        }
    }

    /// The source for people: without secrets.
    pub fn describe(&self) -> String {
        match self {
            SourceSpec::Directory(location) => format!("dir:{location}"),
            SourceSpec::Kafka(address) => address.describe(),
            SourceSpec::Kinesis(address) => address.describe(),
            SourceSpec::Mysql(address) => address.describe(),
            SourceSpec::Emulator { rate, .. } => format!("emulator at {rate} posts/s"),
        }
    }
}
