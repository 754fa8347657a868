//! Where the SDK's futures run: two threads, shared by all stores, behind a synchronous face.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(2).thread_name("s3").enable_all().build();
        built.expect("threads and an epoll descriptor can be had at the start of a program")
    })
}

/// Runs a future to its end on the calling thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Starts a future that goes on by itself; it is stopped when the task is dropped.
pub(super) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(runtime().spawn(future))
}

/// A future under way.
pub(super) struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Waits for its end. None if it was stopped.
    ///
    /// # Panics
    /// If the future did.
    pub(super) fn wait(mut self) -> Option<T> {
        match block_on(&mut self.0) {
            Ok(value) => Some(value),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Something that stops it from elsewhere.
    pub(super) fn stopper(&self) -> tokio::task::AbortHandle {
        self.0.abort_handle()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
