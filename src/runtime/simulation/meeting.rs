//! How the processes of a life find each other.

use timely::communication::{Allocator, Config as CommunicationConfig, initialize_from};

use crate::runtime::cluster::Premise;

/// What the processes of a life know of each other.
pub(super) struct Meeting {
    /// The allocators of each one's workers.
    pub(super) allocators: Vec<Vec<Allocator>>,
    /// What each of them found, once it is there.
    pub(super) there: Vec<Option<Premise>>,
    /// Which of them ended without having said goodbye.
    pub(super) lost: Vec<bool>,
}

impl Meeting {
    /// Of so many processes, each with so many workers.
    pub(super) fn new(processes: usize, workers: usize) -> Self {
        Meeting {
            allocators: allocators(processes, workers),
            there: vec![None; processes],
            lost: vec![false; processes],
        }
    }
}

/// The allocators of the workers of each process, which one thread will turn. Those of a cluster
/// exchange bytes.
fn allocators(processes: usize, workers: usize) -> Vec<Vec<Allocator>> {
    /// What leaves the thread that made it.
    struct Moved(Allocator);
    // SAFETY: an allocator shares `Rc`s with nothing but itself until a worker is made of it. The
    // threads are here because allocators wait for each other when they are made.
    unsafe impl Send for Moved {}
    let communication = match processes * workers {
        1 => return vec![vec![Allocator::Thread(Default::default())]],
        all if processes == 1 => CommunicationConfig::Process(all),
        all => CommunicationConfig::ProcessBinary(all),
    };
    let (builders, others) = communication.try_build().expect("a process needs nothing");
    let made = initialize_from(builders, others, Moved).expect("the system can start a thread");
    let mut made = made
        .join()
        .into_iter()
        .map(|moved| moved.expect("nothing in it panics").0);
    (0..processes)
        .map(|_| made.by_ref().take(workers).collect())
        .collect()
}
