//! What an approval is about, as lines for people: rows before and after, statements, amounts, files.
//!
//! The one rendering of it, for the question at a terminal and for `wflo approvals show`; they differ in
//! how much room there is. Everything here came out of a sandbox or a database and is made safe to print.

mod command;
mod done;
mod rows;
mod write;

use serde::Deserialize as _;
use serde_json::{Map, Value};
use wflo_core::approval::{ApprovalRequest, Decision, Purpose};
use wflo_core::budget::Measure;
use wflo_core::canonical::Digest;
use wflo_core::id::ApprovalId;
use wflo_core::legible;
use wflo_core::money::NanoUsd;

use crate::plain;
use crate::printer::{Paint, amount};

/// Columns of a name.
const NAME: usize = 40;

/// Columns of a value on a page: more than the evidence keeps of one.
const WHOLE: usize = 10_000;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Writes of a step.
    writes: usize,
    /// Rows of each kind in each table.
    rows: usize,
    /// Lines of a text.
    lines: usize,
    /// Columns of a line that is not a statement.
    line: usize,
    /// Columns of a value in a row.
    cell: usize,
    /// Columns of the terminal, if it is one: tables are made to fit.
    width: Option<usize>,
    /// The question, where it can be named.
    asked: Option<ApprovalId>,
}

impl Room {
    /// Above a prompt: what a screen holds.
    pub(crate) fn prompt(width: Option<usize>) -> Self {
        Room { writes: 8, rows: 12, lines: 40, line: 160, cell: 28, width, asked: None }
    }

    /// A page: all that the evidence has.
    pub(crate) fn page(width: Option<usize>) -> Self {
        let all = usize::MAX;
        Room { writes: all, rows: all, lines: all, line: all, cell: WHOLE, width, asked: None }
    }

    /// The same, for what can say how its question is called.
    pub(crate) fn about(self, asked: ApprovalId) -> Self {
        Room { asked: Some(asked), ..self }
    }

    fn is_page(self) -> bool {
        self.rows == usize::MAX
    }
}

/// The question, what it rests on, who is asked and until when.
pub(crate) fn question(paint: Paint, request: &ApprovalRequest, room: Room) -> Vec<String> {
    // A write's statement stands below; anything else is said here and nowhere else.
    let most = match request.purpose {
        Purpose::Write { .. } => room.width.map_or(240, |width| width.saturating_sub(2)),
        _ => 240,
    };
    let mut out = vec![format!("{} {}", paint.careful("?"), paint.strong(title(request, most)))];
    let rests_on = lines(paint, request, room);
    // A command says so part by part; the files that are brought in are `wflo diff`'s.
    let says_so = command::is_known(&request.evidence) || request.purpose == Purpose::Apply;
    let is_cut = !room.is_page() && !says_so && rests_on.iter().any(|line| line.contains('…'));
    out.extend(rests_on);
    if is_cut {
        let id = room.asked.map(|id| format!(" {id}")).unwrap_or_default();
        out.push(paint.careful(format_args!("  … is left out here; `wflo approvals show{id}` has it whole")));
    }
    if !request.approvers.is_empty() {
        let who =
            request.approvers.iter().map(|name| plain::short(name, NAME)).collect::<Vec<_>>().join(", ");
        out.push(paint.faint(format_args!("  asked of {who} (here: whoever sits at this terminal)")));
    }
    if let Some(until) = request.expires_at {
        out.push(paint.faint(format_args!("  until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC"))));
    }
    out
}

/// The question in one line of at most so many columns. A host is never shortened: it is read from its end.
pub(crate) fn title(request: &ApprovalRequest, most: usize) -> String {
    match request.purpose {
        Purpose::Host { .. } => plain::line(&request.title),
        _ => plain::short(&request.title, most),
    }
}

