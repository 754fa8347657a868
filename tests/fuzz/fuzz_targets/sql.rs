//! Scripts that psql would run: read to their end as it would read them.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../../tools/dr-restore/src/statements.rs"]
mod statements;

fuzz_target!(|data: &[u8]| {
    drop(statements::scan(data, |_, part| {
        if let statements::Part::Statement(statement) = part {
            drop(statements::words(&statement));
        }
        Ok(())
    }));
});
