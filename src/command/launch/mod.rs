//! `launch`: one dataflow on several processes of this machine.
//!
//! The processes talk over TCP connections of their own; process 0 serves and commits. This one
//! only starts them and waits. Each reads a [`Pipe`] that is written here: a line of its own asks a
//! process to end well, and so does the end of the pipe, which comes with this process's, however
//! that ends.
//!
//! # Invariants
//! 1. A signal reaches this process alone, and all others through their pipes, once.
//! 2. When this process ends, the others have ended or are about to.
//! 3. Nothing is waited for that a frozen process would have to do.
//! 4. What a process said before it ended is written before the sentence of this one.

mod pipe;

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::Failure;
use super::run::RunArgs;
use super::signals::{ASKED_TO_END, ENDED_BY_SIGNAL, Signals, say_stopping};
use crate::definition::Definition;
use crate::host::Machine;
use crate::lake::Lake;
use crate::runtime::{Outcome, STOP_WITHIN, planned, reserve};
use crate::sink::Committer;
use pipe::{Pipe, pass_on};

/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A process that was asked to end and has not after this time is killed. The lake has had its time
/// by then; a process that waits for another one would end badly by itself a second later.
const KILL_AFTER: Duration = STOP_WITHIN.saturating_sub(Duration::from_secs(1));
/// What a process said is read to its end soon after the process is gone.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

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
    /// The threads that pass on what they say.
    listening: Vec<JoinHandle<()>>,
    /// Since when they are to end.
    stopping: Option<Instant>,
    /// The first one that a signal asked to end, and not this process.
    asked: Option<usize>,
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
            pipes: Vec::new(),
            listening: Vec::new(),
            stopping: None,
            asked: None,
            failed: None,
            _ports: ports,
        };
        let draws = io::stderr().is_terminal();
        for process in 0..count {
            let (pipe, stdin) = Pipe::new()?;
            processes.pipes.push(pipe);
            let mut command = Command::new(&program);
            command
                .arg("run")
                .args(&flags)
                .args(["--process", &process.to_string(), "--addresses", &addresses])
                .stdin(stdin)
                // A terminal's Ctrl-C is for this process, which passes it on.
                .process_group(0);
            if draws && process > 0 {
                command.stderr(Stdio::piped());
            }
            let mut child = command
                .spawn()
                .map_err(|error| format!("process {process} could not be started: {error}"))?;
            if let Some(said) = child.stderr.take() {
                let leader = processes.pipes[0].clone();
                let pass_on = move || pass_on(said, process, &leader, io::stderr());
                processes.listening.push(std::thread::spawn(pass_on));
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
        self.pipes.iter().for_each(Pipe::end);
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
        if self.failed.is_none()
            && let Some(blamed) = blame(&ended, self.asked)
        {
            let killed = ended.iter().any(|(_, status)| status.signal().is_some());
            if self.stopping.is_some() && !killed && !self.frozen().is_empty() {
                // The one that stands still is why this one ended badly.
                self.kill();
            }
            self.failed.get_or_insert(blamed);
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
        let frozen = self.frozen();
        let running: Vec<usize> = self.running.iter().map(|(process, _)| *process).collect();
        if !running.is_empty() {
            self.failed
                .get_or_insert_with(|| too_late(&running, &frozen));
        }
        for (_, child) in &mut self.running {
            let _ = child.kill();
        }
    }

    /// Those that stand still.
    fn frozen(&self) -> Vec<usize> {
        let frozen = self.running.iter().filter(|(_, child)| is_frozen(child));
        frozen.map(|(process, _)| *process).collect()
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
            format!("a signal asked process {asked} to end before all could")
        }
        _ => format!("process {process} ended early ({status})"),
    };
    Some(format!("{what}, so the others were ended too; {RESUMED}"))
}

/// What is said of processes that were to end and still run; `frozen` ones among them are what the
/// others wait for.
fn too_late(running: &[usize], frozen: &[usize]) -> String {
    let named = |processes: &[usize]| {
        let processes: Vec<String> = processes.iter().map(ToString::to_string).collect();
        processes.join(" and ")
    };
    let what = match frozen {
        [] => format!(
            "process {} did not end within {} s after it was asked to",
            named(running),
            KILL_AFTER.as_secs()
        ),
        _ => format!(
            "process {} stands still (stopped by a signal or a debugger) and did not end when it \
             was asked to",
            named(frozen)
        ),
    };
    format!("{what}, so all were killed; {RESUMED}")
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

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        let gone = Instant::now();
        let heard = |listening: &[JoinHandle<()>]| listening.iter().all(JoinHandle::is_finished);
        while !heard(&self.listening) && gone.elapsed() < HEARD_WITHIN {
            std::thread::sleep(LOOK_EVERY);
        }
        if let Some(leader) = self.pipes.first() {
            eprint!("{}", leader.unread());
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
                "a signal asked process 1 to end before all could",
            ),
        ] {
            assert_eq!(named(&ended, asked).as_deref(), Some(expected));
        }
    }

    #[test]
    fn one_that_stands_still_is_named_and_not_one_that_ended_because_of_it() {
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", script]).stdin(Stdio::piped());
            shell.spawn().unwrap()
        };
        let (frozen, mut waits) = (shell("kill -STOP $$"), shell("read line; exit 1"));
        let go_on = waits.stdin.take();
        while !is_frozen(&frozen) {
            std::thread::yield_now();
        }
        let mut processes = Processes {
            running: vec![(0, waits), (1, frozen)],
            pipes: Vec::new(),
            listening: Vec::new(),
            stopping: Some(Instant::now()),
            asked: None,
            failed: None,
            _ports: Vec::new(),
        };
        assert!(!processes.look().unwrap());
        drop(go_on);
        while !processes.look().unwrap() {
            std::thread::yield_now();
        }
        let said = processes.failed.take().unwrap();
        assert!(said.starts_with("process 1 stands still"), "{said}");
    }
}
