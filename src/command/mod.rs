//! The commands of the program, one a file. The doc comments of arguments are the help.

pub(crate) mod address;
mod bench;
mod check;
mod dead_letters;
mod emulate;
mod gateway;
mod inspect;
mod launch;
mod replay;
mod run;
mod signals;

use std::path::PathBuf;

/// Keeps Delta Lake tables and live views true while events pour in.
#[derive(clap::Parser)]
#[command(name = "pinflow", version, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Run a dataflow: read its streams, keep its views, commit to a lake
    Run(run::RunArgs),
    /// Run a dataflow on several processes of this machine
    Launch(launch::LaunchArgs),
    /// Look at the live views of a running dataflow
    Inspect(crate::serve::inspect::InspectArgs),
    /// Run a dataflow over a fixture in memory and print its views
    Replay(replay::ReplayArgs),
    /// Look at the records that could not become rows, and send them in again
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Check a dataflow file
    Check(check::CheckArgs),
    /// Print the dataflow that a file becomes
    Explain(check::ExplainArgs),
    /// Take records over HTTP, as the Kafka REST proxy and Kinesis do, for Kafka, Kinesis or a log
    /// of our own
    Gateway(gateway::GatewayArgs),
    /// Post the streams of an emulated service, to files, a gateway, Kafka or Kinesis
    Emulate(crate::emulator::EmulateArgs),
    /// Measure this machine: files to committed tables and views, restart, freshness, and the
    /// stages alone
    Bench(bench::BenchArgs),
}

/// Anything that ends a command: a sentence for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The dataflow that is run when none is named.
fn default_dataflow() -> PathBuf {
    PathBuf::from(crate::definition::SHIPPED)
}

impl Command {
    /// Reads the command line; wrong arguments end the program with what is right.
    pub fn parse() -> Command {
        <Command as clap::Parser>::parse()
    }

    /// Runs the command to its end.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Subcommand::Run(args) => run::run(args),
            Subcommand::Launch(args) => launch::run(&args),
            Subcommand::Inspect(args) => inspect::run(&args),
            Subcommand::DeadLetters(args) => dead_letters::run(&args),
            Subcommand::Bench(args) => bench::run(&args),
            Subcommand::Replay(args) => replay::run(&args),
            Subcommand::Check(args) => check::check(&args),
            Subcommand::Explain(args) => check::explain(&args),
            Subcommand::Gateway(args) => gateway::run(&args),
            Subcommand::Emulate(args) => emulate::run(args),
        }
    }
}
