//! Rows in aligned columns, without lines: easy to read and to cut.

use std::borrow::Cow;

use console::{measure_text_width, truncate_str};

/// Columns between two cells.
const GAP: usize = 2;
/// A column that gives way keeps this much before others are left out for it,
const READABLE: usize = 12;
/// and this much in any case.
const LEAST: usize = 8;

/// A table under construction.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    fit: Option<Fit>,
}

/// How a table gives way on a narrow terminal.
struct Fit {
    width: usize,
    shrink: &'static [usize],
    drop: &'static [usize],
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Table { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()], fit: None }
    }

    /// A table without heads.
    pub(crate) fn bare() -> Self {
        Table { rows: Vec::new(), fit: None }
    }

    /// Keeps to a terminal's width, if it is one: the columns `shrink` are shortened, the columns `drop`
    /// are left out, in this order. The others stay whole.
    pub(crate) fn within(
        mut self,
        width: Option<usize>,
        shrink: &'static [usize],
        drop: &'static [usize],
    ) -> Self {
        self.fit = width.map(|width| Fit { width, shrink, drop });
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The width of each column; none for one that is left out. Where not everything fits, as few columns
    /// are left out as let the others keep a readable width, and more only if that is not enough.
    fn widths(&self) -> Vec<Option<usize>> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let natural = (0..columns).map(|column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| measure_text_width(cell)).max()
        });
        let natural: Vec<Option<usize>> = natural.collect();
        let Some(fit) = &self.fit else { return natural };
        let ways =
            [READABLE, LEAST].into_iter().flat_map(|least| (0..=fit.drop.len()).map(move |n| (least, n)));
        let mut narrowest = natural.clone();
        for (least, left_out) in ways {
            narrowest.clone_from(&natural);
            for column in &fit.drop[..left_out] {
                if let Some(width) = narrowest.get_mut(*column) {
                    *width = None;
                }
            }
            shrink(&mut narrowest, fit, least);
            if total(&narrowest) <= fit.width {
                break;
            }
        }
        narrowest
    }
}

/// Shortens the columns that may give way, the widest first.
fn shrink(widths: &mut [Option<usize>], fit: &Fit, least: usize) {
    loop {
        let over = total(widths).saturating_sub(fit.width);
        let widest = fit.shrink.iter().filter_map(|column| Some(((*widths.get(*column)?)?, *column))).max();
        let Some((width, column)) = widest.filter(|(width, _)| over > 0 && *width > least) else { return };
        widths[column] = Some(width.saturating_sub(over).max(least));
    }
}

/// Columns of a whole line. An empty column takes no room at the end of a line, where those columns stand.
fn total(widths: &[Option<usize>]) -> usize {
    let taken = widths.iter().flatten().filter(|width| **width > 0);
    taken.map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let cells: Vec<(Cow<'_, str>, usize)> = row
                .iter()
                .zip(&widths)
                .filter_map(|(cell, width)| Some((truncate_str(cell, (*width)?, "…"), (*width)?)))
                .collect();
            let last = cells.iter().rposition(|(cell, _)| !cell.is_empty()).unwrap_or(0);
            for (column, (cell, width)) in cells.iter().enumerate().take(last + 1) {
                write!(f, "{cell}")?;
                if column < last {
                    let gap = width.saturating_sub(measure_text_width(cell)) + GAP;
                    write!(f, "{:gap$}", "")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut table = Table::new(&["RUN", "WORKFLOW", "STATUS", "AGE"]).within(width, &[1], &[3, 1]);
        table.row(vec![
            "run_1234".into(),
            "夜間レポートの作成と送信".into(),
            "failed".into(),
            "3 min".into(),
        ]);
        table.row(vec!["run_5678".into(), "nightly".into(), "completed".into(), "2 h".into()]);
        table.to_string()
    }

    fn widest(text: &str) -> usize {
        text.lines().map(measure_text_width).max().unwrap_or(0)
    }

    #[test]
    fn a_pipe_gets_everything_in_line() {
        let text = table(None);
        assert!(text.contains("夜間レポートの作成と送信"), "{text}");
        let column = |line: &str, word: &str| measure_text_width(&line[..line.find(word).unwrap()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(column(lines[1], "failed"), column(lines[2], "completed"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_shortens_names_and_then_leaves_columns_out() {
        let text = table(Some(42));
        assert!(widest(&text) <= 42 && text.contains('…') && text.contains("AGE"), "{text}");
        let text = table(Some(36));
        assert!(widest(&text) <= 36 && !text.contains("AGE") && text.contains("夜間レポート"), "{text}");
        let text = table(Some(30));
        assert!(widest(&text) <= 30 && text.contains("STATUS"), "{text}");
        let text = table(Some(20));
        assert!(widest(&text) <= 20 && !text.contains("WORKFLOW"), "{text}");
        let text = table(Some(5));
        assert!(text.contains("run_1234") && text.contains("completed"), "ids are never cut: {text}");
    }
}
