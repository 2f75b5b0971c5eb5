//! The processes of a cluster: how they find each other, and what one does when another is gone.
//!
//! Timely brings sockets of its own, which tell of their attempts on the terminal, cannot be
//! stopped while they wait, and panic when a peer dies. Ours are handed to it instead.
//!
//! # Invariants
//! 1. A peer that ends without having said goodbye ends the run of this process, with a sentence.
//! 2. A process whose dataflow was dropped says no goodbye: its sockets are closed, and the others
//!    notice.
//! 3. Processes work together only if they found the same in the lake, and run the same dataflow:
//!    each opens the lake by itself, and a writer that ended before may have had one more put on
//!    its way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use socket2::{Domain, Protocol, Socket, Type};
use timely::communication::AllocatorBuilder;
use timely::communication::Hooks;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::zero_copy::stream::Stream;

use super::outcome::Outcome;
use super::restore::Found;
use super::run::Cluster;
use crate::checkpoint::MadeBy;
use crate::delta::Epoch;
use crate::operator::route::hash_bytes;

/// How long to wait before a peer is looked for again.
const AGAIN: Duration = Duration::from_millis(5);
/// How often it is looked whether the run has failed meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// All processes of a cluster that is asked to stop have heard of it after this time.
const HEARD_WITHIN: Duration = Duration::from_millis(300);
/// Who waits longer than this for the others says for which.
const MET_WITHIN: Duration = Duration::from_secs(5);
/// A peer that has connected says at once who it is.
const GREETED_WITHIN: Duration = Duration::from_secs(2);
/// The bytes of timely's message header; one of zeros is its goodbye.
const HEADER: usize = 48;

/// The workers of a process, ready to be started, and the threads that talk to the others.
pub(super) type Connected = (Vec<AllocatorBuilder>, CommsGuard);

/// Waits until the threads that talk to the others have ended, now that the workers have. Where the
/// dataflow was dropped there is nothing to wait for: the process ends without them.
pub(super) fn say_goodbye(threads: CommsGuard, outcome: &Outcome) {
    let (said, goodbye) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        drop(threads);
        let _ = said.send(());
    });
    while goodbye.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) && !outcome.is_over() {
    }
}

/// What the processes of a cluster must agree on before they work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Premise {
    /// The epoch that the process found in the lake.
    epoch: Epoch,
    /// The number of the checkpoint with which it fenced the lake; 0 if it did not.
    fence: u64,
    /// A hash of the files that it found there, and of the statements that it runs.
    hash: u64,
}

impl Premise {
    pub(super) fn of(found: &Found, made_by: &MadeBy, fence: u64) -> Self {
        let files = found.tables.iter().flatten().map(|file| file.path.as_str());
        let made_by = serde_json::to_string(made_by).expect("it goes into every checkpoint");
        let text = files.chain([made_by.as_str()]).collect::<Vec<_>>();
        Premise {
            epoch: found.epoch,
            fence,
            hash: hash_bytes(text.join("\n").as_bytes()),
        }
    }

    /// Refuses to work with `process` if it found something else; what it put on top of that is
    /// noted in `fences`.
    pub(super) fn agree(
        &self,
        process: usize,
        theirs: Premise,
        fences: &Fences,
    ) -> Result<(), String> {
        if (self.epoch, self.hash) == (theirs.epoch, theirs.hash) {
            fences.0.fetch_max(theirs.fence, Ordering::SeqCst);
            return Ok(());
        }
        Err(match self.epoch == theirs.epoch {
            true => format!(
                "process {process} of the cluster runs another dataflow file or uses another lake than this one: \
                 start all processes with the same"
            ),
            false => format!(
                "process {process} of the cluster found epoch {} in the lake, and this one epoch {}: a pinflow that was ending \
                 committed in between; nothing is lost: start the cluster again",
                theirs.epoch, self.epoch
            ),
        })
    }
}

/// The last of the checkpoints with which the processes of a cluster fenced the lake, as far as it
/// is known here. The one that commits goes on behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(Arc<AtomicU64>);

