//! What surrounds a connection string: variables, the home directory, and who we are. An argument everywhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dr_pipe::owner;

/// The surroundings that libpq looks at; made by [`Environment::of_process`] or, in tests, from pairs.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
}

impl Environment {
    /// This process's own: its `PG…` variables, the home and name of its effective user (as in the password database, or as
    /// `$HOME` and id(1) say).
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let variables = variables.filter(|(name, _)| name.starts_with("PG")).collect();
        let uid = rustix::process::geteuid().as_raw();
        let account = owner::account(uid).ok().flatten();
        let user = account.as_ref().map(|account| account.name.clone()).or_else(owner::name_by_id);
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(|| account.and_then(|account| account.home).map(PathBuf::from));
        Environment { variables, home, user }
    }

    /// Surroundings made up of these variables, a home directory and a user's name.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>, home: Option<&Path>, user: Option<&str>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment { variables, home: home.map(Path::to_owned), user: user.map(Into::into) }
    }

    pub(super) fn var(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}
