//! Names that come out of listings, and off the command line.
#![no_main]

use dr_catalogue::name;
use dr_store::Location;
use dr_wal::{WalName, layout};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    _ = name::of_manifest(text);
    _ = name::of_tombstone(text);
    drop(layout::parse("main", text));
    if let Ok(name) = text.parse::<WalName>() {
        assert_eq!(name.to_string().parse::<WalName>().ok(), Some(name), "its name leads to it");
    }
    if let Ok(location) = text.parse::<Location>() {
        drop(location.to_string().parse::<Location>());
    }
    drop(dr_postgres::pattern::parse(text));
    drop(dr_pipe::redact::line(text, &[]));
});
