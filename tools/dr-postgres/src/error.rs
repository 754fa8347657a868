//! What can go wrong between us and a server, and which exit code says so?

use dr_pipe::{Exit, Failure};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// Why speaking to a server failed. [`Error::exit`] gives the exit code of every case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no server to speak to, or no longer: refused, no such socket, timed out, cut off mid-way.
    #[error("{message}")]
    Unavailable {
        /// What happened, to which server.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The server lets us not in, or we do not trust its way of letting us in.
    #[error("{message}")]
    Denied {
        /// What happened, to which server.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The connection string, a service file, a certificate or a key is wrong.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Nothing could be put below `$TMPDIR`.
    #[error("{message}")]
    Local {
        /// What was to be put there, and what kept it.
        message: String,
    },
    /// The server answered with an error of its own; its SQLSTATE decides the exit code.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The server said what the protocol does not allow here.
    #[error("{message}")]
    Protocol {
        /// What it said, and where.
        message: String,
    },
}

/// An error (or notice) as the server reports it, field by field (PostgreSQL, "Error and Notice Message Fields").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`; for a notice `WARNING`, `NOTICE`, `DEBUG`, `INFO`, `LOG`. Never translated.
    pub severity: String,
    /// The SQLSTATE, five characters.
    pub code: String,
    /// The primary message, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What the server suggests to do.
    pub hint: Option<String>,
    /// The context: which row of a COPY, which line of a function.
    pub where_: Option<String>,
    /// The schema it is about.
    pub schema: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
    /// The constraint it is about.
    pub constraint: Option<String>,
    /// Where in the query's text it is, in characters from 1.
    pub position: Option<u32>,
}

/// Exit code and hint by SQLSTATE: the first prefix that fits holds. (PostgreSQL, appendix A.)
const BY_SQLSTATE: &[(&str, Exit, &str)] = &[
    ("08", Exit::Unavailable, "the connection was lost: try again"),
    ("0A000", Exit::Config, "this server cannot do that"),
    ("2201B", Exit::Usage, "patterns are those of pg_dump: see psql(1), Patterns"),
    ("22", Exit::Damaged, "the server refuses the data"),
    ("23", Exit::Damaged, "the data breaks a constraint"),
    ("25P03", Exit::Busy, "a timeout of the server ended the idle transaction: try again"),
    ("25P04", Exit::Busy, "a timeout of the server ended the transaction: try again"),
    ("25006", Exit::Config, "the server is read-only: name the primary"),
    (
        "28",
        Exit::Denied,
        "see the user, ~/.pgpass and service file here, and pg_hba.conf on the server; where that says peer, run this as the user of the role's name",
    ),
    ("3D000", Exit::Missing, "psql -l lists the databases of the server"),
    ("3F000", Exit::Missing, "the schema is not in this database"),
    ("40", Exit::Busy, "another transaction was in the way: try again"),
    ("42P04", Exit::Exists, "choose another name: nothing is overwritten"),
    ("42P06", Exit::Exists, "choose another target: nothing is overwritten"),
    ("42P07", Exit::Exists, "choose another target: nothing is overwritten"),
    ("42501", Exit::Denied, "grant the role what is missing, or connect as another"),
    ("42601", Exit::Bug, "please report this statement"),
    ("42710", Exit::Exists, "choose another target: nothing is overwritten"),
    ("53100", Exit::Io, "free space on the server"),
    ("53300", Exit::Unavailable, "raise max_connections, use fewer --jobs, or try again later"),
    ("53", Exit::Busy, "the server is short of resources: try again later, or with fewer --jobs"),
    ("55006", Exit::Busy, "others are using it: try again when they have gone"),
    ("55P03", Exit::Busy, "another session holds the lock: pg_locks says which"),
    ("57014", Exit::Busy, "the statement was cancelled: try again"),
    ("57P", Exit::Unavailable, "the server's log says why; try again when it is up"),
    ("58", Exit::Io, "the server's log says more"),
    ("XX001", Exit::Damaged, "the server's data is corrupted: see its log"),
    ("XX002", Exit::Damaged, "an index of the server is corrupted: REINDEX it"),
    ("", Exit::Damaged, "the server's log says more"),
];

