//! In which order, and in which portions, do the rows go in?

use std::collections::HashMap;

use dr_archive::{Contents, Member};
use dr_pipe::{Exit, Failure};
use dr_postgres::about::{About, TableFacts};

/// A run has at least so many bytes where its table has: a COPY costs a round trip.
const MIN_RUN_BYTES: u64 = 16 << 20;
/// And at most so many: all workers shall be busy to the end.
const MAX_RUN_BYTES: u64 = 256 << 20;

/// The form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// COPY's text format: pieces can follow each other in one COPY.
    Text,
    /// COPY's binary format: so can these, without the headers and trailers between them.
    Binary,
}

/// Pieces that go into one table by one COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Number of the table in the dump's list.
    pub table: usize,
    /// Their form.
    pub form: Form,
    /// The pieces.
    pub members: Vec<&'a Member>,
    /// Their size in bytes.
    pub bytes: u64,
    /// The rows they hold.
    pub rows: u64,
}

/// All that is to be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Runs of ordinary tables, largest table first.
    pub runs: Vec<Run<'a>>,
    /// Runs of tables that belong to extensions, whose scripts may have filled them.
    pub of_extensions: Vec<Run<'a>>,
    /// Pieces of large objects.
    pub large_objects: Vec<&'a Member>,
    /// Statements that make large objects.
    pub large_object_metadata: Vec<&'a Member>,
    /// Bytes of all rows and large objects.
    pub bytes: u64,
    /// Rows of all tables.
    pub rows: u64,
}

impl<'a> Plan<'a> {
    /// Makes the plan for `workers` workers.
    ///
    /// # Errors
    /// 65 where the archive holds data that its own list of tables does not know, or a piece without a count of rows.
    pub fn of(about: &About, contents: &'a Contents, workers: usize) -> Result<Self, Failure> {
        let mut plan = Plan::default();
        let mut by_table: HashMap<usize, Vec<&'a Member>> = HashMap::new();
        let tables: HashMap<&str, usize> =
            about.tables.iter().enumerate().map(|(number, table)| (table.dir.as_str(), number)).collect();
        for member in contents.members_below("data/") {
            if form_of(&member.path).is_none() {
                continue;
            }
            let dir = member.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let table = tables.get(dir).ok_or_else(|| malformed(&member.path, "belongs to no table of about.json"))?;
            let rows = member.rows.ok_or_else(|| malformed(&member.path, "has no count of rows"))?;
            plan.bytes += member.bytes;
            plan.rows = plan.rows.checked_add(rows).ok_or_else(|| malformed(&member.path, "has too many rows"))?;
            by_table.entry(*table).or_default().push(member);
        }
        let mut tables: Vec<_> = by_table.into_iter().collect();
        tables
            .sort_by_key(|(number, members)| (std::cmp::Reverse(members.iter().map(|member| member.bytes).sum::<u64>()), *number));
        for (number, members) in tables {
            let runs = runs_of(number, &members, workers);
            let to = if about.tables[number].extension.is_some() { &mut plan.of_extensions } else { &mut plan.runs };
            to.extend(runs);
        }
        // What an extension's script puts into a table must go, also where the dump has nothing for it.
        let had = |number: usize, plan: &Plan<'_>| plan.of_extensions.iter().any(|run| run.table == number);
        for (number, table) in about.tables.iter().enumerate() {
            let wanted = table.extension.is_some() && table.skipped.is_none() && !about.scope.schema_only;
            if wanted && !had(number, &plan) {
                plan.of_extensions.push(Run { table: number, form: Form::Text, members: Vec::new(), bytes: 0, rows: 0 });
            }
        }
        let copies = |member: &&Member| member.path.ends_with(".copy");
        plan.large_objects = contents.members_below("largeobjects/").filter(copies).collect();
        plan.large_object_metadata = contents.members_below("largeobjects/metadata/").collect();
        plan.bytes += plan.large_objects.iter().map(|member| member.bytes).sum::<u64>();
        Ok(plan)
    }
}

