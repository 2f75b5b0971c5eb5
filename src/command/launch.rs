//! `launch`: one dataflow on several processes of this machine.
//!
//! The processes talk over TCP connections of their own; process 0 serves and commits. This one
//! only starts them and waits. Each reads the end of a pipe whose other end is here: [`END`] asks a
//! process to end well, and so does the end of the pipe, which comes with this process's, however
//! that ends. In a terminal process 0 draws; what the others say goes through its pipe, so that it
//! can write it above what it draws.
//!
//! # Invariants
//! 1. A signal reaches this process alone, and all others through their pipes, once.
//! 2. When this process ends, the others have ended or are about to.
//! 3. Nothing is waited for that a frozen process would have to do.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use socket2::Socket;

use super::Failure;
use super::run::RunArgs;
use super::signals::{ASKED_TO_END, END, ENDED_BY_SIGNAL, Signals, say_stopping};
use crate::definition::Definition;
use crate::host::Machine;
use crate::lake::Lake;
use crate::runtime::{Outcome, STOP_WITHIN, planned, reserve};
use crate::sink::Committer;

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A process that was asked to end and has not after this time is killed.
const KILL_AFTER: Duration = STOP_WITHIN.saturating_sub(Duration::from_millis(500));

/// What a launch that ended early leaves.
const RESUMED: &str = "what was committed stays, and the next launch goes on from there";

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
    /// Where each is spoken to, by its number.
    pipes: Vec<Pipe>,
    /// Since when they are to end.
    stopping: Option<Instant>,
    /// The first one that a signal asked to end, and not this process.
    asked: Option<usize>,
    /// What is said of the first one that ended badly.
    failed: Option<String>,
    /// The ports that they talk at, kept until they listen.
    _ports: Vec<Socket>,
}

/// The way to a process, until it is gone.
type Pipe = Arc<Mutex<Option<ChildStdin>>>;

impl Processes {
    fn start(count: usize) -> Result<Processes, Failure> {
        let (ports, addresses) = free_ports(count)?;
        let addresses = addresses.join(",");
        let program = std::env::current_exe()?;
        let flags = flags_of_run();
        let mut processes = Processes {
            running: Vec::new(),
            pipes: Vec::new(),
            stopping: None,
            asked: None,
            failed: None,
            _ports: ports,
        };
        let draws = io::stderr().is_terminal();
        for process in 0..count {
            let mut command = Command::new(&program);
            command
                .arg("run")
                .args(&flags)
                .args(["--process", &process.to_string(), "--addresses", &addresses])
                .stdin(Stdio::piped())
                // A terminal's Ctrl-C is for this process, which passes it on.
                .process_group(0);
            if draws && process > 0 {
                command.stderr(Stdio::piped());
            }
            let mut child = command
                .spawn()
                .map_err(|error| format!("process {process} could not be started: {error}"))?;
            processes.pipes.push(pipe(child.stdin.take())?);
            if let Some(said) = child.stderr.take() {
                let leader = Arc::clone(&processes.pipes[0]);
                std::thread::spawn(move || pass_on(said, process, &leader));
            }
            processes.running.push((process, child));
        }
        Ok(processes)
    }

    /// Asks all processes to end well.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        for pipe in &self.pipes {
            // A line before it may have been cut.
            if !say(pipe, &[b"\n", END, b"\n"].concat()) {
                *lock(pipe) = None;
            }
        }
    }

    /// Notes which processes have ended; says whether all have.
    fn look(&mut self) -> Result<bool, Failure> {
        let (mut left, mut ended) = (Vec::new(), Vec::new());
        for (process, mut child) in std::mem::take(&mut self.running) {
            match child.try_wait()? {
                None => left.push((process, child)),
                Some(status) => ended.push((process, status)),
            }
        }
        self.running = left;
        let asked = |(_, status): &&(usize, ExitStatus)| status.code() == Some(ASKED_TO_END);
        let asked = ended.iter().find(asked).map(|(process, _)| *process);
        self.asked = self.asked.or(asked);
        if self.failed.is_none() {
            self.failed = blame(&ended, self.asked);
        }
        if self.failed.is_some() || self.asked.is_some() {
            self.stop();
        }
        if self
            .stopping
            .is_some_and(|since| since.elapsed() > KILL_AFTER)
        {
            self.kill();
        }
        Ok(self.running.is_empty())
    }

    /// Kills those that are left, and says which of them did not end in time.
    fn kill(&mut self) {
        let frozen = self.running.iter().filter(|(_, child)| is_frozen(child));
        let frozen: Vec<usize> = frozen.map(|(process, _)| *process).collect();
        let running: Vec<usize> = self.running.iter().map(|(process, _)| *process).collect();
        if !running.is_empty() {
            self.failed
                .get_or_insert_with(|| too_late(&running, &frozen));
        }
        for (_, child) in &mut self.running {
            let _ = child.kill();
        }
    }
}