impl Error {
    /// The exit code that says this to a shell.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Unavailable { .. } => Exit::Unavailable,
            Error::Denied { .. } => Exit::Denied,
            Error::Config { .. } => Exit::Config,
            Error::Server(error) => error.ruling().0,
            Error::Protocol { .. } => Exit::Protocol,
            Error::Local { .. } => Exit::Io,
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(&error.code),
            _ => None,
        }
    }

    /// The same error with `context: ` before its message.
    pub fn within(mut self, context: impl std::fmt::Display) -> Self {
        let message = match &mut self {
            Error::Unavailable { message, .. }
            | Error::Denied { message, .. }
            | Error::Config { message, .. }
            | Error::Local { message }
            | Error::Protocol { message } => message,
            Error::Server(error) => &mut error.message,
        };
        *message = format!("{context}: {message}");
        self
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Error::Config { message: message.into(), hint: "see \"Database Connection Control Functions\" in PostgreSQL's manual" }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Error::Protocol { message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = error.exit();
        let message = error.to_string();
        match error {
            Error::Unavailable { hint, .. } | Error::Denied { hint, .. } | Error::Config { hint, .. } => {
                Failure::new(exit, message, hint)
            }
            Error::Protocol { .. } => Failure::new(exit, message, "is this a PostgreSQL server, and nothing in between?"),
            Error::Local { .. } => Failure::new(exit, message, "free space there, or set TMPDIR to another place"),
            Error::Server(server) => {
                let detail = server.detail.iter().map(|detail| format!(": {detail}")).collect::<String>();
                let place = server.where_.iter().map(|place| format!(" ({place})")).collect::<String>();
                let hint = server.hint.clone().unwrap_or_else(|| server.ruling().1.into());
                Failure::new(exit, format!("{message}{detail}{place}"), hint)
            }
        }
    }
}

impl ServerError {
    /// Reads the fields of an ErrorResponse or NoticeResponse; bytes that are no UTF-8 (an early error comes in the server's
    /// own encoding) are replaced.
    pub(crate) fn read(mut fields: ErrorFields<'_>) -> std::io::Result<ServerError> {
        let mut error = ServerError::default();
        let mut localised = String::new();
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'V' => error.severity = value,
                b'S' => localised = value,
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'W' => error.where_ = Some(value),
                b's' => error.schema = Some(value),
                b't' => error.table = Some(value),
                b'c' => error.column = Some(value),
                b'n' => error.constraint = Some(value),
                b'P' => error.position = value.parse().ok(),
                _ => {}
            }
        }
        if error.severity.is_empty() {
            error.severity = localised;
        }
        Ok(error)
    }

    /// Whether the session ends with it.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    fn ruling(&self) -> (Exit, &'static str) {
        let fits = BY_SQLSTATE.iter().find(|(prefix, ..)| self.code.starts_with(prefix));
        fits.map(|(_, exit, hint)| (*exit, *hint)).expect("the last prefix is empty")
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(code: &str) -> u8 {
        Error::Server(Box::new(ServerError { code: code.into(), ..ServerError::default() })).exit().code()
    }

    #[test]
    fn the_sqlstate_decides_the_exit_code() {
        let table = [
            ("28P01", 77),
            ("28000", 77),
            ("42501", 77),
            ("3D000", 66),
            ("53100", 74),
            ("53300", 69),
            ("55P03", 75),
            ("40001", 75),
            ("40P01", 75),
            ("57014", 75),
            ("57P01", 69),
            ("57P03", 69),
            ("42P04", 73),
            ("42601", 70),
            ("XX000", 65),
            ("XX001", 65),
            ("2201B", 64),
            ("22021", 65),
            ("08006", 69),
            ("0A000", 78),
            ("99999", 65),
        ];
        for (code, exit) in table {
            assert_eq!(exit_of(code), exit, "{code}");
        }
    }

    #[test]
    fn no_prefix_is_hidden_by_an_earlier_one() {
        for (at, (prefix, ..)) in BY_SQLSTATE.iter().enumerate() {
            assert!(BY_SQLSTATE[..at].iter().all(|(earlier, ..)| !prefix.starts_with(earlier)), "{prefix}");
        }
    }
}
