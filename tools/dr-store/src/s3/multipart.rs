//! A multipart upload as the server knows it: begun, fed with parts, and completed or aborted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use dr_pipe::Sha256;
use tokio::task::AbortHandle;

use super::Bucket;
use super::attempts::{Ended, PATIENCE, patience_for, send};
use super::put::{Envelope, Receipted, Taken, compare, settle};
use super::runtime::{Task, block_on, spawn};
use crate::{Confirmed, Error, Put};

/// The longest time for a server to put parts together.
const LONGEST_ASSEMBLY: Duration = Duration::from_secs(600);
/// How many bytes of parts a server puts together in a second, at least: most copy none of them.
const ASSEMBLED_BYTES: u64 = 4 << 20;
/// Time for an abort, which may run while a signal waits.
const ABORT: Duration = Duration::from_secs(2);

/// A part that the server has.
#[derive(Clone, Debug)]
pub(super) struct Part {
    number: i32,
    etag: Option<String>,
    sha256: Sha256,
    confirmed: Confirmed,
}

/// A multipart upload. Shared with the clean-up that a signal runs.
pub(super) struct Multipart {
    bucket: Arc<Bucket>,
    key: String,
    state: Mutex<State>,
}

/// Held while an upload is begun, so that a clean-up never misses one.
#[derive(Default)]
struct State {
    id: Option<String>,
    tasks: Vec<AbortHandle>,
    /// Set by the clean-up: nothing is begun any more.
    stopped: bool,
}

impl Multipart {
    pub(super) fn new(bucket: Arc<Bucket>, key: &str) -> Self {
        Multipart { bucket, key: key.into(), state: Mutex::default() }
    }