fn form_of(path: &str) -> Option<Form> {
    match path.rsplit_once('.')?.1 {
        "copy" => Some(Form::Text),
        "bin" => Some(Form::Binary),
        _ => None,
    }
}

/// Cuts a table's pieces into runs of even size, some for each worker.
fn runs_of<'a>(table: usize, members: &[&'a Member], workers: usize) -> Vec<Run<'a>> {
    let total: u64 = members.iter().map(|member| member.bytes).sum();
    let target = (total / (4 * workers as u64).max(1)).clamp(MIN_RUN_BYTES, MAX_RUN_BYTES);
    let mut runs: Vec<Run<'a>> = Vec::new();
    for member in members {
        let form = form_of(&member.path).unwrap_or(Form::Text);
        let rows = member.rows.unwrap_or(0);
        match runs.last_mut() {
            Some(run) if run.form == form && run.bytes + member.bytes <= target => {
                run.members.push(member);
                run.bytes += member.bytes;
                run.rows += rows;
            }
            _ => runs.push(Run { table, form, members: vec![member], bytes: member.bytes, rows }),
        }
    }
    runs
}

/// The COPY that takes rows of a table. The statement is made from the list of tables, never taken from the archive.
pub fn copy_statement(table: &TableFacts, form: Form, frozen: bool) -> String {
    let columns: Vec<_> = table.columns.iter().map(|column| dr_postgres::quote::identifier(column)).collect();
    let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let options = match (form, frozen) {
        (Form::Text, false) => "",
        (Form::Text, true) => " WITH (FREEZE)",
        (Form::Binary, false) => " WITH (FORMAT binary)",
        (Form::Binary, true) => " WITH (FORMAT binary, FREEZE)",
    };
    format!("COPY {}{columns} FROM STDIN{options}", table.into)
}

fn malformed(path: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Damaged,
        format!("the archive's member {path} {why}"),
        "do not trust whoever made this archive; nothing was restored",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, bytes: u64) -> Member {
        Member { path: path.into(), frame: 0, offset: 0, bytes, rows: Some(bytes) }
    }

    #[test]
    fn pieces_of_one_form_join() {
        let pieces = [member("1.copy", 1), member("2.copy", 2), member("3.bin", 3), member("4.bin", 4), member("5.copy", 5)];
        let runs = runs_of(0, &pieces.iter().collect::<Vec<_>>(), 2);
        let shape: Vec<_> = runs.iter().map(|run| (run.form, run.members.len(), run.bytes, run.rows)).collect();
        assert_eq!(shape, [(Form::Text, 2, 3, 3), (Form::Binary, 2, 7, 7), (Form::Text, 1, 5, 5)]);
    }

    #[test]
    fn a_big_table_is_cut_for_all_workers() {
        let pieces: Vec<_> = (0..100).map(|n| member(&format!("{n}.copy"), 10 << 20)).collect();
        let runs = runs_of(0, &pieces.iter().collect::<Vec<_>>(), 4);
        assert!((16..=17).contains(&runs.len()), "{}", runs.len());
        assert_eq!(runs.iter().map(|run| run.members.len()).sum::<usize>(), 100);
    }

    #[test]
    fn copy_names_its_columns_unless_there_are_none() {
        let mut table = TableFacts {
            oid: 1,
            schema: "s".into(),
            name: "t".into(),
            dir: "data/s.t".into(),
            into: "\"s\".\"t\"".into(),
            columns: vec!["a".into(), "B \"".into()],
            estimated_bytes: 0,
            indexes: vec![],
            constraints: vec![],
            extension: None,
            skipped: None,
        };
        assert_eq!(copy_statement(&table, Form::Text, true), "COPY \"s\".\"t\" (\"a\", \"B \"\"\") FROM STDIN WITH (FREEZE)");
        table.columns.clear();
        assert_eq!(copy_statement(&table, Form::Binary, false), "COPY \"s\".\"t\" FROM STDIN WITH (FORMAT binary)");
    }
}