impl Fences {
    /// Its number; 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Notes that `process` ended without having said goodbye, while this one was (`stopping`) asked to
/// stop or was not.
pub(super) fn lost(outcome: &Outcome, process: usize, stopping: impl FnOnce() -> bool) {
    if outcome.is_over() {
        // Nobody needs it any more.
    } else if process == 0 && stopping() {
        // It decides whether there is anything to be finished.
        outcome.abandon();
    } else {
        outcome.fail(format!(
            "process {process} of the cluster ended early, so this one ended too; what was committed stays"
        ));
    }
}

/// Connects this process with all others; `None` if the run was asked to stop before all of them
/// were there.
pub(super) fn connect(
    cluster: &Cluster,
    workers: usize,
    premise: Premise,
    fences: &Fences,
    outcome: &Outcome,
) -> Result<Option<Connected>, String> {
    let here = &cluster.addresses[cluster.process];
    let failed =
        |error: io::Error| format!("this process cannot talk to the others at {here}: {error}");
    let listener = listen(here).map_err(failed)?;
    let Some(streams) = meet(cluster, &listener, premise, fences, outcome)? else {
        return Ok(None);
    };
    let peers = peers(streams, outcome).map_err(failed)?;
    let hooks = Hooks::default();
    let processes =
        ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (workers, threads) =
        initialize_networking_from_sockets(processes, peers, cluster.process, workers, hooks)
            .map_err(failed)?;
    let workers = workers.into_iter().map(AllocatorBuilder::Tcp);
    Ok(Some((workers.collect(), threads)))
}

/// A port of this machine for a process of a cluster. Until the process listens on it, which it may
/// do while this is held, nobody else gets the port, nor connects from it.
pub fn reserve(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(here: &str) -> io::Result<TcpListener> {
    let address = here.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("it is no address"))?;
    let socket = reserve(address)?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket to every other process, in the order of their numbers; `None` in the place of this one.
fn meet(
    cluster: &Cluster,
    listener: &TcpListener,
    premise: Premise,
    fences: &Fences,
    outcome: &Outcome,
) -> Result<Option<Vec<Option<TcpStream>>>, String> {
    let (me, count) = (cluster.process, cluster.addresses.len());
    let greeting = Greeting::new(cluster);
    let hello = greeting.bytes(me, premise);
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut warn_at = Some(Instant::now() + MET_WITHIN);
    // Each process connects to those before it, and is found by those behind it.
    loop {
        for (process, address) in cluster.addresses.iter().enumerate().take(me) {
            if streams[process].is_none()
                && let Ok(mut stream) = TcpStream::connect(address)
                && stream.write_all(&hello).is_ok()
            {
                streams[process] = Some(stream);
            }
        }
        while let Ok((mut stream, _)) = listener.accept() {
            let Some((process, theirs)) = greeting.read(&mut stream) else {
                continue;
            };
            if (me + 1..count).contains(&process) {
                premise.agree(process, theirs, fences)?;
                streams[process] = Some(stream);
            }
        }
        if streams.iter().flatten().count() + 1 == count {
            return Ok(Some(streams));
        }
        if outcome.is_stopping() {
            return Ok(None);
        }
        if warn_at.take_if(|at| Instant::now() >= *at).is_some() {
            tracing::warn!("{}", waits_for(cluster, &streams));
        }
        std::thread::sleep(AGAIN);
    }
}

/// What a process says that waits for those that have no stream yet.
fn waits_for(cluster: &Cluster, streams: &[Option<TcpStream>]) -> String {
    let missing = (0..streams.len())
        .filter(|process| *process != cluster.process && streams[*process].is_none())
        .map(|process| format!("process {process} ({})", cluster.addresses[process]));
    format!(
        "process {} of the cluster waits for {}: start each process once, with a --process of its \
         own and the same --addresses",
        cluster.process,
        missing.collect::<Vec<_>>().join(", ")
    )
}

/// What timely reads from and writes to.
fn peers(streams: Vec<Option<TcpStream>>, outcome: &Outcome) -> io::Result<Vec<Option<Peer>>> {
    let peer = |(process, stream): (usize, Option<TcpStream>)| {
        let connect = |stream: TcpStream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(None)?;
            Ok(Peer {
                stream,
                process,
                outcome: outcome.clone(),
                tail: [1; HEADER],
            })
        };
        stream.map(connect).transpose()
    };
    streams.into_iter().enumerate().map(peer).collect()
}

/// What a process says when it connects: which cluster it belongs to, its number, and its premise.
struct Greeting {
    cluster: u64,
}

impl Greeting {
    const BYTES: usize = 40;