/// By how much a limit was raised, where the answer says another amount than the question may.
pub(crate) fn given(request: &ApprovalRequest, decision: &Decision) -> Option<String> {
    let Purpose::Budget { measure, .. } = request.purpose else { return None };
    let given = decision.amount.filter(|given| *given != NanoUsd::ZERO)?;
    Some(format!("by {}", amount(measure, measure.from_decimal(given))))
}

/// What the question rests on.
pub(crate) fn lines(paint: Paint, request: &ApprovalRequest, room: Room) -> Vec<String> {
    let evidence = &request.evidence;
    let mut out = Vec::new();
    match &request.purpose {
        Purpose::Write { .. } if write::is_known(evidence) => write::lines(paint, evidence, room, &mut out),
        Purpose::Write { .. } if command::is_known(evidence) => {
            command::lines(paint, evidence, room, &mut out);
        }
        Purpose::Write { .. } => tree(evidence, 1, room, &mut out),
        Purpose::Budget { .. } | Purpose::Policy { .. } | Purpose::Repeat { .. } => {
            amounts(evidence, room, &mut out);
        }
        Purpose::Host { .. } => {
            if let Some(request) = evidence["request"].as_str() {
                out.push(format!("  {}", plain::short(request, room.line)));
            }
        }
        Purpose::Output => {
            done::lines(paint, evidence, room, &mut out);
            text(evidence["output"].as_str().unwrap_or_default(), room, &mut out);
            let whole = &evidence["output_whole"];
            if let (Some(bytes), Some(digest)) = (whole["bytes"].as_u64(), whole["blake3"].as_str()) {
                let digest = plain::line(digest);
                out.push(paint.careful(format_args!(
                    "  THE END OF IT IS NOT KEPT with the question: it has {bytes} bytes, BLAKE3 {digest}"
                )));
            }
        }
        Purpose::Asked { .. } => tree(&evidence["details"], 1, room, &mut out),
        Purpose::Gate | Purpose::Start => {
            named(paint, "inputs", &evidence["inputs"], room, &mut out);
            named(paint, "outputs of the steps before", &evidence["outputs"], room, &mut out);
            if out.is_empty() {
                out.push(paint.faint("  nothing was computed before it"));
            }
        }
        Purpose::Apply => {
            files(paint, evidence, room, &mut out);
            diff(paint, evidence, room, &mut out);
        }
    }
    out
}

/// What the arithmetic of a budget, a policy or a circle consists of, in the order in which it is read.
const AMOUNTS: [(&str, &str); 20] = [
    ("policy", "policy"),
    ("condition", "condition"),
    ("budget", "budget"),
    ("step", "step"),
    ("model", "model"),
    ("times", "how often"),
    ("limit_usd", "limit"),
    ("settled_usd", "spent so far"),
    ("spent_usd", "spent so far"),
    ("held_usd", "held by calls"),
    ("wanted_usd", "this call, at most"),
    ("this_call_up_to_usd", "this call, at most"),
    ("missing_usd", "missing"),
    ("suggested_usd", "raise by"),
    ("limit", "limit"),
    ("settled", "used so far"),
    ("held", "held"),
    ("wanted", "this call, at most"),
    ("missing", "missing"),
    ("suggested", "raise by"),
];

/// The known parts by name; amounts in the unit of what is counted.
fn amounts(evidence: &Value, room: Room, out: &mut Vec<String>) {
    let measure = Measure::deserialize(&evidence["measure"]).unwrap_or_default();
    for (name, label) in AMOUNTS {
        let value = &evidence[name];
        // How much more a step would run nobody knows.
        if value.is_null() || (name == "wanted" && measure == Measure::Seconds) {
            continue;
        }
        let counted = name.ends_with("_usd") || !evidence["measure"].is_null();
        let parsed = value.as_str().filter(|_| counted).and_then(|text| text.parse::<NanoUsd>().ok());
        let show = |given| amount(measure, measure.from_decimal(given));
        let value = parsed.map_or_else(|| plain::short(&plain::value(value), room.line), show);
        out.push(format!("  {label:<18}  {value}"));
    }
}