    /// Begins the upload unless it has begun, and sends a part of it in the background.
    pub(super) fn send_part(
        self: &Arc<Self>,
        number: i32,
        bytes: Bytes,
        envelope: &Envelope,
    ) -> Result<Task<Result<Part, Error>>, Error> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::Busy { object: self.object(), why: "stopped by a signal".into() });
        }
        let id = match &state.id {
            Some(id) => id.clone(),
            None => block_on(self.begin(envelope))?,
        };
        state.id = Some(id.clone());
        let this = Arc::clone(self);
        let task = spawn(async move { this.put_part(&id, number, bytes).await });
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task.stopper());
        Ok(task)
    }

    async fn begin(&self, envelope: &Envelope) -> Result<String, Error> {
        let request = self.bucket.request(&self.key, "s3:PutObject");
        let tried = send(&request, PATIENCE, || {
            let (mode, until) = envelope.lock.clone().unzip();
            let create = self.bucket.client().create_multipart_upload().bucket(&self.bucket.name).key(self.bucket.full(&self.key));
            create
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .metadata(super::put::TOKEN, &envelope.token)
                .content_type("application/octet-stream")
                .set_storage_class(envelope.storage_class.clone())
                .set_tagging(envelope.tagging.clone())
                .set_object_lock_mode(mode)
                .set_object_lock_retain_until_date(until)
                .send()
        });
        let created = tried.await.map_err(|ended| ended.unexpected(&request))?;
        let id = created.upload_id().map(str::to_owned);
        id.ok_or_else(|| Error::Protocol { object: request.object, why: "an upload without an id".into() })
    }

    async fn put_part(&self, id: &str, number: i32, bytes: Bytes) -> Result<Part, Error> {
        let request = self.bucket.request(&self.key, "s3:PutObject");
        let sha256 = Sha256::of(&bytes);
        let checksum = BASE64.encode(sha256.0);
        let tried = send(&request, patience_for(bytes.len()), || {
            let part = self.bucket.client().upload_part().bucket(&self.bucket.name).key(self.bucket.full(&self.key));
            let part = part.upload_id(id).part_number(number).checksum_sha256(&checksum).body(ByteStream::from(bytes.clone()));
            part.customize().interceptor(Receipted).send()
        });
        match tried.await {
            Ok(part) => {
                let confirmed = compare(&request.object, part.checksum_sha256(), &checksum)?;
                Ok(Part { number, etag: part.e_tag().map(str::to_owned), sha256, confirmed })
            }
            Err(Ended::Absent) => {
                Err(Error::Unavailable { object: request.object, why: "the server no longer knows the upload".into() })
            }
            Err(ended) => Err(ended.unexpected(&request)),
        }
    }

    /// Makes the object of its parts (all of them, in order), `bytes` in all.
    pub(super) fn complete(&self, parts: &[Part], bytes: u64, envelope: &Envelope) -> Result<Taken, Error> {
        let id = self.state().id.clone().expect("an upload with parts has begun");
        let taken = block_on(self.assemble(&id, parts, bytes, envelope))?;
        self.state().id = None;
        Ok(taken)
    }

    async fn assemble(&self, id: &str, parts: &[Part], bytes: u64, envelope: &Envelope) -> Result<Taken, Error> {
        let request = self.bucket.request(&self.key, "s3:PutObject");
        let completed = CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(Part::completed).collect())).build();
        let patience = (PATIENCE + Duration::from_secs(bytes / ASSEMBLED_BYTES)).min(LONGEST_ASSEMBLY);
        let tried = send(&request, patience, || {
            let complete = self.bucket.client().complete_multipart_upload().bucket(&self.bucket.name);
            complete.key(self.bucket.full(&self.key)).upload_id(id).if_none_match("*").multipart_upload(completed.clone()).send()
        });
        let composite = composite(parts);
        match tried.await {
            Ok(done) if done.e_tag().is_none() => {
                Err(Error::Protocol { object: request.object, why: "the upload is completed, and there is no object".into() })
            }
            Ok(done) => {
                let mut confirmed = compare(&request.object, done.checksum_sha256(), &composite)?;
                if parts.iter().all(|part| part.confirmed == Confirmed::Checksum) {
                    confirmed = Confirmed::Checksum;
                }
                Ok(Taken { put: Put::Created, confirmed, version_id: done.version_id().map(str::to_owned) })
            }
            // After a completion whose reply was lost, the upload is gone, and the object there. Servers say so in many
            // ways, and some do what they should and say it wrongly: the object itself must bear witness.
            Err(ended) => {
                let settled = settle(&self.bucket, &self.key, &envelope.token, bytes, &composite).await;
                match (settled, ended) {
                    (Ok(taken), _) => Ok(taken),
                    (Err(error), Ended::Precondition | Ended::Absent) => Err(error),
                    (Err(_), ended) => Err(ended.unexpected(&request)),
                }
            }
        }
    }

    /// Stops all parts that are under way and makes the server forget the upload.
    ///
    /// Where even that fails, the parts stay until the bucket's lifecycle rule removes them (dr-store(5)).
    pub(super) fn abort(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.tasks.drain(..).for_each(|task| task.abort());
        let Some(id) = state.id.take() else { return };
        let abort = self.bucket.client().abort_multipart_upload().bucket(&self.bucket.name).key(self.bucket.full(&self.key));
        let request = self.bucket.request(&self.key, "s3:AbortMultipartUpload");
        let (Ok(_) | Err(_)) =
            block_on(async { tokio::time::timeout(ABORT, send(&request, ABORT, || abort.clone().upload_id(&id).send())).await });
    }

    fn object(&self) -> String {
        self.bucket.request(&self.key, "").object
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn completed(&self) -> CompletedPart {
        let checksum = BASE64.encode(self.sha256.0);
        CompletedPart::builder().part_number(self.number).set_e_tag(self.etag.clone()).checksum_sha256(checksum).build()
    }
}

/// The digest that S3 gives an object of parts: that of their digests, and their number.
fn composite(parts: &[Part]) -> String {
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.sha256.0).collect();
    format!("{}-{}", BASE64.encode(Sha256::of(&digests).0), parts.len())
}
