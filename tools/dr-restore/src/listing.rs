//! What is in `schema.dump`, as `pg_restore --list --verbose` tells it: which entries are there, and what each needs.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use dr_pipe::{Exit, Failure};

/// `pg_class`, the catalogue that indexes are entries of.
const PG_CLASS: u32 = 1259;
/// `pg_namespace`.
const PG_NAMESPACE: u32 = 2615;
/// `pg_constraint`.
const PG_CONSTRAINT: u32 = 2606;
/// `pg_trigger`.
const PG_TRIGGER: u32 = 2620;
/// `pg_event_trigger`.
const PG_EVENT_TRIGGER: u32 = 3466;

/// One entry of the archive's own table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the archive.
    pub id: u32,
    /// The catalogue its object is in on the source, and the object's OID there.
    pub object: (u32, u32),
    /// What it is, its schema, name and owner, as one text: names may hold spaces, so they cannot be told apart for sure.
    pub what: String,
    /// Entries it needs.
    pub needs: Vec<u32>,
}

/// Entries of one table that can be restored as soon as its rows are in, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// Those that lock their table: primary keys, unique and exclusion constraints, and marked indexes.
    pub locking: Vec<u32>,
    /// Other indexes.
    pub others: Vec<u32>,
}

impl Early {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        self.locking.iter().chain(&self.others).copied()
    }
}

/// Entries in the order in which they can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(Vec<Entry>);

impl Listing {
    /// Reads what `pg_restore --list --verbose` prints.
    ///
    /// # Errors
    /// 65 where a line is none of its.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut entries: Vec<Entry> = Vec::new();
        for line in text.lines() {
            if let Some(needs) = line.strip_prefix(";\tdepends on:") {
                let last = entries.last_mut().ok_or_else(|| malformed(line))?;
                last.needs.extend(needs.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            } else if !line.starts_with(';') && !line.trim().is_empty() {
                entries.push(entry(line).ok_or_else(|| malformed(line))?);
            }
        }
        Ok(Listing(entries))
    }

