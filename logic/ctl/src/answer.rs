//! What a command found: for people as text, for programs as JSON. Pure.

use std::fmt::Write as _;

use serde_json::Value;

/// See the module's documentation.
#[derive(Debug)]
pub struct Answer {
    /// Without a line break at its end.
    pub text: String,
    /// The same for `--json`.
    pub json: Value,
    /// Whether all is well: if not, the exit code is 1.
    pub is_good: bool,
}

impl Answer {
    /// All is well.
    pub fn good(text: String, json: Value) -> Self {
        Self { text, json, is_good: true }
    }
}

/// Columns below their heads, each as wide as its widest cell.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([heads[index].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (cell, width) in cells.into_iter().zip(&widths) {
            // A text takes no failed write.
            let _never_fails = write!(line, "{cell:<width$}  ");
        }
        line.trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(heads.to_vec())).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["7".to_owned(), "Zoë".to_owned(), String::new()],
            vec!["12345".to_owned(), "A".to_owned(), "on".to_owned()],
        ];
        assert_eq!(table(&["user", "name", "is"], &rows), "user   name  is\n7      Zoë\n12345  A     on");
    }
}
