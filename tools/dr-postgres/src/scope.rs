//! Which part of a database is meant: the flags of pg_dump that choose schemas and tables.

use crate::pattern;
use crate::quote::literal;

/// Which part of a database is meant, in pg_dump's patterns. Flattened into the flags of dr-dump and dr-fingerprint.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ScopeArgs {
    /// Only schemas matching PATTERN, as pg_dump does
    #[arg(short = 'n', long = "schema", value_name = "PATTERN")]
    pub schemas: Vec<String>,
    /// Leave out schemas matching PATTERN
    #[arg(short = 'N', long = "exclude-schema", value_name = "PATTERN")]
    pub exclude_schemas: Vec<String>,
    /// Only tables matching PATTERN, as pg_dump does
    #[arg(short = 't', long = "table", value_name = "PATTERN")]
    pub tables: Vec<String>,
    /// Leave out tables matching PATTERN
    #[arg(short = 'T', long = "exclude-table", value_name = "PATTERN")]
    pub exclude_tables: Vec<String>,
    /// Leave out the data of tables matching PATTERN
    #[arg(long = "exclude-table-data", value_name = "PATTERN")]
    pub exclude_table_data: Vec<String>,
    /// Leave out the data of unlogged tables
    #[arg(long, env = "DR_NO_UNLOGGED_TABLE_DATA", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_unlogged_table_data: bool,
    /// Read the data of foreign tables on servers matching PATTERN
    #[arg(long = "include-foreign-data", value_name = "PATTERN")]
    pub include_foreign_data: Vec<String>,
    /// Send the rows of every partition through the root of its tree
    #[arg(long, env = "DR_LOAD_VIA_PARTITION_ROOT", value_parser = clap::builder::FalseyValueParser::new())]
    pub load_via_partition_root: bool,
}

impl ScopeArgs {
    /// Whether only part of the database is meant: then, as with pg_dump, extensions, publications, large objects and
    /// whatever else belongs to no schema stay out.
    pub fn selects(&self) -> bool {
        !self.schemas.is_empty() || !self.tables.is_empty()
    }

    /// Whether any pattern keeps part of the database out.
    pub fn is_partial(&self) -> bool {
        self.selects() || !self.exclude_schemas.is_empty() || !self.exclude_tables.is_empty() || !self.exclude_table_data.is_empty()
    }

    /// The flags that make `pg_dump` mean the same part.
    pub fn pg_dump_flags(&self) -> Vec<String> {
        let flag = |name: &'static str, patterns: &[String]| {
            patterns.iter().map(move |pattern| format!("--{name}={pattern}")).collect::<Vec<_>>()
        };
        // A pattern such as `p*` means the system's own tables, too, to pg_dump, which would define them.
        let system = if self.tables.is_empty() { [].as_slice() } else { &["pg_catalog.*".to_owned()] };
        [
            flag("schema", &self.schemas),
            flag("exclude-schema", &self.exclude_schemas),
            flag("table", &self.tables),
            flag("exclude-table", &self.exclude_tables),
            flag("exclude-table", system),
            flag("exclude-table-data", &self.exclude_table_data),
        ]
        .concat()
    }

    /// A SQL condition over `n.nspname` and `c.relname`, `c.oid` that holds for the relations meant.
    ///
    /// # Errors
    /// Says which pattern is malformed.
    pub fn condition(&self) -> Result<String, String> {
        let mut terms = Vec::new();
        if self.tables.is_empty() {
            if !self.schemas.is_empty() {
                terms.push(any_schema(&self.schemas)?);
            }
            if !self.exclude_schemas.is_empty() {
                terms.push(format!("NOT {}", any_schema(&self.exclude_schemas)?));
            }
        } else {
            terms.push(any_relation(&self.tables)?);
        }
        if !self.exclude_tables.is_empty() {
            terms.push(format!("NOT {}", any_relation(&self.exclude_tables)?));
        }
        Ok(if terms.is_empty() { "true".into() } else { terms.join(" AND ") })
    }

    /// A SQL condition that holds where the data of a relation is left out by a pattern.
    ///
    /// # Errors
    /// Says which pattern is malformed.
    pub fn data_excluded(&self) -> Result<String, String> {
        any_relation(&self.exclude_table_data)
    }

    /// A SQL condition over `fs.srvname` that holds for foreign servers whose data is asked for.
    ///
    /// # Errors
    /// Says which pattern is malformed.
    pub fn foreign_included(&self) -> Result<String, String> {
        let terms: Result<Vec<_>, _> =
            self.include_foreign_data.iter().map(|text| Ok(matches("fs.srvname", &pattern::parse_undotted(text)?))).collect();
        terms.map(|terms| any(&terms))
    }
}

fn any_schema(patterns: &[String]) -> Result<String, String> {
    let terms: Result<Vec<_>, String> =
        patterns.iter().map(|text| Ok(matches("n.nspname", &pattern::parse_undotted(text)?))).collect();
    terms.map(|terms| any(&terms))
}

fn any_relation(patterns: &[String]) -> Result<String, String> {
    let term = |text: &String| {
        let parsed = pattern::parse(text)?;
        let place = match parsed.schema {
            Some(schema) => matches("n.nspname", &schema),
            None => "pg_catalog.pg_table_is_visible(c.oid)".into(),
        };
        Ok(format!("({} AND {place})", matches("c.relname", &parsed.name)))
    };
    let terms: Result<Vec<_>, String> = patterns.iter().map(term).collect();
    terms.map(|terms| any(&terms))
}

fn matches(column: &str, regex: &str) -> String {
    format!("{column}::text OPERATOR(pg_catalog.~) {} COLLATE pg_catalog.default", literal(regex))
}

fn any(terms: &[String]) -> String {
    if terms.is_empty() { "false".into() } else { format!("({})", terms.join(" OR ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_override_schemas_as_in_pg_dump() {
        let scope = ScopeArgs { schemas: vec!["a".into()], tables: vec!["b.c*".into()], ..ScopeArgs::default() };
        let condition = scope.condition().unwrap_or_default();
        assert!(condition.contains("'^(b)$'") && condition.contains("'^(c.*)$'") && !condition.contains("'^(a)$'"), "{condition}");
        assert_eq!(ScopeArgs::default().condition(), Ok("true".into()));
        assert_eq!(ScopeArgs::default().data_excluded(), Ok("false".into()));
    }
}
