//! `about.json`: what a dump is of, and the plan it was made by. The first member of every dump.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What is known of a dump before any of its data is read. Written by dr-dump, read by dr-restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Version of the dump layout: 1.
    pub format: u32,
    /// The tool and version that made the dump, as `dr-dump 0.1.0`.
    pub tool: String,
    /// The `pg_dump` that wrote the DDL, as it names itself.
    pub pg_dump: String,
    /// The database that was dumped.
    pub database: String,
    /// When the snapshot was taken, by the server's clock.
    pub taken_at: DateTime<Utc>,
    /// The server it came from.
    pub server: ServerFacts,
    /// How the database must be created to hold the data.
    pub properties: DatabaseProperties,
    /// Roles that own objects, hold rights or have settings in the database.
    pub roles: Vec<String>,
    /// Tablespaces that objects of the database lie in, `pg_default` left out.
    pub tablespaces: Vec<String>,
    /// Extensions with their versions.
    pub extensions: Vec<ExtensionFacts>,
    /// How much of the database was asked for.
    pub scope: Scope,
    /// Every table of the dump, largest first.
    pub tables: Vec<TableFacts>,
    /// Number of large objects.
    pub large_objects: u64,
    /// Number of sequences.
    pub sequences: u64,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version_num`, such as 150018 for 15.18.
    pub version: u32,
    /// `server_version`, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version_text: String,
    /// The system identifier; absent where the role may not ask.
    pub system_identifier: Option<String>,
    /// Whether the dump was read from a standby.
    pub standby: bool,
}

/// What `CREATE DATABASE` and `ALTER DATABASE` must say to make the database anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// The owner's role name.
    pub owner: String,
    /// Encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Locale provider: `libc`, `icu` or `builtin`.
    pub provider: String,
    /// The ICU or builtin locale.
    pub locale: Option<String>,
    /// ICU rules.
    pub icu_rules: Option<String>,
    /// The collation library's version when the database was created.
    pub collation_version: Option<String>,
    /// Default tablespace, where it is not `pg_default`.
    pub tablespace: Option<String>,
    /// Connection limit; -1 for none.
    pub connection_limit: i32,
    /// The comment on the database.
    pub comment: Option<String>,
    /// `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
    pub settings: Vec<DatabaseSetting>,
    /// Rights on the database; absent where they are PostgreSQL's defaults.
    pub grants: Option<Vec<Grant>>,
}

/// One `ALTER DATABASE … SET`, or `ALTER ROLE … IN DATABASE … SET` where a role is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSetting {
    /// The role it applies to; all roles where absent.
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value as `pg_db_role_setting` holds it.
    pub value: String,
}

/// One right on the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who holds it; everybody (`PUBLIC`) where absent.
    pub grantee: Option<String>,
    /// `CREATE`, `CONNECT` or `TEMPORARY`.
    pub privilege: String,
    /// Whether the holder may pass it on.
    pub grantable: bool,
}

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionFacts {
    /// Its name.
    pub name: String,
    /// Its installed version.
    pub version: String,
}

/// How much of the database was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only definitions, no data.
    pub schema_only: bool,
    /// Whether patterns left part of the database out.
    pub partial: bool,
}

/// One table of the dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its OID on the source, by which the entries of `schema.dump` know it.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The folder of its data, such as `data/public.guests`.
    pub dir: String,
    /// Where its rows go, quoted: the table itself, or the root of its partition tree.
    pub into: String,
    /// The columns that its data has, in the byte order of their names.
    pub columns: Vec<String>,
    /// Estimated size of its data on the source, in bytes.
    pub estimated_bytes: u64,
    /// OIDs of its indexes on the source.
    pub indexes: Vec<u32>,
    /// OIDs of its primary key, unique and exclusion constraints on the source.
    pub constraints: Vec<u32>,
    /// The extension that owns the table, whose script may have filled it already.
    pub extension: Option<String>,
    /// Why its data is not in the dump; absent where it is.
    pub skipped: Option<String>,
}
