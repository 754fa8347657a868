//! The whole of it: records in, a page of metrics out.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chrono::Utc;
use dr_pipe::{Exit, Failure, Outcome, record, stream};

use crate::args::Args;
use crate::families;

/// Reads all records, and writes what they come to. Nothing is written where nothing came: a file that grows old is noticed, an
/// empty one says that all is well.
pub fn metrics(args: &Args) -> Outcome {
    let records = record::read(&mut BufReader::new(stream::input()?))?;
    if records.is_empty() {
        let hint = "see why whoever should write them has failed; the file of metrics is as it was";
        return Err(Failure::new(Exit::Missing, "there are no records", hint));
    }
    let text = families::page(&records, args.now.unwrap_or_else(Utc::now)).text();
    match &args.output {
        Some(path) => replace(path, &text).map_err(|error| Failure::io(path.display(), &error).leaving("the file is as it was"))?,
        None => print(&text)?,
    }
    Ok(Exit::Good)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = stream::records()?;
    let done = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    done.map_err(|error| Failure::io("standard output", &error))
}

/// Puts a file in the place of the one before it. The collector may read at any moment, as another user: so the new one lies in the
/// same directory, has its mode and is durable before it takes the name.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The collector takes files that end with .prom, and no others.
    let mut file = tempfile::Builder::new().prefix(".dr-metrics-").suffix(".tmp").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()
}