    fn new(cluster: &Cluster) -> Self {
        Greeting {
            cluster: hash_bytes(cluster.addresses.join(",").as_bytes()),
        }
    }

    fn bytes(&self, process: usize, premise: Premise) -> [u8; Self::BYTES] {
        let Premise { epoch, fence, hash } = premise;
        let words = [self.cluster, process as u64, epoch, fence, hash];
        let mut bytes = [0; Self::BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The number of who connected, and its premise; `None` for a stranger.
    fn read(&self, stream: &mut TcpStream) -> Option<(usize, Premise)> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(GREETED_WITHIN)).ok()?;
        let mut bytes = [0; Self::BYTES];
        stream.read_exact(&mut bytes).ok()?;
        let word = |place: usize| {
            let bytes = bytes[place * 8..][..8].try_into();
            u64::from_be_bytes(bytes.expect("eight bytes"))
        };
        let process = usize::try_from(word(1)).ok()?;
        let premise = Premise {
            epoch: word(2),
            fence: word(3),
            hash: word(4),
        };
        (word(0) == self.cluster).then_some((process, premise))
    }
}

/// The connection to another process.
///
/// Timely's threads panic where a read or write fails, so none does here: the run fails, and with
/// it the workers end.
struct Peer {
    stream: TcpStream,
    process: usize,
    outcome: Outcome,
    /// The last bytes that were read.
    tail: [u8; HEADER],
}

impl Peer {
    fn lost(&self) {
        lost(&self.outcome, self.process, || self.is_asked_to_stop());
    }

    /// Whether the run is to end. Who asks process 0 asks all processes, but not all hear of it at
    /// once.
    fn is_asked_to_stop(&self) -> bool {
        let begin = Instant::now();
        while !self.outcome.is_stopping() && begin.elapsed() < HEARD_WITHIN {
            std::thread::sleep(AGAIN);
        }
        self.outcome.is_stopping()
    }

