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
/// A prefix such as `run_`, and 32 digits.
const WHOLE: usize = 36;
/// What ids begin with.
const PREFIXES: [&str; 5] = ["run_", "apr_", "bud_", "key_", "eng_"];
/// What an abbreviated time keeps: its minute.
const MINUTE: usize = 16;

/// A table under construction.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    omit_empty: bool,
    fit: Option<Fit>,
    ids: &'static [usize],
    times: &'static [usize],
    telling: &'static [usize],
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
        Table {
            rows: Vec::new(),
            omit_empty: false,
            fit: None,
            ids: &[],
            times: &[],
            telling: &[],
            right: &[],
        }
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

    /// These columns hold times, as [`moment`](super::moment) writes them: abbreviated together with ids.
    pub(crate) fn times(mut self, columns: &'static [usize]) -> Self {
        self.times = columns;
        self
    }

    /// These columns tell rows apart, and often by their ends: other columns are left out before these are
    /// shortened, and then in the middle.
    pub(crate) fn telling(mut self, columns: &'static [usize]) -> Self {
        self.telling = columns;
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

    /// Where not everything fits, ids and times are abbreviated first; then as few columns are left out as let
    /// the others keep a readable width, and more only if that is not enough.
    fn layout(&self) -> Layout {
        let whole = Layout { widths: self.natural(false), brief: false };
        let Some(fit) = &self.fit else { return whole };
        if total(&whole.widths) <= fit.width {
            return whole;
        }
        let most = fit.drop.len();
        let mut ways = vec![(false, READABLE, true, 0)];
        ways.extend((0..=most).map(|left_out| (true, READABLE, true, left_out)));
        if self.telling.is_empty() {
            ways.extend((0..=most).map(|left_out| (true, LEAST, true, left_out)));
        } else {
            // What tells rows apart gives way last, when nothing is left to leave out.
            ways.extend([READABLE, LEAST].map(|least| (true, least, false, most)));
        }
        let mut layout = whole;
        for (brief, least, apart, left_out) in ways {
            layout = Layout { widths: self.natural(brief), brief };
            for column in &fit.drop[..left_out] {
                if let Some(width) = layout.widths.get_mut(*column) {
                    *width = None;
                }
            }
            shrink(&mut layout.widths, fit, least, if apart { self.telling } else { &[] });
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
                let brief = self.brief(column, brief);
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| measure_text_width(&abbreviated(cell, brief))).max()
            })
            .collect()
    }

    /// How a column's cells are abbreviated: of ids, as little as keeps all of them apart stays.
    fn brief(&self, column: usize, brief: bool) -> Brief {
        if brief && self.times.contains(&column) {
            return Brief::Minute;
        }
        if !brief || !self.ids.contains(&column) {
            return Brief::Not;
        }
        let ids = self.rows.iter().filter_map(|row| id_of(row.get(column)?)).map(|(id, _)| id);
        let ids: BTreeSet<&str> = ids.collect();
        let apart =
            |kept: &usize| ids.iter().map(|id| &id[..*kept]).collect::<BTreeSet<_>>().len() == ids.len();
        (BRIEF..WHOLE).find(apart).map_or(Brief::Not, Brief::Id)
    }
}

/// What is left of a cell.
#[derive(Debug, Clone, Copy)]
enum Brief {
    Not,
    /// So much of the id that it begins with.
    Id(usize),
    Minute,
}

/// An id at the beginning of a cell, and what is behind it.
fn id_of(cell: &str) -> Option<(&str, &str)> {
    let (id, rest) = cell.split_at_checked(WHOLE)?;
    let digits = PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix))?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some((id, rest))
}

fn abbreviated(cell: &str, brief: Brief) -> Cow<'_, str> {
    match (brief, id_of(cell), cell.get(..MINUTE)) {
        (Brief::Id(kept), Some((id, rest)), _) => Cow::Owned(format!("{}{rest}", &id[..kept])),
        (Brief::Minute, _, Some(minute)) if cell.ends_with('Z') => Cow::Owned(format!("{minute}Z")),
        _ => Cow::Borrowed(cell),
    }
}

/// The beginning and the end of a cell, with a mark between them.
fn middle_cut(cell: &str, width: usize) -> Cow<'_, str> {
    if measure_text_width(cell) <= width {
        return Cow::Borrowed(cell);
    }
    let end = width.saturating_sub(1) / 2;
    let begin = truncate_str(cell, width - end, "…");
    let mut rest = cell;
    while measure_text_width(rest) > end {
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    Cow::Owned(format!("{begin}{rest}"))
}

/// Shortens the columns that may give way, the widest first.
fn shrink(widths: &mut [Option<usize>], fit: &Fit, least: usize, whole: &[usize]) {
    loop {
        let over = total(widths).saturating_sub(fit.width);
        let giving = fit.shrink.iter().filter(|column| !whole.contains(column));
        let widest = giving.filter_map(|column| Some(((*widths.get(*column)?)?, *column))).max();
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
        let briefs: Vec<Brief> = (0..widths.len()).map(|column| self.brief(column, brief)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let Some(width) = widths[column] else { continue };
                let cell = abbreviated(cell, briefs[column]);
                let cell = match self.telling.contains(&column) {
                    true => middle_cut(&cell, width),
                    false => truncate_str(&cell, width, "…"),
                };
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
    fn what_tells_rows_apart_is_whole_while_others_can_go() {
        let names = |width| {
            let mut table = Table::new(&["KEY", "WHEN", "NAME", "KIND"]).within(Some(width), &[2], &[3]);
            for end in ["4-5", "4-6"] {
                let id = ONE.replace("run_", "key_");
                let when = "2026-11-29T08:50:35Z";
                table.row(vec![id, when.into(), format!("bedrock/claude-sonnet-{end}"), "chat".into()]);
            }
            table.ids(&[0]).times(&[1]).telling(&[2]).to_string()
        };
        let text = names(100);
        assert!(
            text.contains("35Z")
                && text.contains("chat")
                && text.contains("key_01a224efdd0074ad862c2c1c663fa41f"),
            "{text}"
        );
        let text = names(70);
        assert!(text.contains("T08:50Z  bedrock/claude-sonnet-4-5  chat") && widest(&text) <= 70, "{text}");
        let text = names(62);
        assert!(text.ends_with("  bedrock/claude-sonnet-4-6") && !text.contains("KIND"), "{text}");
        let text = names(53);
        assert!(widest(&text) <= 53 && text.contains("…net-4-5") && text.contains("…net-4-6"), "{text}");
    }

    #[test]
    fn numbers_end_in_line_and_what_is_empty_is_left_out() {
        let text = runs(70, &[ONE, NEAR]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("       $0") && lines[2].ends_with("  $123.00"), "{text}");
        assert!(lines[0].ends_with("     COST"), "{text}");
    }
}
