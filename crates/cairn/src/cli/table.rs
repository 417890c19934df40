//! Tables for people: columns, no frames.

use comfy_table::{CellAlignment, Row, Table, presets};

/// Lines of a table. The columns of these places hold numbers, and stand to the right.
pub(crate) fn table(
    header: &[&str],
    numbers: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(Row::from(header.iter().copied()));
    for row in rows {
        assert_eq!(row.len(), header.len(), "a row has a cell for each column");
        table.add_row(row);
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_frames() {
        let rows =
            [vec!["1".to_owned(), "leader".to_owned()], vec!["12".to_owned(), "-".to_owned()]];
        assert_eq!(table(&["NODE", "ROLE"], &[0], rows), "NODE  ROLE\n   1  leader\n  12  -");
    }
}