    /// Which entries can be restored as soon as a table's rows are in: for each table, given by its indexes and
    /// constraints on the source, those of its entries that need nothing else of this listing, and none of `code`. In the tables' order. `marked` are entries that lock their
    /// table though they are indexes.
    pub fn early<'a>(
        &self,
        tables: impl IntoIterator<Item = (&'a [u32], &'a [u32])>,
        code: &HashSet<u32>,
        marked: &HashSet<u32>,
    ) -> Vec<Early> {
        let by_object: HashMap<(u32, u32), &Entry> =
            self.0.iter().filter(|entry| is_early(entry)).map(|entry| (entry.object, entry)).collect();
        let place: HashMap<u32, usize> = self.0.iter().enumerate().map(|(place, entry)| (entry.id, place)).collect();
        let of_table = |(indexes, constraints): (&[u32], &[u32])| {
            let objects = constraints.iter().map(|oid| (PG_CONSTRAINT, *oid)).chain(indexes.iter().map(|oid| (PG_CLASS, *oid)));
            let calls = |entry: &&Entry| entry.needs.iter().any(|need| code.contains(need));
            let mut own: Vec<&Entry> =
                objects.filter_map(|object| by_object.get(&object).copied()).filter(|entry| !calls(entry)).collect();
            // What waits for anything else here takes with it what waits for it.
            loop {
                let ids: HashSet<u32> = own.iter().map(|entry| entry.id).collect();
                let before = own.len();
                own.retain(|entry| entry.needs.iter().all(|need| !place.contains_key(need) || ids.contains(need)));
                if own.len() == before {
                    break;
                }
            }
            own.sort_by_key(|entry| place[&entry.id]);
            let locks = |entry: &&Entry| entry.object.0 == PG_CONSTRAINT || marked.contains(&entry.id);
            let (locking, others): (Vec<&Entry>, Vec<&Entry>) = own.into_iter().partition(locks);
            let [locking, others] = [locking, others].map(|entries| entries.iter().map(|entry| entry.id).collect());
            Early { locking, others }
        };
        tables.into_iter().map(of_table).collect()
    }

    /// The entries that are code of the database's own, or run it: what it reads may be in any table.
    pub fn code(&self) -> HashSet<u32> {
        let kinds = ["FUNCTION ", "PROCEDURE ", "AGGREGATE ", "OPERATOR "];
        let is_code = |entry: &&Entry| kinds.iter().any(|kind| entry.what.starts_with(kind));
        self.0.iter().filter(is_code).map(|entry| entry.id).collect()
    }

    /// The entries that may have a name whose first word is among these.
    pub fn named(&self, first_words: &HashSet<String>) -> HashSet<u32> {
        let may = |entry: &&Entry| entry.what.split(' ').any(|word| first_words.contains(word));
        self.0.iter().filter(may).map(|entry| entry.id).collect()
    }

    /// The numbers of all entries.
    pub fn ids(&self) -> HashSet<u32> {
        self.0.iter().map(|entry| entry.id).collect()
    }

    /// Those of its entries that can be restored only after the rows: the `post_data` ones, and what needs any of them, directly
    /// or by way of others, though pg_dump thinks otherwise: a function over a materialized view that needs a primary key.
    pub fn after_rows(&self, post_data: &HashSet<u32>) -> Listing {
        let mut late = post_data.clone();
        loop {
            let before = late.len();
            late.extend(
                self.0
                    .iter()
                    .filter(|entry| entry.needs.iter().any(|need| late.contains(need)))
                    .map(|entry| entry.id)
                    .collect::<Vec<_>>(),
            );
            if late.len() == before {
                return Listing(self.0.iter().filter(|entry| late.contains(&entry.id)).cloned().collect());
            }
        }
    }

    /// Whether one of the entries makes a schema of that name.
    pub fn has_schema(&self, name: &str) -> bool {
        let beginning = format!("SCHEMA - {name} ");
        self.0.iter().any(|entry| entry.object.0 == PG_NAMESPACE && entry.what.starts_with(&beginning))
    }

    /// All entries but `done`, in order: first what makes no trigger and needs none, then triggers and event triggers with their
    /// comments, which are restored one after another. pg_restore alone would refresh materialized views while event triggers
    /// watch, and some forbid that or keep a log; and with `--jobs` it disables the trigger of a partition of a partition before
    /// that of the whole tree is made, as pg_dump tells it of no dependency.
    pub fn rest(&self, done: &HashSet<u32>) -> [Vec<u32>; 2] {
        let watches = |entry: &&Entry| [PG_TRIGGER, PG_EVENT_TRIGGER].contains(&entry.object.0);
        let triggers: HashSet<u32> = self.0.iter().filter(watches).map(|entry| entry.id).collect();
        let is_last = |entry: &&Entry| watches(entry) || entry.needs.iter().any(|need| triggers.contains(need));
        let left = self.0.iter().filter(|entry| !done.contains(&entry.id));
        let (last, first): (Vec<&Entry>, Vec<&Entry>) = left.partition(is_last);
        [first, last].map(|entries| entries.iter().map(|entry| entry.id).collect())
    }
}

/// A list for `pg_restore --use-list` that names these entries.
pub fn use_list(ids: &[u32]) -> String {
    ids.iter().fold(String::new(), |mut list, id| {
        writeln!(list, "{id};").expect("a String takes all that is written");
        list
    })
}

fn is_early(entry: &Entry) -> bool {
    entry.what.starts_with("INDEX ") || entry.what.starts_with("CONSTRAINT ")
}

/// `dumpId; tableoid oid DESC schema tag owner`
fn entry(line: &str) -> Option<Entry> {
    let (id, rest) = line.split_once("; ")?;
    let mut words = rest.splitn(3, ' ');
    let object = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Entry { id: id.parse().ok()?, object, what: words.next()?.to_owned(), needs: Vec::new() })
}

