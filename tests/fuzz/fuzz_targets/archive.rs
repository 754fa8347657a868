//! An archive: its end, its table of contents, its frames. What opens can be read, and what can be read is what is verified.
#![no_main]

use std::sync::Arc;

use dr_archive::{Contents, Reader, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut source = data;
    let Ok(contents) = Contents::open(&mut source, data.len() as u64, None) else { return };
    let verified = verify(&mut source, data.len() as u64, None);
    let paths: Vec<_> = contents.members_below("").map(|member| member.path.clone()).collect();
    let mut reader = Reader::new(Arc::new(contents), data);
    let all_read = paths.iter().map(|path| reader.whole(path, 1 << 20)).filter(|read| read.is_err()).count() == 0;
    assert!(all_read || verified.is_err(), "it verifies, and cannot be read");
});
