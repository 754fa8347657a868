//! Was standard output open when the process started?
//!
//! Before `main`, the Rust runtime puts /dev/null in the place of a standard stream that is closed, so that `dr-dump >&-`
//! would lose a backup and call it written. From `main` on, nobody can tell that from a caller who gave us /dev/null on
//! purpose. So we look before the runtime does: functions in `.init_array` are called by the C library before it.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[expect(unsafe_code, reason = "the one way to be called before the runtime; `look` needs nothing that is not there yet")]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    #[expect(unsafe_code, reason = "the descriptor is only asked for, and the answer for a closed one is an error")]
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    STDOUT_WAS_CLOSED.store(rustix::io::fcntl_getfd(stdout).is_err(), Ordering::Relaxed);
}

/// Whether standard output was closed when the process started.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}
