//! `launch`: one dataflow on several processes of this machine.
//!
//! The processes talk over timely's own TCP connections; process 0 serves and commits. This one only starts them and waits: when one ends badly the
//! others are ended too, and the next launch goes on from the last checkpoint.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::Duration;

use super::Failure;
use super::run::RunArgs;
use crate::lake::Lake;
use crate::sink::Committer;

/// Arguments of `launch`.
#[derive(clap::Args)]
pub struct LaunchArgs {
    /// Processes to start
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N")]
    processes: usize,
    /// What each of them runs; -w is the number of workers in each
    #[command(flatten)]
    run: RunArgs,
}

/// Starts the processes and waits for all of them.
pub fn run(args: &LaunchArgs) -> Result<(), Failure> {
    if args.processes == 0 {
        return Err("there must be at least one process; write -n 1 or more".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // What an earlier run left undone in the lake is done once, before several processes read it.
    let lake = Lake::open(&args.run.options().lake)?;
    runtime.block_on(Committer::open(lake, "pinflow-launch".to_owned()))?;
    // Ctrl-C reaches the processes directly; this one waits for them.
    runtime.spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let addresses = free_addresses(args.processes)?.join(",");
    let program = std::env::current_exe()?;
    let flags = flags_of_run();
    let mut children: Vec<(usize, Child)> = Vec::new();
    for process in 0..args.processes {
        let child = Command::new(&program)
            .arg("run")
            .args(&flags)
            .args(["--process", &process.to_string(), "--addresses", &addresses])
            .spawn()
            .map_err(|error| format!("process {process} could not be started: {error}"))?;
        children.push((process, child));
    }
    wait(children)
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

/// Addresses on this machine that nobody listens on.
fn free_addresses(count: usize) -> Result<Vec<String>, Failure> {
    // All are held until all are known, so that they differ.
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|a| a.to_string()))
        .collect::<Result<Vec<_>, _>>()?)
}

fn wait(mut children: Vec<(usize, Child)>) -> Result<(), Failure> {
    let mut failed: Option<String> = None;
    while !children.is_empty() {
        let mut left = Vec::new();
        for (process, mut child) in children {
            match child.try_wait()? {
                None => left.push((process, child)),
                Some(status) if status.success() => {}
                Some(status) => {
                    failed.get_or_insert_with(|| {
                        format!(
                            "process {process} ended early ({status}), so the others were ended too; what was committed stays, \
                             and the next launch goes on from there"
                        )
                    });
                }
            }
        }
        children = left;
        if failed.is_some() {
            for (_, child) in &mut children {
                let _ = child.kill();
                let _ = child.wait();
            }
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    failed.map_or(Ok(()), |why| Err(why.into()))
}
