//! `global/pg_control`: the file without which nothing starts. The server writes it in place, so that it may be read half written.

use std::path::Path;
use std::time::Duration;

use dr_pipe::{Exit, Failure};

/// How often it is read before it counts as damaged. It is written in one go, in microseconds.
const ATTEMPTS: u32 = 20;

/// Its path below the data directory.
pub const PATH: &str = "global/pg_control";

/// Reads the file below `pgdata` until its own checksum is right.
///
/// # Errors
/// 65 where it never is; else as the file system says.
pub fn read(pgdata: &Path) -> Result<Vec<u8>, Failure> {
    let path = pgdata.join(PATH);
    for _ in 0..ATTEMPTS {
        let bytes = std::fs::read(&path).map_err(|error| Failure::io(path.display(), &error))?;
        if is_whole(&bytes) {
            return Ok(bytes);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let hint = "pg_controldata says more; a cluster with this file is lost without a backup from before";
    Err(Failure::new(Exit::Damaged, format!("{}: its checksum is wrong", path.display()), hint))
}

/// The system identifier of the cluster: the first field of every version.
pub fn system_identifier(bytes: &[u8]) -> Option<String> {
    Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?).to_string())
}

/// Whether the checksum is right. It is the last field of a struct that has more fields with every version, and only zeroes
/// follow: so it is looked for where structs have ended so far, and some way on.
fn is_whole(bytes: &[u8]) -> bool {
    let mut crc = !0;
    let mut done = 0;
    (200..512).step_by(4).any(|at| {
        let Some(field) = bytes.get(at..at + 4) else { return false };
        crc = bytes[done..at].iter().fold(crc, |crc, byte| step(crc, *byte));
        done = at;
        field == (!crc).to_ne_bytes()
    })
}

/// One byte of CRC-32C (RFC 3720), bit by bit: the file is short.
fn step(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(!b"123456789".iter().fold(!0, |crc, byte| step(crc, *byte)), 0xE306_9283);
    }

    #[test]
    fn a_file_that_is_half_written_is_known() {
        let mut bytes = vec![0; 8192];
        bytes[..300].iter_mut().zip(1..).for_each(|(byte, at): (&mut u8, u32)| *byte = at as u8);
        assert!(!is_whole(&bytes));
        let crc = !bytes[..292].iter().fold(!0, |crc, byte| step(crc, *byte));
        bytes[292..296].copy_from_slice(&crc.to_ne_bytes());
        assert!(is_whole(&bytes));
        bytes[7] ^= 1;
        assert!(!is_whole(&bytes) && !is_whole(&bytes[..100]));
    }
}
