//! How many files and connections the process may have open.

/// A door gets at most this share of the files that may be open; the rest is for lake and sources.
const SHARE: u64 = 4;
/// Each door has this many connections even where hardly any file may be open.
const CONNECTIONS_MIN: u64 = 4;

/// Raises the number of files that may be open to what the system allows.
///
/// The soft limit is kept low for programs that use `select`; this is none of them.
pub fn raise_limit() {
    let Some(mut limit) = limit() else { return };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads the struct and nothing else. Where the limit cannot be raised, doors
    // have fewer connections.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// How many of the connections that are wanted a door may have.
pub(super) fn share(wanted: usize) -> usize {
    let most = limit().map_or(u64::MAX, |limit| limit.rlim_cur / SHARE);
    let most = most.clamp(CONNECTIONS_MIN, 1 << 20);
    wanted.clamp(1, usize::try_from(most).unwrap_or(usize::MAX))
}

fn limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes the struct and nothing else.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (done == 0).then_some(limit)
}
