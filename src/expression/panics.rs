//! Panics of library code, as errors.
//!
//! DataFusion's functions may panic on some arguments. What a record says must not end the run, so
//! evaluation is done under [`catching`], which also keeps the default hook from printing a
//! backtrace.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use datafusion_common::{DataFusionError, Result};

/// What a panic said, as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evaluation panicked: {0}")]
pub struct Panicked(pub String);

thread_local! {
    /// How many calls of [`catching`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What the last panic that was caught said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does `work`; a panic in it becomes a [`Panicked`] error, and nothing is printed.
pub fn catching<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if DEPTH.get() == 0 {
                return before(panic);
            }
            let said = panic.payload_as_str().unwrap_or("it did not say why");
            SAID.with_borrow_mut(|text| said.clone_into(text));
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    // What `work` changes is either its result, which is lost, or a counter.
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.unwrap_or_else(|_| {
        let said = SAID.with_borrow_mut(std::mem::take);
        Err(DataFusionError::External(Box::new(Panicked(said))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_it_said() {
        let failed: Result<()> = catching(|| panic!("capacity {}", "overflow"));
        let error = failed.expect_err("it panics").to_string();
        assert!(error.contains("capacity overflow"), "{error}");
        assert_eq!(catching(|| Ok(1)).expect("it does not panic"), 1);
    }
}