fn named(paint: Paint, name: &str, value: &Value, room: Room, out: &mut Vec<String>) {
    if value.is_null() || value.as_object().is_some_and(Map::is_empty) {
        return;
    }
    out.push(format!("  {}", paint.strong(name)));
    tree(value, 2, room, out);
}

/// Any evidence: a line for each leaf.
fn tree(value: &Value, depth: usize, room: Room, out: &mut Vec<String>) {
    let before = out.len();
    let mut all = Vec::new();
    leaves(value, depth, room, &mut all);
    let count = all.len();
    out.extend(all.into_iter().take(room.lines));
    if out.len() - before < count {
        out.push(format!("{}… and {} more lines", "  ".repeat(depth), count - room.lines));
    }
}

fn leaves(value: &Value, depth: usize, room: Room, out: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.for_each(|(name, value)| branch(&plain::short(name, NAME), value, depth, room, out));
        }
        Value::Array(items) => items.iter().for_each(|item| branch("-", item, depth, room, out)),
        Value::String(text) => out.extend(plain::block(text).lines().map(|line| format!("{indent}{line}"))),
        leaf => out.push(format!("{indent}{leaf}")),
    }
}

fn branch(name: &str, value: &Value, depth: usize, room: Room, out: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let is_leaf = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        Value::String(text) => !text.trim_end().contains('\n'),
        _ => true,
    };
    if is_leaf {
        let text = plain::short(&plain::value(value), room.line);
        out.push(format!("{indent}{name}: {text}").trim_end().to_owned());
        return;
    }
    out.push(format!("{indent}{name}:"));
    leaves(value, depth + 1, room, out);
}

fn text(text: &str, room: Room, out: &mut Vec<String>) {
    let count = text.lines().count();
    out.extend(text.lines().take(room.lines).map(|line| format!("  {}", plain::short(line, room.line))));
    more_lines(count, room, out);
}

/// Names of files; where not all fit, how many there are besides and what shows them.
fn files(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let all = evidence["files"].as_array().map_or(&[][..], Vec::as_slice);
    for file in all.iter().take(room.lines) {
        let kind = file["kind"].as_str().unwrap_or_default();
        let path = file["path"].as_str().unwrap_or_default();
        out.push(format!("  {kind:<9} {}", plain::short(path, room.line)));
    }
    if all.len() > room.lines {
        let run = plain::short(evidence["run"].as_str().unwrap_or("ID"), NAME);
        let more = all.len() - room.lines;
        out.push(paint.careful(format_args!("  … and {more} more files: `wflo diff {run}` shows them all")));
    }
}

/// Neither end of it, nor of a line, can be pushed out of sight.
fn diff(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let text = evidence["diff"].as_str().unwrap_or_default();
    let mut rows: Vec<String> = text
        .lines()
        .map(|line| {
            let safe = legible::ends(&plain::line(line), room.line);
            match line.chars().next() {
                Some('+') => format!("  {}", paint.good(safe)),
                Some('-') => format!("  {}", paint.bad(safe)),
                _ => format!("  {safe}"),
            }
        })
        .collect();
    if rows.len() > room.lines {
        let (total, tail) = (rows.len(), room.lines / 3);
        let run = plain::short(evidence["run"].as_str().unwrap_or("ID"), NAME);
        let left = paint.careful(format_args!(
            "  … {} of {total} lines are NOT SHOWN here: {} bytes in all, BLAKE3 {}; `wflo diff {run}` prints all of it",
            total - room.lines,
            text.len(),
            Digest::of_bytes(text.as_bytes()).as_str()
        ));
        rows.splice(room.lines - tail..total - tail, [left]);
    }
    out.extend(rows);
}

fn more_lines(count: usize, room: Room, out: &mut Vec<String>) {
    if count > room.lines {
        out.push(format!("  … and {} more lines", count - room.lines));
    }
}

#[cfg(test)]
mod tests;
