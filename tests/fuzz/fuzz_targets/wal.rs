//! Segments of WAL and histories of timelines.
#![no_main]

use dr_wal::{History, SegmentName, SegmentSize, Timeline, WalName, header, stamps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(WalName::Segment(name)) = "000000010000000000000001".parse() else { panic!("a name") };
    let name: SegmentName = name;
    drop(header::read(data));
    drop(header::check_segment(data, data.len() as u64, &name));
    drop(header::check_beginning(data, &name));
    drop(stamps::scan(data, &name));
    drop(stamps::scan_for_tablespaces(data, &name));
    if let Ok(header) = header::read(data) {
        assert!(SegmentSize::try_from(header.segment_size.bytes()).is_ok());
    }
    let timeline: Timeline = name.timeline;
    drop(History::parse(timeline, data));
});
