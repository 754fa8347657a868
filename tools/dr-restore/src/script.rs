//! What does an SQL script of pg_dump need, and is it safe to hand to psql?
//!
//! psql runs programs and switches databases when a script tells it to, and names that hold line breaks have been used to
//! smuggle such commands into dumps (CVE-2025-8714, CVE-2025-8715). So a script is read whole first, as psql would read it,
//! and refused if it holds any command of psql but the ones that newer dumps use to forbid them. That tells what is wrong
//! before anything is written, but proves nothing: where a string ends depends on settings that the script can change as it
//! goes. So psql is told, with a key that only we know, to take no command from the script.

use std::collections::HashSet;
use std::io::{self, BufRead};

use dr_pipe::{Exit, Failure};

use crate::preflight::Needs;
use crate::statements::{Part, scan, words};

/// Dumps have two of these lines each; several dumps may follow each other in one script.
const MAX_RESTRICTIONS: usize = 10_000;

/// What was seen of a script.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the server must have.
    pub needs: Needs,
    /// The lines that hold `\restrict` and `\unrestrict`.
    pub restrictions: Vec<u64>,
    /// Indexes and constraints that are no B-trees, each by the first word of its name.
    pub no_btrees: HashSet<String>,
    /// Indexes that a table is clustered on, or known by to subscribers, likewise: its lock is taken once they are built.
    pub marked: HashSet<String>,
    begun: bool,
    ended: bool,
}

impl Survey {
    /// Reads a script that psql will run.
    ///
    /// # Errors
    /// 65 where it is damaged, 66 where it ends early, 80 where it would do more than fill its own database.
    pub fn read(&mut self, script: impl BufRead) -> Result<(), Failure> {
        self.scan(script, true)
    }

    /// Reads definitions that pg_restore prints and runs itself.
    ///
    /// # Errors
    /// As [`Survey::read`], but for what psql would do.
    pub fn read_definitions(&mut self, script: impl BufRead) -> Result<(), Failure> {
        self.scan(script, false)
    }

    /// Whether a dump that says where it begins also says that it is complete.
    ///
    /// # Errors
    /// 66 where it does not.
    pub fn must_be_whole(&self) -> Result<(), Failure> {
        if self.begun && !self.ended {
            return Err(unfinished("it lacks the last line of pg_dump, \"PostgreSQL database dump complete\""));
        }
        Ok(())
    }

