//! The tar header of a member: a pure function of its path, its size and the archive's time, so that a reader knows each
//! byte of it beforehand and can hold what it finds against it.

use tar::{EntryType, Header};

/// Size of a tar block; headers, and data with their padding, are whole numbers of them.
pub(crate) const BLOCK_BYTES: u64 = 512;

/// Two blocks of zeroes end a tar.
pub(crate) const END_BYTES: usize = 1024;

/// Sizes from here on do not fit into the eleven octal digits of a ustar header.
pub(crate) const PAX_SIZE_BYTES: u64 = 1 << 33;

/// The name of the entry that holds PAX records; programs that know PAX never show it.
const PAX_NAME: &str = "PaxHeaders/member";

/// All header blocks of a member, a directory where its path ends in a slash, else a regular file: one of ustar, after two or more of PAX where the path or the size needs it.
pub(crate) fn encode(path: &str, bytes: u64, taken_at_unix_seconds: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    if header.set_path(path).is_err() {
        records.extend(pax_record("path", path));
        header = Header::new_ustar();
        header.as_old_mut().name[..truncated(path).len()].copy_from_slice(truncated(path).as_bytes());
    }
    if bytes >= PAX_SIZE_BYTES {
        records.extend(pax_record("size", &bytes.to_string()));
    }
    let directory = path.ends_with('/');
    header.set_entry_type(if directory { EntryType::Directory } else { EntryType::Regular });
    complete(&mut header, bytes, if directory { 0o700 } else { 0o600 }, taken_at_unix_seconds);
    let mut blocks = Vec::with_capacity(512);
    if !records.is_empty() {
        blocks.extend(pax_blocks(&records, taken_at_unix_seconds));
    }
    blocks.extend(header.as_bytes());
    blocks
}

/// Size of what [`encode`] gives.
pub(crate) fn encoded_bytes(path: &str, bytes: u64) -> u64 {
    let plain = path.len() <= 100 && bytes < PAX_SIZE_BYTES;
    if plain { BLOCK_BYTES } else { encode(path, bytes, 0).len() as u64 }
}

/// Zeroes that follow `bytes` of data, up to a whole block.
pub(crate) fn padding_bytes(bytes: u64) -> u64 {
    (BLOCK_BYTES - bytes % BLOCK_BYTES) % BLOCK_BYTES
}

/// Size and time of the member `path`, if `block` is its header as [`encode`] makes it in one block.
pub(crate) fn decode(block: &[u8], path: &str) -> Option<(u64, u64)> {
    let header = Header::from_byte_slice(block.get(..512)?);
    let (bytes, taken_at) = (header.entry_size().ok()?, header.mtime().ok()?);
    (encode(path, bytes, taken_at) == header.as_bytes()).then_some((bytes, taken_at))
}

fn pax_blocks(records: &[u8], taken_at_unix_seconds: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..PAX_NAME.len()].copy_from_slice(PAX_NAME.as_bytes());
    header.set_entry_type(EntryType::XHeader);
    complete(&mut header, records.len() as u64, 0o600, taken_at_unix_seconds);
    let padding = padding_bytes(records.len() as u64) as usize;
    [header.as_bytes(), records, &[0; 512][..padding]].concat()
}

fn complete(header: &mut Header, bytes: u64, mode: u32, taken_at_unix_seconds: u64) {
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes);
    header.set_mtime(taken_at_unix_seconds);
    header.set_cksum();
}

/// `LENGTH KEY=VALUE` and a newline, where the length counts itself (pax in POSIX.1-2024, Extended Header).
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// What programs without PAX shall show of a long path: its beginning, never ending in a slash, which would be a directory.
fn truncated(path: &str) -> &str {
    path[..path.floor_char_boundary(100)].trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn pax_records_count_themselves() {
        assert_eq!(pax_record("path", "a"), b"9 path=a\n");
        assert_eq!(pax_record("path", "ab"), b"11 path=ab\n");
        assert_eq!(pax_record("a", "b"), b"6 a=b\n");
        for length in 0..2000 {
            let record = pax_record("path", &"x".repeat(length));
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse(), Ok(record.len()));
        }
    }

    #[test]
    fn pax_comes_only_where_ustar_does_not_reach() {
        let long = format!("{}/{}", "d".repeat(155), "f".repeat(100));
        for (path, bytes, expected) in [
            ("a", 0, 512),
            ("a", (1 << 33) - 1, 512),
            ("a", 1 << 33, 3 * 512),
            (&*"a".repeat(100), 1, 512),
            (&*"a".repeat(101), 1, 3 * 512),
            (&*long, 1, 512),
            (&*(long.clone() + "f"), 1, 3 * 512),
        ] {
            assert_eq!(encode(path, bytes, 7).len(), expected, "{path} {bytes}");
            assert_eq!(encoded_bytes(path, bytes), expected as u64, "{path} {bytes}");
        }
    }

    #[test]
    fn a_header_is_known_only_as_it_was_made() {
        let block = encode("end.json", 77, 1_700_000_000);
        assert_eq!(decode(&block, "end.json"), Some((77, 1_700_000_000)));
        assert_eq!(decode(&block, "toc.jsonl"), None);
        assert_eq!(decode(&block[..511], "end.json"), None);
        for bit in 0..512 * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, "end.json"), None, "bit {bit}");
        }
    }

    #[test]
    fn gnu_tar_reads_sizes_beyond_ustar() {
        use std::io::Write;
        let mut tar = Command::new("tar");
        let mut tar = tar
            .args(["-tvf", "-"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&encode(&format!("{}end", "long/".repeat(80)), 9 << 30, 0)).unwrap();
        let listed = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        assert!(listed.starts_with("-rw------- 0/0      9663676416 1970-01-01"), "{listed}");
        assert!(listed.ends_with("/long/end\n"), "{listed}");
    }

    #[test]
    fn headers_never_change_as_readers_accept_no_others() {
        let long = format!("{}/{}", "d".repeat(155), "f".repeat(100));
        let blocks: Vec<u8> = [("a", 0), ("data/ä/1.copy", 9 << 30), (&*long, 1), (&*(long.clone() + "/é"), u64::MAX)]
            .into_iter()
            .flat_map(|(path, bytes)| encode(path, bytes, 1_769_306_400))
            .collect();
        assert_eq!(dr_pipe::Sha256::of(&blocks).to_string(), "6645be616cd4e2d11a8ff9315a1aea48d43121ca1052cdd11e48049dd5a9d424");
    }
}
