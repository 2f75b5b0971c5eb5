//! How old an answer is: from a record's arrival in a file to the first answer of `GET /views/..`
//! that counts it.
//!
//! One thread appends records to files at a steady rate, another asks over HTTP, and both use one
//! clock. Every record is counted by the time of the first answer that has it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::command::Failure;
use crate::emulator::{Emulator, EmulatorOptions, Stream};

/// The view whose posts are counted.
const VIEW: &str = "follower_errors_by_category";
/// The time between appends, and between questions.
const APPEND_EVERY: Duration = Duration::from_millis(10);
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Pins that were there at some moment.
type Arrivals = Arc<Mutex<VecDeque<(u64, Instant)>>>;

/// Appends records to the files of three streams.
pub(super) struct Writer {
    files: Vec<File>,
    emulator: Emulator,
    posts_a_second: f64,
}

impl Writer {
    /// Begins the files in `folder`; `posts` are written in all.
    pub(super) fn new(folder: &Path, posts_a_second: f64, posts: u64) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for stream in Stream::ALL {
            let of_stream = folder.join(stream.name());
            fs::create_dir_all(&of_stream)?;
            files.push(File::create(of_stream.join("0.jsonl"))?);
        }
        // Every post counts once: no copies, no corrections, no broken records.
        let options = EmulatorOptions {
            posts: Some(posts),
            duplicates: 0.0,
            updates: 0.0,
            broken: 0.0,
            late: 0.0,
            ..EmulatorOptions::default()
        };
        Ok(Writer {
            files,
            emulator: Emulator::new(options)?,
            posts_a_second,
        })
    }

    /// Writes until all posts are written, noting when how many were there.
    fn write(mut self, arrivals: &Arrivals, stop: &AtomicBool) -> Result<(), Failure> {
        let started = Instant::now();
        let mut more = true;
        while more && !stop.load(Ordering::Relaxed) {
            let due = (started.elapsed().as_secs_f64() * self.posts_a_second) as u64;
            let mut bytes = vec![Vec::new(); self.files.len()];
            while more && self.emulator.post_number() < due {
                more = self.emulator.next_post(&mut |stream, _partition, record| {
                    let place = Stream::ALL.iter().position(|known| *known == stream);
                    if let Some(bytes) = place.and_then(|place| bytes.get_mut(place)) {
                        bytes.extend_from_slice(record);
                        bytes.push(b'\n');
                    }
                });
            }
            for (file, bytes) in self.files.iter_mut().zip(&bytes) {
                file.write_all(bytes)?;
            }
            let there = (self.emulator.post_number(), Instant::now());
            arrivals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(there);
            std::thread::sleep(APPEND_EVERY);
        }
        Ok(())
    }
}

/// Latencies in milliseconds, by how many records had them.
pub(super) struct Freshness {
    latencies: Vec<(f64, u64)>,
}

impl Freshness {
    /// The latency that the share `part` of all records did not exceed.
    pub(super) fn percentile(&mut self, part: f64) -> f64 {
        self.latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: u64 = self.latencies.iter().map(|(_, records)| records).sum();
        let mut seen = 0;
        for (latency, records) in &self.latencies {
            seen += records;
            if seen as f64 >= all as f64 * part {
                return *latency;
            }
        }
        f64::NAN
    }
}

/// Writes and asks until all posts are answered.
pub(super) fn measure(
    writer: Writer,
    address: SocketAddr,
    posts: u64,
) -> Result<Freshness, Failure> {
    let arrivals = Arrivals::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (arrivals, stop) = (Arc::clone(&arrivals), Arc::clone(&stop));
        std::thread::spawn(move || writer.write(&arrivals, &stop).map_err(|e| e.to_string()))
    };
    let asked = ask(address, posts, &arrivals);
    stop.store(true, Ordering::Relaxed);
    match writing.join() {
        Ok(written) => written?,
        Err(_) => return Err("the writing thread panicked".into()),
    }
    asked
}

fn ask(address: SocketAddr, posts: u64, arrivals: &Arrivals) -> Result<Freshness, Failure> {
    let patience = Duration::from_secs(10);
    let mut latencies = Vec::new();
    let (mut answered, mut moved) = (0, Instant::now());
    while answered < posts {
        let counted = counted(address)?;
        let now = Instant::now();
        if counted > answered {
            moved = now;
        } else if now - moved > patience {
            return Err(format!("after {answered} of {posts} posts no more became visible").into());
        }
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(there, at)) = arrivals.front()
            && answered < counted
        {
            let until = there.min(counted);
            let latency = (now - at).as_secs_f64() * 1000.0;
            latencies.push((latency, until.saturating_sub(answered)));
            answered = answered.max(until);
            if there <= counted {
                arrivals.pop_front();
            }
        }
        drop(arrivals);
        std::thread::sleep(ASK_EVERY);
    }
    Ok(Freshness { latencies })
}

/// The posts that the view counts, asked over HTTP.
fn counted(address: SocketAddr) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!(
        "GET /views/{VIEW} HTTP/1.1\r\nHost: {address}\r\nAccept: text/csv\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // category,posts,errors,error_rate; a category holds no comma.
    let rows = answer.lines().filter_map(|line| line.split(',').nth(1));
    Ok(rows.filter_map(|posts| posts.parse::<u64>().ok()).sum())
}
