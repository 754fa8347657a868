//! What lies in a store beside the backups: manifests, tombstones, signatures.
#![no_main]

use dr_catalogue::{manifest, signature, tombstone};
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = "main/dump/main_dump_20261121T200655Z_965f.json";

fuzz_target!(|data: &[u8]| {
    drop(manifest::parse(MANIFEST, data));
    drop(tombstone::parse("tombstones/main/dump/main_dump_20260102T030405Z_abcd.json", data));
    drop(tombstone::parse_range("tombstones/main/wal/000000010000000000000001.json", data));
    let (text, sealed) = data.split_at(data.len() / 2);
    assert!(signature::verify(&[], MANIFEST, text, sealed, "main_dump_20261121T200655Z_965f").is_err(), "nobody is trusted");
});
