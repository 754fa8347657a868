//! Records of the tools, as JSON Lines; and whether receipts fit together.
#![no_main]

use dr_catalogue::chain;
use dr_pipe::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(records) = record::read(&mut { data }) else { return };
    drop(chain::check(&records));
    let mut written = Vec::new();
    records.iter().for_each(|one| record::write(&mut written, one).expect("memory takes it"));
    let again = record::read(&mut written.as_slice()).map_err(|failure| failure.message);
    assert_eq!(again.as_ref(), Ok(&records), "what was read is written, and read, the same");
});
