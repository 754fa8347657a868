//! How are rows shown to people? In columns as wide as they must be, and without what would steer the terminal.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, Table, presets};

/// Whether records are printed for people.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct TableArgs {
    /// Print JSON Lines, even on a terminal
    #[arg(long, conflicts_with = "table")]
    json: bool,

    /// Print a table, even into a pipe
    #[arg(long)]
    table: bool,
}

impl TableArgs {
    /// Whether people read the answer.
    pub fn wanted(&self) -> bool {
        self.table || !self.json && std::io::stdout().is_terminal()
    }
}

/// A table as text, without a newline at its end; columns named in `right` hold numbers.
pub fn table<const N: usize>(header: [&str; N], right: &[&str], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (name, column) in header.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, 2));
        if right.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Text that may be somebody else's, with `?` for every control character.
pub fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_names_and_numbers_to_the_right() {
        let rows = [["shop".to_owned(), "9".into()], ["a".into(), "1000".into()]];
        assert_eq!(table(["NAME", "ROWS"], &["ROWS"], rows), "NAME  ROWS\nshop     9\na     1000");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("shop\u{1b}[2J\n"), "shop?[2J?");
    }
}