fn malformed(line: &str) -> Failure {
    Failure::new(Exit::Damaged, format!("pg_restore --list: {line:?} is no entry"), "is this really PostgreSQL's pg_restore?")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026-11-20 23:11:35 UTC\n;\n; Selected TOC Entries:\n;\n\
        215; 1259 16390 TABLE public guests postgres\n\
        3450; 2606 16402 CONSTRAINT public guests guests_pkey postgres\n;\tdepends on: 215\n\
        3460; 1259 16500 FUNCTION public late() postgres\n;\tdepends on: 3450\n\
        3451; 1259 16403 INDEX public by name postgres\n;\tdepends on: 215\n\
        3452; 1259 16404 INDEX public by_function postgres\n;\tdepends on: 215 3460\n\
        3470; 3466 16410 EVENT TRIGGER - watch postgres\n\
        3475; 0 0 COMMENT - EVENT TRIGGER watch postgres\n;\tdepends on: 3470\n\
        3480; 0 16411 MATERIALIZED VIEW DATA public seen postgres\n;\tdepends on: 220\n";

    /// The function is among the definitions before the rows for pg_dump, but needs the primary key.
    fn after_rows() -> Listing {
        Listing::parse(LIST).unwrap().after_rows(&HashSet::from([3450, 3451, 3452, 3470, 3475, 3480]))
    }

    #[test]
    fn what_needs_something_that_comes_after_the_rows_comes_after_them_too() {
        assert_eq!(after_rows().rest(&HashSet::new()), [vec![3450, 3460, 3451, 3452, 3480], vec![3470, 3475]]);
    }

    #[test]
    fn early_entries_need_nothing_that_comes_later() {
        let listing = after_rows();
        let tables = [(&[16403, 16404][..], &[16402][..]), (&[], &[])];
        let none = HashSet::new();
        let early = listing.early(tables, &none, &none);
        assert_eq!(early, [Early { locking: vec![3450], others: vec![3451] }, Early::default()]);
        assert_eq!(listing.early(tables, &none, &HashSet::from([3451]))[0], Early { locking: vec![3450, 3451], others: vec![] });
        assert_eq!(listing.rest(&early[0].all().collect()), [vec![3460, 3452, 3480], vec![3470, 3475]]);
        assert_eq!(listing.named(&HashSet::from(["by".to_owned()])), HashSet::from([3451]));
        assert_eq!(use_list(&[3450, 3451]), "3450;\n3451;\n");
    }

    #[test]
    fn an_index_that_calls_a_function_waits_for_all_rows() {
        let list = LIST.replace("215; 1259", "230; 1255 1 FUNCTION public f() x\n215; 1259").replace("215 3460", "215 230");
        let all = Listing::parse(&list).unwrap();
        assert_eq!(all.code(), HashSet::from([230, 3460]));
        let early = |code: HashSet<u32>| {
            all.after_rows(&HashSet::from([3451, 3452])).early([(&[16403, 16404][..], &[][..])], &code, &HashSet::new())
        };
        assert_eq!(early(HashSet::new())[0].others, [3451, 3452]);
        assert_eq!(early(all.code())[0].others, [3451]);
    }

    /// pg_dump writes these two of a tree where only a partition of a partition has the trigger disabled. With `--jobs`,
    /// pg_restore would do both at once.
    #[test]
    fn f62_triggers_of_one_tree_are_not_made_in_parallel() {
        let list = "5114; 2620 21671 TRIGGER public tree touch postgres\n;\tdepends on: 215\n\
            5115; 2620 21678 TRIGGER public leaf touch postgres\n;\tdepends on: 217\n\
            5419; 0 0 COMMENT public TRIGGER touch ON tree postgres\n;\tdepends on: 5114\n\
            5116; 2606 21690 FK CONSTRAINT public tree tree_fkey postgres\n;\tdepends on: 215\n";
        assert_eq!(Listing::parse(list).unwrap().rest(&HashSet::new()), [vec![5116], vec![5114, 5115, 5419]]);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        assert!(Listing::parse("hello\n").is_err());
        assert!(Listing::parse("1; 2 x TABLE a b c\n").is_err());
    }
}