    fn scan(&mut self, script: impl BufRead, for_psql: bool) -> Result<(), Failure> {
        let mut refusal = None;
        let scanned = scan(script, |line, part| {
            match part {
                Part::Comment(comment) => self.comment(&comment),
                Part::Meta(meta) if for_psql && !(is_harmless(&meta) && self.restrictions.len() < MAX_RESTRICTIONS) => {
                    refusal = Some((line, meta));
                    return Err(io::ErrorKind::Other.into());
                }
                Part::Meta(_) if for_psql => self.restrictions.push(line),
                Part::Meta(_) => {}
                Part::Statement(statement) => {
                    if let Some(forbidden) = self.statement(&statement).filter(|_| for_psql) {
                        refusal = Some((line, forbidden));
                        return Err(io::ErrorKind::Other.into());
                    }
                }
            }
            Ok(())
        });
        if let Some((line, what)) = refusal {
            let what: String = what.chars().take(60).collect();
            return Err(Failure::new(
                Exit::Refused,
                format!("line {line}: {what}: a script may not run commands of psql, nor leave its database"),
                "dump again without --create and --clean, one database at a time; nothing was restored",
            ));
        }
        scanned.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => unfinished(&error.to_string()),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Failure::new(Exit::Damaged, error.to_string(), "take another copy of this dump; nothing was restored")
            }
            _ => Failure::io("reading it", &error),
        })
    }

    fn comment(&mut self, comment: &str) {
        match comment {
            "PostgreSQL database dump" => self.begun = true,
            "PostgreSQL database dump complete" => self.ended = true,
            _ => {
                let version = comment.strip_prefix("Dumped from database version ");
                if let Some(version) = version.and_then(version_number).filter(|_| self.needs.server_version.is_none()) {
                    self.needs.server_version = Some(version);
                }
            }
        }
    }

    /// Notes what a statement needs; returns it where it would leave the database.
    fn statement(&mut self, statement: &str) -> Option<String> {
        let first = statement.split(|char: char| !char.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_lowercase();
        if !["alter", "create", "drop", "grant", "revoke", "set"].contains(&first.as_str()) {
            return None;
        }
        let words = words(statement);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["create" | "drop", "database", ..] => return Some(statement.to_owned()),
            ["alter", "default", "privileges", "for", "role", role, ..] => self.role(role),
            ["alter", .., "owner", "to", role] => self.role(role),
            ["create", "schema", .., "authorization", role] => self.role(role),
            ["set", "session", "authorization", role] => self.role(role.trim_start_matches('\'')),
            ["create", "extension", "if", "not", "exists", name, ..] | ["create", "extension", name, ..] => {
                self.needs.extensions.insert((name.to_owned(), None));
            }
            ["create", "event", "trigger", ..] => self.superuser_object("event triggers"),
            ["create", "foreign", "data", "wrapper", ..] => self.superuser_object("foreign-data wrappers"),
            ["create", "access", "method", ..] => self.superuser_object("access methods"),
            ["create", "policy", _, "on", ref rest @ ..] => self.policy(rest),
            ["create", "index", name, ref rest @ ..] | ["create", "unique", "index", name, ref rest @ ..] => self.index(name, rest),
            ["alter", "table", .., "cluster", "on", name] | ["alter", "table", .., "identity", "using", "index", name] => {
                self.marked.extend(first_word(name));
            }
            ["alter", "table", .., "force", "row", "level", "security"] => self.needs.forced_row_security = true,
            ["alter", "table", ref rest @ ..] => self.exclusion(rest),
            ["set", "default_tablespace", "=", name, ..] if name != "'" => {
                self.needs.tablespaces.insert(name.trim_start_matches('\'').to_owned());
            }
            ["grant", ..] => self.role_behind("to", &words),
            ["revoke", ..] => self.role_behind("from", &words),
            _ => {}
        }
        None
    }

    /// `… TO role, role USING (…)`
    fn policy(&mut self, words: &[&str]) {
        let mut words = words.iter().skip_while(|word| **word != "to").skip(1);
        while let Some(role) = words.next() {
            self.role(role);
            if words.next() != Some(&",") {
                break;
            }
        }
    }

    /// `… ON table USING method (…)`
    fn index(&mut self, name: &str, words: &[&str]) {
        let method = words.iter().skip_while(|word| **word != "using").nth(1);
        if method != Some(&"btree") {
            self.no_btrees.extend(first_word(name));
        }
    }

    /// `… ADD CONSTRAINT name EXCLUDE USING method (…)`
    fn exclusion(&mut self, words: &[&str]) {
        if let Some(place) = words.iter().position(|word| *word == "exclude").filter(|place| *place > 0) {
            self.index(words[place - 1], &words[place..]);
        }
    }

    fn superuser_object(&mut self, kind: &str) {
        self.needs.superuser_objects.insert(kind.to_owned());
    }

    fn role_behind(&mut self, word: &str, words: &[&str]) {
        if let Some(place) = words.iter().rposition(|it| *it == word)
            && let Some(role) = words.get(place + 1)
        {
            self.role(role);
        }
    }

    fn role(&mut self, name: &str) {
        // A name in an encoding other than UTF-8 is not known; the server will know it.
        let known = !name.contains(char::REPLACEMENT_CHARACTER);
        if known && !["public", "current_user", "current_role", "session_user", "default"].contains(&name) {
            self.needs.roles.insert(name.to_owned());
        }
    }
}

fn first_word(name: &str) -> Option<String> {
    name.split_whitespace().next().map(str::to_owned)
}

