//! Rows in aligned columns, without lines: easy to read and to cut.

use std::borrow::Cow;
use std::collections::BTreeSet;

use console::{measure_text_width, truncate_str};

/// Columns between two cells.
const GAP: usize = 2;
/// A column that gives way keeps this much before others are left out for it,
const READABLE: usize = 12;
/// and this much in any case.
const LEAST: usize = 8;

/// What an abbreviated id keeps: its prefix and the twelve digits of its milliseconds.
const BRIEF: usize = 16;
/// `run_` or `apr_`, and 32 digits.
const WHOLE: usize = 36;

/// A table under construction.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    omit_empty: bool,
    fit: Option<Fit>,
    ids: &'static [usize],
    right: &'static [usize],
}

/// How a table gives way on a narrow terminal.
struct Fit {
    width: usize,
    shrink: &'static [usize],
    drop: &'static [usize],
}

/// How a table is printed: the width of each column, none for one that is left out, and whether ids are
/// abbreviated.
struct Layout {
    widths: Vec<Option<usize>>,
    brief: bool,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Table { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()], ..Table::bare() }
    }

    /// A table without heads.
    pub(crate) fn bare() -> Self {
        Table { rows: Vec::new(), omit_empty: false, fit: None, ids: &[], right: &[] }
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

    /// These columns hold ids. Every command takes an id by its beginning, so that they are abbreviated, as
    /// far as they stay different, before anything is left out for them.
    pub(crate) fn ids(mut self, columns: &'static [usize]) -> Self {
        self.ids = columns;
        self
    }

    /// These columns hold numbers, which are compared by their ends.
    pub(crate) fn right(mut self, columns: &'static [usize]) -> Self {
        self.right = columns;
        self
    }

    /// A column with nothing below its head is left out.
    pub(crate) fn omit_empty(mut self) -> Self {
        self.omit_empty = true;
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Where not everything fits, ids are abbreviated first; then as few columns are left out as let the
    /// others keep a readable width, and more only if that is not enough.
    fn layout(&self) -> Layout {
        let whole = Layout { widths: self.natural(false), brief: false };
        let Some(fit) = &self.fit else { return whole };
        if total(&whole.widths) <= fit.width {
            return whole;
        }
        let most = fit.drop.len();
        let mut ways = vec![(false, READABLE, 0)];
        ways.extend(
            [READABLE, LEAST].into_iter().flat_map(|least| (0..=most).map(move |n| (true, least, n))),
        );
        let mut layout = whole;
        for (brief, least, left_out) in ways {
            layout = Layout { widths: self.natural(brief), brief };
            for column in &fit.drop[..left_out] {
                if let Some(width) = layout.widths.get_mut(*column) {
                    *width = None;
                }
            }
            shrink(&mut layout.widths, fit, least);
            if total(&layout.widths) <= fit.width {
                break;
            }
        }
        layout
    }

    /// The width that each column's widest cell has.
    fn natural(&self, brief: bool) -> Vec<Option<usize>> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|column| {
                let is_empty = |row: &Vec<String>| row.get(column).is_none_or(String::is_empty);
                if self.omit_empty && self.rows.iter().skip(1).all(is_empty) {
                    return None;
                }
                let kept = self.kept(column, brief);
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| measure_text_width(&abbreviated(cell, kept))).max()
            })
            .collect()
    }

    /// How much of an id a column shows: as little as keeps all of them apart.
    fn kept(&self, column: usize, brief: bool) -> usize {
        if !brief || !self.ids.contains(&column) {
            return WHOLE;
        }
        let ids = self.rows.iter().filter_map(|row| id_of(row.get(column)?)).map(|(id, _)| id);
        let ids: BTreeSet<&str> = ids.collect();
        let apart =
            |kept: &usize| ids.iter().map(|id| &id[..*kept]).collect::<BTreeSet<_>>().len() == ids.len();
        (BRIEF..WHOLE).find(apart).unwrap_or(WHOLE)
    }
}

/// An id at the beginning of a cell, and what is behind it.
fn id_of(cell: &str) -> Option<(&str, &str)> {
    let (id, rest) = cell.split_at_checked(WHOLE)?;
    let digits = id.strip_prefix("run_").or_else(|| id.strip_prefix("apr_"))?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some((id, rest))
}

/// The cell with at most so much of the id that it begins with.
fn abbreviated(cell: &str, kept: usize) -> Cow<'_, str> {
    match id_of(cell) {
        Some((id, rest)) if kept < WHOLE => Cow::Owned(format!("{}{rest}", &id[..kept])),
        _ => Cow::Borrowed(cell),
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
        let Layout { widths, brief } = self.layout();
        let kept: Vec<usize> = (0..widths.len()).map(|column| self.kept(column, brief)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let Some(width) = widths[column] else { continue };
                let cell = abbreviated(cell, kept[column]);
                let cell = truncate_str(&cell, width, "…");
                let room = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
                if self.right.contains(&column) {
                    line.push_str(&room);
                    line.push_str(&cell);
                } else {
                    line.push_str(&cell);
                    line.push_str(&room);
                }
                line.push_str(&" ".repeat(GAP));
            }
            write!(f, "{}", line.trim_end())?;
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

    fn runs(width: usize, ids: &[&str]) -> String {
        let table = Table::new(&["RUN", "WORKFLOW", "COST", "PROCESS"]);
        let mut table = table.within(Some(width), &[1], &[2, 1]).ids(&[0]).right(&[2]).omit_empty();
        for (id, cost) in ids.iter().zip(["$0", "$123.00"].iter().cycle()) {
            table.row(vec![(*id).to_owned(), "nightly-report".into(), (*cost).to_owned(), String::new()]);
        }
        table.to_string()
    }

    const ONE: &str = "run_01a224efdd0074ad862c2c1c663fa41f";
    const NEAR: &str = "run_01a224efdd0074bd862c2c1c663fa41f";

    #[test]
    fn ids_are_abbreviated_before_a_column_is_left_out() {
        let text = runs(70, &[ONE, "run_01a224efdd0174ad862c2c1c663fa41f"]);
        assert!(text.contains(ONE), "{text}");
        let text = runs(50, &[ONE, "run_01a224efdd0174ad862c2c1c663fa41f"]);
        assert!(text.contains("run_01a224efdd00  nightly-report") && text.contains("$123.00"), "{text}");
        let text = runs(50, &[ONE, NEAR, "run_01a224efdd0074ad862c2c1c663fa41f (removed)"]);
        assert!(
            text.contains("run_01a224efdd0074b  ") && text.contains("run_01a224efdd0074a (removed)"),
            "{text}"
        );
    }

    #[test]
    fn numbers_end_in_line_and_what_is_empty_is_left_out() {
        let text = runs(70, &[ONE, NEAR]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("       $0") && lines[2].ends_with("  $123.00"), "{text}");
        assert!(lines[0].ends_with("     COST"), "{text}");
    }
}
