//! The specification of the whole program: one binary, so that the engine is linked once.
//!
//! * `property`: the shipped dataflow over random histories: at every epoch a view is what
//!   DataFusion answers in batch;
//! * `query`: random dataflow files over random histories, against DataFusion and DuckDB;
//! * `bytes`: HTTP, decoder, conditions, addresses and dataflow files under damaged and random
//!   input;
//! * `guards`: random expressions that fail on some rows, against a look at each row alone;
//! * `notation`: each operator by example, as rows that come and go;
//! * `refused`, `unread`, `mistakes`: what a dataflow file may not say, and how it is told;
//! * `types`: every type of column, everywhere a column can be;
//! * `names`: what columns are called, and what relations may be called;
//! * `fixtures`: a recorded world whose answers another engine has computed;
//! * `lake`: the program itself over files: restarts, kills, bad records;
//! * `dead_letters`: dead letters that are sent in again;
//! * `statements`: the program where its dataflow file was changed, or is not there;
//! * `sources`: the program and its source: bad files, files in the wrong place, another source;
//! * `directory`, `archive`, `mysql`: the sources for files and for MariaDB, and the raw archive;
//! * `late_puts`: the archive while puts of an earlier process are on their way;
//! * `bucket`: the same with a lake and a source in S3;
//! * `cluster`, `cluster_histories`: the same on several processes, and what may happen to them;
//! * `stops`: how the program ends, and how its health is, while something is away;
//! * `served`: what a running program answers over HTTP and on its terminal;
//! * `kafka`: the source against a real Apache Kafka;
//! * `kinesis*`: the source against two implementations of Kinesis, one in this process;
//! * `front_doors`: the gateway and the dataflow in one program;
//! * `foreign`: the lake as a reader that is not ours sees it.
//!
//! `UPDATE_EXPECT=1` rewrites the expected texts, `PINFLOW_CASES=1000` looks longer, `PINFLOW_SEED`
//! elsewhere (`support/seed.rs`).

mod support {
    pub mod ferro;
    pub mod kafka_server;
    pub mod kinesis;
    pub mod kinesis_local;
    pub mod mariadb;
    pub mod port;
    pub mod python;
    pub mod s3;
    pub mod seed;
}

mod suite {
    mod answer;
    mod archive;
    mod bucket;
    mod bytes;
    mod cluster;
    mod cluster_histories;
    mod dead_letters;
    mod directory;
    mod fixtures;
    mod foreign;
    mod front_doors;
    mod guards;
    mod kafka;
    mod kinesis;
    mod kinesis_faults;
    mod kinesis_reshard;
    mod lake;
    mod late_puts;
    mod mistakes;
    mod mysql;
    mod names;
    mod notation;
    mod oracle;
    pub mod program;
    mod property;
    mod query;
    pub mod refused;
    mod served;
    mod sources;
    mod statements;
    mod stops;
    mod tape;
    mod types;
    pub mod unread;
}