/// `\restrict KEY` and `\unrestrict KEY`, alone in their lines.
fn is_harmless(meta: &str) -> bool {
    let key = meta.strip_prefix("\\restrict ").or_else(|| meta.strip_prefix("\\unrestrict "));
    key.is_some_and(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// `15.18 (Debian …)` as 150018.
fn version_number(text: &str) -> Option<u32> {
    let mut numbers = text.split(|char: char| !char.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let major = numbers.next().filter(|major| (10..1000).contains(major))?;
    Some(major * 10_000 + numbers.next().unwrap_or(0))
}

fn unfinished(why: &str) -> Failure {
    Failure::new(Exit::Missing, format!("the dump is unfinished: {why}"), "take another copy of this dump; nothing was restored")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn survey(script: &str) -> Result<Survey, Failure> {
        let mut survey = Survey::default();
        survey.read(script.as_bytes())?;
        survey.must_be_whole()?;
        Ok(survey)
    }

    #[test]
    fn needs_are_read_out_of_a_dump() {
        let script = "--\n-- PostgreSQL database dump\n--\n\\restrict k1\n-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)\n\
            SET client_encoding = 'UTF8';\nSET default_tablespace = fast;\nSET default_tablespace = '';\n\
            CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;\nCREATE SCHEMA s;\nALTER SCHEMA s OWNER TO \"An owner\";\n\
            CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $_$ GRANT ALL ON t TO nobody; $_$;\n\
            COPY s.t (a) FROM stdin;\nGRANT ALL ON t TO nobody;\n\\.\n\
            GRANT SELECT ON TABLE s.t TO reader WITH GRANT OPTION;\nREVOKE ALL ON SCHEMA s FROM PUBLIC;\n\
            CREATE POLICY p ON s.t FOR SELECT TO one, \"two 2\" USING ((a > 0));\n\
            CREATE INDEX by_name ON s.t USING btree (name);\nCREATE UNIQUE INDEX \"Within it\" ON ONLY s.t USING gin (using);\n\
            ALTER TABLE ONLY s.t\n    ADD CONSTRAINT apart EXCLUDE USING gist (room WITH =);\n\
            ALTER TABLE s.t CLUSTER ON by_name;\nALTER TABLE ONLY s.t REPLICA IDENTITY USING INDEX \"Within it\";\n\
            ALTER TABLE ONLY s.t FORCE ROW LEVEL SECURITY;\nCREATE POLICY q ON s.t USING (true);\nCREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE FUNCTION f();\n\
            ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA s GRANT SELECT ON TABLES TO reader;\n\
            -- PostgreSQL database dump complete\n\\unrestrict k1\n";
        let survey = survey(script).unwrap();
        assert_eq!(survey.no_btrees, HashSet::from(["Within".to_owned(), "apart".to_owned()]));
        assert_eq!(survey.marked, HashSet::from(["by_name".to_owned(), "Within".to_owned()]));
        let needs = survey.needs;
        assert_eq!(needs.roles.into_iter().collect::<Vec<_>>(), ["An owner", "boss", "one", "reader", "two 2"]);
        assert!(needs.forced_row_security);
        assert_eq!(needs.superuser_objects.into_iter().collect::<Vec<_>>(), ["event triggers"]);
        assert_eq!(needs.extensions.into_iter().collect::<Vec<_>>(), [("citext".to_owned(), None)]);
        assert_eq!(needs.tablespaces.into_iter().collect::<Vec<_>>(), ["fast"]);
        assert_eq!(needs.server_version, Some(150_020));
    }

    #[test]
    fn f77_scripts_that_command_psql_or_leave_the_database_are_refused() {
        for script in [
            "\\! id\n",
            "\\connect other\n",
            "SELECT 1 \\gexec\n;\n",
            "-- Name: a\n\\! id\n; Type: TABLE\nSELECT 1;\n",
            "\\unrestrict k\\! id\n",
            "CREATE DATABASE other;\n",
            "drop database shop;\n",
        ] {
            let failure = survey(script).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{script:?}: {}", failure.message);
        }
        assert!(survey("CREATE TABLE t (database text, \"\\! id\" text); -- \\! id\n").is_ok());
    }

    #[test]
    fn a_script_that_was_cut_short_is_unfinished() {
        for script in ["-- PostgreSQL database dump\nSELECT 1;\n", "COPY t (a) FROM stdin;\n1\n", "CREATE TABLE t (\n", "SELECT 'x"]
        {
            assert_eq!(survey(script).unwrap_err().exit, Exit::Missing, "{script:?}");
        }
    }
}
