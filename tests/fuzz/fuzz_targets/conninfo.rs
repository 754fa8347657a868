//! Connection strings, as libpq takes them.
#![no_main]

use dr_postgres::{ConnInfo, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = Environment::new([("PGUSER", "fuzz")], None, Some("fuzz"));
    if let Ok(conninfo) = ConnInfo::resolve(text, &environment) {
        assert!(!conninfo.hosts().is_empty() && !conninfo.user().is_empty());
        drop(conninfo.with_database("other"));
    }
});
