//! The command line.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Libraries whose warnings are the insides of errors that we return, and tell in a sentence.
const ECHOES: [&str; 5] = [
    "aws_config",
    "aws_credential_types",
    "aws_smithy_runtime",
    "buoyant_kernel",
    "buoyant_kernel_engine",
];

fn without_echoes() -> Targets {
    let off = ECHOES.map(|library| (library, LevelFilter::OFF));
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(off)
}

fn main() -> ExitCode {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(|| pinflow::serve::terminal::log::LogWriter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .finish();
    log.with(without_echoes()).init();
    pinflow::door::raise_limit();
    // Two libraries of cryptography are linked in, and TLS asks which one is meant. Someone may
    // have said so before.
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = pinflow::command::Command::parse();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