/// What is said of processes that have ended, where one of them ended badly; `asked` was asked to
/// end by a signal.
fn blame(ended: &[(usize, ExitStatus)], asked: Option<usize>) -> Option<String> {
    let bad = |(_, status): &&(usize, ExitStatus)| {
        !status.success() && status.code() != Some(ASKED_TO_END)
    };
    // The others end because one was killed, and never the other way round.
    let killed = ended.iter().find(|(_, status)| status.signal().is_some());
    let (process, status) = killed.or_else(|| ended.iter().find(bad))?;
    let what = match asked {
        Some(asked) if killed.is_none() => {
            format!("a signal asked process {asked} to end before all could, and not this launch")
        }
        _ => format!("process {process} ended early ({status})"),
    };
    Some(format!("{what}, so the others were ended too; {RESUMED}"))
}

/// What is said of processes that were to end and still run; `frozen` ones among them are what the
/// others wait for.
fn too_late(running: &[usize], frozen: &[usize]) -> String {
    let (late, why) = match frozen {
        [] => (running, "did not end"),
        _ => (
            frozen,
            "stands still (stopped by a signal or a debugger) and did not end",
        ),
    };
    let late: Vec<String> = late.iter().map(ToString::to_string).collect();
    format!(
        "process {} {why} within {:.1} s after it was asked to, so all were killed; {RESUMED}",
        late.join(" and "),
        KILL_AFTER.as_secs_f64()
    )
}

/// Whether a process was stopped by a signal, and not continued.
fn is_frozen(child: &Child) -> bool {
    // SAFETY: numbers and pointers that are all zero are a value of this type, and the kernel
    // writes one to where it is told.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let look = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        let looked = libc::waitid(libc::P_PID, child.id(), &raw mut info, look);
        looked == 0 && info.si_signo == libc::SIGCHLD
    }
}

/// The way to a process that reads it as `stdin`. Writing to one that does not read never waits.
fn pipe(stdin: Option<ChildStdin>) -> Result<Pipe, Failure> {
    let stdin = stdin.ok_or("a process was started without a pipe")?;
    let flags = fcntl_getfl(&stdin)?;
    fcntl_setfl(&stdin, flags | OFlags::NONBLOCK)?;
    Ok(Arc::new(Mutex::new(Some(stdin))))
}

fn lock(pipe: &Pipe) -> MutexGuard<'_, Option<ChildStdin>> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to a process; says whether all was taken.
fn say(pipe: &Pipe, bytes: &[u8]) -> bool {
    let mut pipe = lock(pipe);
    pipe.as_mut()
        .is_some_and(|pipe| pipe.write_all(bytes).is_ok())
}

/// Hands the lines of a process to the one that draws, as long as it listens.
fn pass_on(said: impl Read, process: usize, leader: &Pipe) {
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = format!("process {process}: {}\n", line.replace('\0', ""));
        if !say(leader, line.as_bytes()) {
            eprint!("{line}");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn status(raw: i32) -> ExitStatus {
        ExitStatus::from_raw(raw)
    }

    #[test]
    fn the_process_that_was_killed_is_named_and_not_one_that_ended_because_of_it() {
        let (well, failed, killed) = (status(0), status(1 << 8), status(9));
        let asked = status(ASKED_TO_END << 8);
        let named = |ended: &[(usize, ExitStatus)], asked| {
            let said = blame(ended, asked)?;
            Some(said.split(", so the others").next()?.to_owned())
        };
        assert_eq!(named(&[(0, well), (1, asked)], Some(1)), None);
        for (ended, asked, expected) in [
            (
                vec![(0, failed), (1, well)],
                None,
                "process 0 ended early (exit status: 1)",
            ),
            (
                vec![(0, failed), (1, killed)],
                None,
                "process 1 ended early (signal: 9 (SIGKILL))",
            ),
            (
                vec![(0, failed)],
                Some(1),
                "a signal asked process 1 to end before all could, and not this launch",
            ),
        ] {
            assert_eq!(named(&ended, asked).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_a_process_says_goes_to_the_one_that_draws_and_never_waits_for_it() {
        let mut leader = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = pipe(leader.stdin.take()).unwrap();
        pass_on(&b"WARN one\nWARN \0two"[..], 1, &to);
        // It does not read any more: what is not taken is said elsewhere.
        let lines = "x".repeat(1 << 20);
        assert!(!say(&to, lines.as_bytes()));
        *lock(&to) = None;
        let said = leader.wait_with_output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("process 1: WARN one\nprocess 1: WARN two\nxxx"));
    }
}
