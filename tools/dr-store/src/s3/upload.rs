//! An upload of any length: one request where one part is enough, else parts, two of them on their way at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dr_pipe::stop::{self, OnStop};

use super::multipart::{Multipart, Part};
use super::parts::{MAX_PARTS, part_bytes};
use super::put::{Envelope, put_once};
use super::runtime::{Task, block_on};
use super::{Bucket, claims};
use crate::{Error, Stored, UploadOptions};

/// Parts on their way at a time; one more is being filled.
const IN_FLIGHT: usize = 2;

/// An object being uploaded.
pub(crate) struct S3Upload {
    bucket: Arc<Bucket>,
    key: String,
    options: UploadOptions,
    envelope: Envelope,
    /// The part being filled, and how large it becomes.
    part: Vec<u8>,
    part_bytes: usize,
    /// Bytes in full parts before it.
    sent: u64,
    multipart: Arc<Multipart>,
    in_flight: VecDeque<Task<Result<Part, Error>>>,
    parts: Vec<Part>,
    _on_stop: OnStop,
}

impl S3Upload {
    pub(super) fn new(bucket: Arc<Bucket>, key: &str, options: &UploadOptions) -> Result<Self, Error> {
        let multipart = Arc::new(Multipart::new(Arc::clone(&bucket), key));
        let on_stop = stop::on_stop({
            let multipart = Arc::clone(&multipart);
            move || multipart.abort()
        });
        Ok(S3Upload {
            bucket,
            key: key.into(),
            options: options.clone(),
            envelope: Envelope::new(options)?,
            part: Vec::new(),
            part_bytes: next_part(0, options),
            sent: 0,
            multipart,
            in_flight: VecDeque::new(),
            parts: Vec::new(),
            _on_stop: on_stop,
        })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            // Only when more comes than fits: an object of exactly one part needs no multipart upload.
            if self.part.len() == self.part_bytes {
                self.send_part()?;
            }
            if self.part.capacity() == 0 {
                self.part.reserve_exact(self.part_bytes);
            }
            let n = bytes.len().min(self.part_bytes - self.part.len());
            self.part.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Stored, Error> {
        let taken = if self.sent == 0 {
            let bytes = Bytes::from(std::mem::take(&mut self.part));
            block_on(put_once(&self.bucket, &self.key, bytes, &self.envelope))?
        } else {
            self.send_part()?;
            while !self.in_flight.is_empty() {
                self.await_part()?;
            }
            self.multipart.complete(&self.parts, self.sent, &self.envelope)?
        };
        block_on(claims::read_back(&self.bucket, &self.key, &self.options, taken))
    }

    fn send_part(&mut self) -> Result<(), Error> {
        while self.in_flight.len() >= IN_FLIGHT {
            self.await_part()?;
        }
        let number = i32::try_from(self.parts.len() + self.in_flight.len() + 1).unwrap_or(i32::MAX);
        if number > MAX_PARTS {
            return Err(Error::Config {
                object: format!("{}/{}", self.bucket.location, self.key),
                why: format!("the stream is longer than {MAX_PARTS} parts can hold"),
                hint: "say beforehand how long it will be: --expected-size".into(),
            });
        }
        let bytes = Bytes::from(std::mem::take(&mut self.part));
        self.sent += bytes.len() as u64;
        self.in_flight.push_back(self.multipart.send_part(number, bytes, &self.envelope)?);
        self.part_bytes = next_part(self.sent, &self.options);
        Ok(())
    }

    /// Waits for the oldest part that is on its way.
    fn await_part(&mut self) -> Result<(), Error> {
        let Some(task) = self.in_flight.pop_front() else { return Ok(()) };
        let stopped =
            || Error::Busy { object: format!("{}/{}", self.bucket.location, self.key), why: "stopped by a signal".into() };
        let part = task.wait().ok_or_else(stopped)??;
        self.parts.push(part);
        Ok(())
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        self.in_flight.clear();
        self.multipart.abort();
    }
}

fn next_part(sent: u64, options: &UploadOptions) -> usize {
    usize::try_from(part_bytes(sent, options.expected_bytes)).expect("parts of 5 GiB need a 64-bit machine")
}
