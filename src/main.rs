//! The command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds that freed pages are kept for reuse. Chunks and data files are large and come in waves; giving their pages back at once and
/// having them cleared again took a fifth of the processor time of the main job.
const KEEP_FREED_MS: std::ffi::c_long = 1000;

fn main() -> ExitCode {
    // SAFETY: sets one number of the allocator's options, before any other thread exists.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEEP_FREED_MS) };
    let command = pinflow::command::Command::parse();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
