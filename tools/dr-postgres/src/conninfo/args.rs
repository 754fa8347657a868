//! The connection flags that every tool has which speaks to PostgreSQL.

use super::parse::Settings;
use super::{ConnInfo, Environment};
use crate::Error;

/// The connection flags of psql and pg_dump: flatten them into a tool's arguments. As there, `-h` is the host, so the tool
/// must not give it to help: `#[command(disable_help_flag = true)]`, and a `--help` of its own.
///
/// Their environment variables are libpq's, and are not given to clap: a service file must override them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConnectArgs {
    /// Connect to HOST: a name, an address, or the directory of a Unix socket [env: PGHOST=]
    #[arg(short = 'h', long, value_name = "HOST")]
    pub host: Option<String>,

    /// Connect to PORT, or to the socket of that number [env: PGPORT=]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<String>,

    /// Connect as the role NAME [env: PGUSER=]
    #[arg(short = 'U', long, value_name = "NAME")]
    pub username: Option<String>,

    /// Never ask for a password; accepted because psql has it: no tool here ever asks
    #[arg(short = 'w', long)]
    pub no_password: bool,
}

impl ConnectArgs {
    /// Resolves the flags and what the tool takes as its database (a name, or a connection string) in this process's
    /// environment, and prints warnings as the tool called `tool`.
    ///
    /// # Errors
    /// [`Error::Config`], as for [`ConnInfo::resolve`].
    pub fn resolve(&self, tool: &str, database: Option<&str>) -> Result<ConnInfo, Error> {
        let conn = self.resolve_in(&Environment::of_process(), database)?;
        for warning in conn.warnings() {
            dr_pipe::warn(tool, warning);
        }
        Ok(conn)
    }

    /// Resolves in any environment. As with psql, a connection string overrides the flags, and they override all else.
    ///
    /// # Errors
    /// [`Error::Config`], as for [`ConnInfo::resolve`].
    pub fn resolve_in(&self, environment: &Environment, database: Option<&str>) -> Result<ConnInfo, Error> {
        let given = [("host", &self.host), ("port", &self.port), ("user", &self.username)];
        let flags =
            given.into_iter().filter_map(|(keyword, value)| Some((keyword, value.clone().filter(|value| !value.is_empty())?)));
        ConnInfo::over(flags.collect::<Settings>(), database.unwrap_or_default(), environment)
    }
}