    fn remember(&mut self, bytes: &[u8]) {
        let kept = HEADER.saturating_sub(bytes.len());
        self.tail.copy_within(HEADER - kept.., 0);
        self.tail[kept..].copy_from_slice(&bytes[bytes.len().saturating_sub(HEADER)..]);
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(count) if count > 0 => {
                self.remember(&buffer[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Ok(_) if self.tail == [0; HEADER] => return Ok(0),
            Ok(_) | Err(_) => self.lost(),
        }
        // Whatever is answered now, timely would panic; the process ends without this thread.
        loop {
            std::thread::park();
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.outcome.is_over()
            && let Err(error) = self.stream.write_all(bytes)
        {
            tracing::debug!("could not write to process {}: {error}", self.process);
            self.lost();
        }
        // Once the dataflow was dropped nobody waits for this.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Peer {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Peer {
            stream: self.stream.try_clone()?,
            process: self.process,
            outcome: self.outcome.clone(),
            tail: [1; HEADER],
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = if self.outcome.is_over() {
            Shutdown::Both
        } else {
            how
        };
        // A peer that is gone is no failure any more.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Machine;

    fn premise(epoch: Epoch, fence: u64, hash: u64) -> Premise {
        Premise { epoch, fence, hash }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    fn outcome(runtime: &tokio::runtime::Runtime) -> Outcome {
        Outcome::new(Arc::new(Machine(runtime.handle().clone())))
    }

    fn pair(outcome: &Outcome) -> (Peer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = Peer {
            stream: listener.accept().unwrap().0,
            process: 1,
            outcome: outcome.clone(),
            tail: [1; HEADER],
        };
        (peer, there)
    }

    #[test]
    fn a_peer_that_says_goodbye_is_no_failure() {
        for cut in [1, 17, 47] {
            let outcome = outcome(&runtime());
            let (mut peer, mut there) = pair(&outcome);
            let mut said = vec![7; 100];
            said.extend([0; HEADER]);
            let mut read = vec![0; 200];
            for part in [&said[..100 + cut], &said[100 + cut..]] {
                there.write_all(part).unwrap();
                let count = peer.read(&mut read).unwrap();
                assert_eq!(&read[..count], part);
            }
            drop(there);
            assert_eq!(peer.read(&mut read).unwrap(), 0);
            assert_eq!(outcome.failure(), None);
        }
    }

    #[test]
    fn a_peer_that_is_gone_ends_the_run_with_a_sentence() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        let (mut peer, there) = pair(&outcome);
        drop(there);
        std::thread::spawn(move || peer.read(&mut [0; 10]));
        runtime.block_on(outcome.stopped_for(Duration::ZERO));
        let why = outcome.failure().unwrap();
        assert!(
            why.starts_with("process 1 of the cluster ended early"),
            "{why}"
        );
    }

    #[test]
    fn strangers_are_not_taken_for_peers() {
        let cluster = Cluster {
            process: 0,
            addresses: vec!["a".to_owned(), "b".to_owned()],
        };
        let greeting = Greeting::new(&cluster);
        let (mut here, mut there) = {
            let (peer, there) = pair(&outcome(&runtime()));
            (peer.stream, there)
        };
        let premise = self::premise(3, 5, 7);
        there.write_all(&greeting.bytes(1, premise)).unwrap();
        assert_eq!(greeting.read(&mut here), Some((1, premise)));
        there
            .write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:2101\r\n")
            .unwrap();
        assert_eq!(greeting.read(&mut here), None);
    }

    #[test]
    fn processes_that_found_different_lakes_do_not_work_together() {
        let (ours, fences) = (premise(3, 0, 7), Fences::default());
        let agree = |epoch, hash| ours.agree(1, premise(epoch, 5, hash), &fences);
        let another = |epoch, hash| agree(epoch, hash).unwrap_err();
        assert!(another(4, 9).contains("found epoch 4 in the lake, and this one epoch 3"));
        assert!(another(3, 9).contains("runs another dataflow file or uses another lake"));
        assert_eq!((fences.last(), agree(3, 7), fences.last()), (0, Ok(()), 5));

        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = vec![first.local_addr().unwrap().to_string(), "there".to_owned()];
        first.set_nonblocking(true).unwrap();
        let mut second = TcpStream::connect(first.local_addr().unwrap()).unwrap();
        let cluster = Cluster {
            process: 0,
            addresses,
        };
        let theirs = premise(4, 0, 9);
        let hello = Greeting::new(&cluster).bytes(1, theirs);
        second.write_all(&hello).unwrap();
        let runtime = runtime();
        let met = meet(&cluster, &first, ours, &fences, &outcome(&runtime));
        assert!(met.unwrap_err().contains("start the cluster again"));
    }

    #[test]
    fn a_process_that_waits_for_others_names_them() {
        let cluster = Cluster {
            process: 1,
            addresses: ["a:1", "b:1", "c:1", "d:1"].map(str::to_owned).to_vec(),
        };
        let (_, there) = pair(&outcome(&runtime()));
        let said = waits_for(&cluster, &[Some(there), None, None, None]);
        let expected =
            "process 1 of the cluster waits for process 2 (c:1), process 3 (d:1): start each";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_reserved_port_is_only_for_the_process_that_will_listen_on_it() {
        let port = reserve(([127, 0, 0, 1], 0).into()).unwrap();
        let address = port.local_addr().unwrap().as_socket().unwrap();
        assert!(TcpListener::bind(address).is_err());
        assert!(TcpStream::connect(address).is_err());
        let listener = listen(&address.to_string()).unwrap();
        TcpStream::connect(address).unwrap();
        drop((listener, port));
        TcpListener::bind(address).unwrap();
    }
}
