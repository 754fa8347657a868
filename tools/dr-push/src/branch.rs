//! One store's share of the work, on a thread of its own, so that a slow or failing store is nobody else's trouble.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use dr_pipe::{Exit, Failure};
use dr_store::{Location, Store, Stored, UploadOptions};

/// Chunks that may wait for one store; with 256 KiB each, 4 MiB.
const WAITING: usize = 16;

/// What a store's thread is told. That the teller is gone without a word means: give up.
enum Message {
    Bytes(Arc<[u8]>),
    /// The stream is whole: make it durable.
    Finish,
}

/// A store that is being written to.
pub struct Branch {
    location: Location,
    queue: SyncSender<Message>,
    thread: JoinHandle<Result<Stored, Failure>>,
}

/// The store has failed: only [`Branch::end`] is left.
#[derive(Debug)]
pub struct Lost;

impl Branch {
    /// Starts to write the object `key` to `store`.
    ///
    /// # Errors
    /// 74 if no thread can be started.
    pub fn start(store: Store, key: &str, options: &UploadOptions) -> Result<Branch, Failure> {
        let (queue, messages) = sync_channel(WAITING);
        let location = store.location().clone();
        let (key, options) = (key.to_owned(), options.clone());
        let work = move || store_stream(&store, &key, &options, &messages);
        let thread = std::thread::Builder::new().name("store".into()).spawn(work);
        let thread = thread.map_err(|error: io::Error| Failure::io("starting a thread", &error))?;
        Ok(Branch { location, queue, thread })
    }

    /// Hands over the next bytes; waits while the store is behind.
    pub fn send(&self, bytes: &Arc<[u8]>) -> Result<(), Lost> {
        self.queue.send(Message::Bytes(Arc::clone(bytes))).map_err(|_| Lost)
    }

    /// Says that the stream is whole.
    pub fn finish(&self) -> Result<(), Lost> {
        self.queue.send(Message::Finish).map_err(|_| Lost)
    }

    /// Has the store give up; the thread ends once it has removed what it has.
    pub fn give_up(self) -> JoinHandle<Result<Stored, Failure>> {
        self.thread
    }

    /// Waits for the store's last word. Without [`Branch::finish`] before, it gives up and removes what it has.
    pub fn end(self) -> (Location, Result<Stored, Failure>) {
        drop(self.queue);
        match self.thread.join() {
            Ok(outcome) => (self.location, outcome),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn store_stream(store: &Store, key: &str, options: &UploadOptions, messages: &Receiver<Message>) -> Result<Stored, Failure> {
    let mut upload = store.upload(key, options)?;
    loop {
        match messages.recv() {
            Ok(Message::Bytes(bytes)) => upload.write(&bytes)?,
            Ok(Message::Finish) => return Ok(upload.finish()?),
            Err(_) => {
                upload.abort();
                let why = format!("{}: given up, as the stream is not whole", store.location());
                return Err(Failure::new(Exit::Missing, why, "nothing was left there"));
            }
        }
    }
}
