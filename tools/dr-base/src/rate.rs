//! Reads no faster than allowed, whichever thread reads.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::args::ByteRate;

/// A limit that all threads share.
pub struct Limit {
    rate: Option<ByteRate>,
    /// When all that was read so far may have been read.
    paid_until: Mutex<Instant>,
}

impl Limit {
    /// At most `rate`; as fast as it goes where there is none.
    pub fn new(rate: Option<ByteRate>) -> Self {
        Limit { rate, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may have been read.
    pub fn spend(&self, bytes: u64) {
        let Some(ByteRate(rate)) = self.rate else { return };
        let until = {
            let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            // What was not used before is lost: a pause is not followed by a rush.
            *paid_until = (*paid_until).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *paid_until
        };
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        let began = Instant::now();
        let limit = Limit::new(Some(ByteRate(1 << 20)));
        (0..4).for_each(|_| limit.spend(16 << 10));
        assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
        Limit::new(None).spend(u64::MAX);
    }
}
