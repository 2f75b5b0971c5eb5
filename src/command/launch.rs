//! `launch`: one dataflow on several processes of this machine.
//!
//! The processes talk over TCP connections of their own; process 0 serves and commits. This one
//! only starts them and waits. Each reads the end of a pipe whose other end is here: closing it
//! asks a process to end well, and it closes with this process, however that ends.
//!
//! # Invariants
//! 1. A signal reaches this process alone, and all others through their pipes, once.
//! 2. When this process ends, the others have ended or are about to.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::Failure;
use super::run::RunArgs;
use super::signals::{ENDED_BY_SIGNAL, Signals, say_stopping};
use crate::definition::Definition;
use crate::host::Machine;
use crate::lake::Lake;
use crate::runtime::{Outcome, STOP_WITHIN, planned, reserve};
use crate::sink::Committer;

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A process that was asked to end and has not after this time is killed.
const KILL_AFTER: Duration = STOP_WITHIN.saturating_sub(Duration::from_millis(500));

/// The most processes of one machine: each is connected with all others.
const PROCESSES_MAX: i64 = 64;

/// Arguments of `launch`.
#[derive(clap::Args)]
pub struct LaunchArgs {
    /// Processes to start
    #[arg(
        short = 'n',
        long,
        default_value_t = 2,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=PROCESSES_MAX)
    )]
    processes: u16,
    /// What each of them runs; -w is the number of workers in each
    #[command(flatten)]
    run: RunArgs,
}

/// Starts the processes and waits for all of them.
pub fn run(args: &LaunchArgs) -> Result<(), Failure> {
    // What is wrong with the file is said once, and not by each process.
    planned(&Definition::load(&args.run.options().dataflow)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(launch(args));
    runtime.shutdown_background();
    ended
}

async fn launch(args: &LaunchArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    // What an earlier run left undone in the lake is done once, before several processes read it.
    let lake = Lake::open(&args.run.options().lake)?;
    let machine = Machine(tokio::runtime::Handle::current());
    let outcome = Outcome::new(Arc::new(machine));
    let finishing = outcome.retrying_until_stopped("open the lake", async || {
        Committer::open(lake.clone(), "pinflow-launch".to_owned()).await
    });
    tokio::select! {
        _ = finishing => {}
        () = signals.next() => return Ok(()),
    }
    if let Some(why) = outcome.failure() {
        return Err(why.into());
    }
    let mut processes = Processes::start(args.processes.into())?;
    let mut asked = false;
    loop {
        if processes.look()? {
            return processes
                .failed
                .take()
                .map_or(Ok(()), |why| Err(why.into()));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = signals.next() => {
                if asked {
                    drop(processes);
                    std::process::exit(ENDED_BY_SIGNAL);
                }
                asked = true;
                say_stopping();
                processes.stop();
            }
        }
    }
}

/// The processes that run; they are killed with this.
struct Processes {
    running: Vec<(usize, Child)>,
    /// Since when they are to end.
    stopping: Option<Instant>,
    /// What is said of the first one that ended badly.
    failed: Option<String>,
    /// The ports that they talk at, kept until they listen.
    _ports: Vec<Socket>,
}

impl Processes {
    fn start(count: usize) -> Result<Processes, Failure> {
        let (ports, addresses) = free_ports(count)?;
        let addresses = addresses.join(",");
        let program = std::env::current_exe()?;
        let flags = flags_of_run();
        let mut processes = Processes {
            running: Vec::new(),
            stopping: None,
            failed: None,
            _ports: ports,
        };
        for process in 0..count {
            let child = Command::new(&program)
                .arg("run")
                .args(&flags)
                .args(["--process", &process.to_string(), "--addresses", &addresses])
                .stdin(Stdio::piped())
                // A terminal's Ctrl-C is for this process, which passes it on.
                .process_group(0)
                .spawn()
                .map_err(|error| format!("process {process} could not be started: {error}"))?;
            processes.running.push((process, child));
        }
        Ok(processes)
    }

    /// Asks all processes to end well.
    fn stop(&mut self) {
        self.stopping.get_or_insert_with(Instant::now);
        for (_, child) in &mut self.running {
            drop(child.stdin.take());
        }
    }

    /// Notes which processes have ended; says whether all have.
    fn look(&mut self) -> Result<bool, Failure> {
        let mut left = Vec::new();
        for (process, mut child) in std::mem::take(&mut self.running) {
            match child.try_wait()? {
                None => left.push((process, child)),
                Some(status) if status.success() => {}
                Some(status) => {
                    self.failed.get_or_insert_with(|| {
                        format!(
                            "process {process} ended early ({status}), so the others were ended too; what was committed stays, \
                             and the next launch goes on from there"
                        )
                    });
                }
            }
        }
        self.running = left;
        if self.failed.is_some() {
            self.stop();
        }
        if self
            .stopping
            .is_some_and(|since| since.elapsed() > KILL_AFTER)
        {
            for (_, child) in &mut self.running {
                let _ = child.kill();
            }
        }
        Ok(self.running.is_empty())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The command line without `launch` and its own flag: what `run` is given.
fn flags_of_run() -> Vec<String> {
    let mut flags = Vec::new();
    let mut rest = std::env::args()
        .skip(1)
        .skip_while(|arg| arg != "launch")
        .skip(1);
    while let Some(arg) = rest.next() {
        if arg == "-n" || arg == "--processes" {
            rest.next();
        } else if !(arg.starts_with("--processes=") || arg.starts_with("-n")) {
            flags.push(arg);
        }
    }
    flags
}

/// Ports of this machine that nobody listens on, and their addresses.
fn free_ports(count: usize) -> Result<(Vec<Socket>, Vec<String>), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ports = (0..count)
        .map(|_| reserve(any))
        .collect::<Result<Vec<_>, _>>()?;
    let address = |port: &Socket| {
        let address = port.local_addr()?.as_socket();
        Ok(address.expect("it is an IP socket").to_string())
    };
    let addresses = ports.iter().map(address);
    let addresses = addresses.collect::<std::io::Result<_>>()?;
    Ok((ports, addresses))
}
