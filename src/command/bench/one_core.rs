//! Holds a measurement to one core.
//!
//! One worker leaves the encoding of files, their input and the commit to threads beside it, so on
//! a machine with more cores it uses more than one. What another worker with a core of its own adds
//! is told by a run that has one core for everything.

/// What `measure` returns while this thread, and whatever threads it starts, share the first core
/// that they may use. `None` where cores cannot be chosen.
#[cfg(target_os = "linux")]
pub fn on_one_core<T>(measure: impl FnOnce() -> T) -> Option<T> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let all = sched_getaffinity(None).ok()?;
    let first = (0..CpuSet::MAX_CPU).find(|&core| all.is_set(core))?;
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).ok()?;
    let measured = measure();
    sched_setaffinity(None, &all).ok()?;
    Some(measured)
}

/// Elsewhere there is no such call.
#[cfg(not(target_os = "linux"))]
pub fn on_one_core<T>(_measure: impl FnOnce() -> T) -> Option<T> {
    None
}
