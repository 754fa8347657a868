//! The command by which the server fetches WAL: dr-wal-fetch, with all that it must be told, as it runs without our environment.

use std::path::{Path, PathBuf};

use dr_pipe::{Exit, Failure};
use dr_store::{Location, PathStyle};
use dr_wal::Planned;

use crate::args::Args;
use crate::settings;

/// The program.
const PROGRAM: &str = "dr-wal-fetch";

/// The value of `restore_command`. `stores` are those that answered, `planned` the segments that were seen in them.
///
/// # Errors
/// 78 where the program is not installed; 64 where something has a line break in it.
pub fn command(args: &Args, stores: &[&Location], planned: &[Planned]) -> Result<String, Failure> {
    let mut words = vec![program()?.display().to_string()];
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for store in stores {
        let named = store.to_string();
        flag("--from", if store.is_s3() { named } else { absolute(&named) });
    }
    flag("--cluster", args.cluster.clone());
    for identity in &args.identities.identities {
        flag("--identity", if identity.starts_with("cred:") { identity.clone() } else { absolute(identity) });
    }
    for key in &args.public_key.public_key {
        flag("--public-key", if Path::new(key).exists() { absolute(key) } else { key.clone() });
    }
    if let Some(url) = &args.store.endpoint_url {
        flag("--endpoint-url", url.clone());
    }
    match args.store.path_style {
        PathStyle::Auto => {}
        PathStyle::Always => flag("--path-style", "always".into()),
        PathStyle::Never => flag("--path-style", "never".into()),
    }
    if let Some(file) = &args.store.ca_file {
        flag("--ca-file", absolute(&file.to_string_lossy()));
    }
    if args.store.patience != dr_store::StoreArgs::default().patience {
        flag("--patience", args.store.patience.to_string());
    }
    if let Some(moment) = args.store.as_of {
        flag("--as-of", moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
    }
    if let Some(days) = args.store.thaw {
        flag("--thaw", days.to_string());
    }
    if let Some(content) = &args.prefer_content {
        flag("--prefer-content", content.clone());
    }
    planned.iter().for_each(|range| flag("--planned", range.to_string()));
    let mut switch = |name: &str, on: bool| words.extend(on.then(|| name.to_owned()));
    switch("--insecure-http", args.store.insecure_http);
    switch("--no-partial", args.no_partial);
    // A standby is asked again; a recovery ends where it must not go on.
    switch("--standby", args.standby);
    if let Some(word) = words.iter().find(|word| word.contains(['\n', '\r', '\0'])) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{word:?} cannot be part of restore_command"),
            "name it without line breaks",
        ));
    }
    Ok(settings::command(&words))
}

/// Beside our own program, else on `$PATH`.
fn program() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(PROGRAM)));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(std::env::split_paths(&on_path).map(|directory| directory.join(PROGRAM)));
    places.find(|path| path.is_file()).map(|path| std::path::absolute(&path).unwrap_or(path)).ok_or_else(|| {
        let hint = "install it beside dr-recover: the recovered server fetches its WAL with it; nothing was written";
        Failure::new(Exit::Config, format!("{PROGRAM} is not installed"), hint)
    })
}

/// As it is found from any directory.
fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}
