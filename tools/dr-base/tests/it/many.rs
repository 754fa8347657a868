//! Millions of files take no more memory than thousands.

use std::fs;

use crate::*;

/// How much memory a backup may take, in KiB.
const LIMIT_KIB: u64 = 128 << 10;

/// How many files are made: DR_TEST_MANY_FILES, else enough to see a leak.
fn many() -> u64 {
    std::env::var("DR_TEST_MANY_FILES").map_or(200_000, |text| text.parse().unwrap())
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let server = Server::start(majors()[0]);
    let folder = server.data_dir().join("base/99999");
    fs::create_dir(&folder).unwrap();
    // Names are what counts; links are made sooner than files, and a file may have some 65000.
    for number in 0..many() {
        let name = |number: u64| folder.join((100_000 + number).to_string());
        match number % 50_000 {
            0 => fs::write(name(number), number.to_le_bytes()).unwrap(),
            after => fs::hard_link(name(number - after), name(number)).unwrap(),
        }
    }
    let mut command = dr_base(&server);
    let receipt = folder.parent().unwrap().parent().unwrap().join("receipt");
    command.args(["--with-wal", "--level", "1", "--receipt"]).arg(&receipt);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        peak = peak.max(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    println!("{} files, {peak} KiB", many());
    let records = dr_pipe::record::read(&mut &fs::read(receipt).unwrap()[..]).unwrap();
    let Some(Record::Receipt(receipt)) = records.last() else { panic!("no receipt") };
    assert!(receipt.produced.clone().unwrap().base.unwrap().files > many());
}
