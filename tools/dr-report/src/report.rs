//! Writes a report, or stores the drills that it is about.

use std::io::{self, Write};
use std::path::Path;

use dr_catalogue::drills::publish_drill;
use dr_pipe::drilled::Drilled;
use dr_pipe::record::{self, Drill, Record};
use dr_pipe::{Exit, Failure, Outcome, stream, warn};
use dr_store::Store;

use crate::args::Args;
use crate::{TOOL, html, markdown, source};

/// Does what was asked for with the drills there are.
pub fn report(args: Args) -> Outcome {
    let drills = source::drills(&args)?;
    if args.publish {
        return publish(&args, &drills);
    }
    let text = match (args.html, args.markdown, drills.as_slice()) {
        (true, ..) => html::page(&drills),
        (_, true, _) | (_, _, [_]) => drills.iter().map(markdown::report).collect::<Vec<_>>().join("\n---\n\n"),
        (.., several) => {
            let message = format!("there are {} drills", several.len());
            return Err(Failure::new(Exit::Usage, message, "say --html for one page, or --markdown for a report of each"));
        }
    };
    match &args.output {
        Some(path) => write_whole(path, &text)?,
        None => stream::records()?.write_all(text.as_bytes()).map_err(|error| Failure::io("standard output", &error))?,
    }
    Ok(Exit::Good)
}

/// Writes a file under its name at once, in the place of the one before.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    // As the umask has it: a page is there to be read by others.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".dr-report-").permissions(mode).tempfile_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Stores each drill in every store, and passes its record on.
fn publish(args: &Args, drills: &[Drill]) -> Outcome {
    let stores = stores(args)?;
    let mut output = stream::records()?;
    for drill in drills {
        let key = args.signing_key.load(&drill.cluster)?;
        let report = markdown::report(drill);
        let mut failures = Vec::new();
        for store in &stores {
            match publish_drill(store, drill, &report, &key) {
                Ok(warnings) => warnings.iter().for_each(|warning| warn(TOOL, warning)),
                Err(failure) => failures.push(failure.leaving(format!("drill {} is not in {}", drill.name, store.location()))),
            }
        }
        if let Some(first) = failures.pop() {
            failures.iter().for_each(|failure| warn(TOOL, &failure.message));
            return Err(first.leaving("run it again with the same record: what is stored already counts"));
        }
        let record = Record::Drill(Box::new(drill.clone()));
        record::write(&mut output, &record).map_err(|error| Failure::io("standard output", &error))?;
    }
    // What was signed here need not be checked here.
    if let Err(warning) = Drilled::witness(drills) {
        warn(TOOL, warning);
    }
    Ok(Exit::Good)
}

fn stores(args: &Args) -> Result<Vec<Store>, Failure> {
    let mut stores: Vec<Store> = Vec::new();
    for location in &args.to {
        let store = Store::open_for_write(location, &args.store)?;
        store.is_none_of(&stores)?;
        stores.push(store);
    }
    Ok(stores)
}
