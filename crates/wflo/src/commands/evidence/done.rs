//! What a step has done beside its output: the commands that it ran, and what it reached.
//!
//! The engine has put what may have changed something first, so that what is left out is what matters least.

use serde_json::Value;

use super::Room;
use crate::plain;
use crate::printer::Paint;

pub(super) fn lines(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let before = out.len();
    let all = |name: &str| evidence[name].as_array().map_or(&[][..], Vec::as_slice);
    let commands = all("commands");
    if !commands.is_empty() {
        out.push(format!("  {}", paint.strong("it ran")));
        let shown = commands.iter().take(room.lines).filter_map(Value::as_str);
        out.extend(shown.map(|command| format!("    {}", plain::short(command, room.line))));
        more(commands.len().saturating_sub(room.lines), &evidence["commands_more"], out);
    }
    let refused = all("not_started");
    if !refused.is_empty() {
        out.push(format!("  {}", paint.strong("it was refused, and never started")));
        for each in refused.iter().take(room.lines) {
            let text = |name: &str| each[name].as_str().unwrap_or_default();
            let command = match text("command") {
                "" => "a command that is not kept",
                command => command,
            };
            let line = format!(
                "{}  ({})",
                plain::short(command, room.line),
                plain::short(text("because"), room.line)
            );
            out.push(format!("    {line}"));
        }
        more(refused.len().saturating_sub(room.lines), &evidence["not_started_more"], out);
    }
    reached(paint, evidence, room, out);
    if out.len() > before {
        out.push(format!("  {}", paint.strong("its output")));
    }
}

fn more(left: usize, uncounted: &Value, out: &mut Vec<String>) {
    match left as u64 + uncounted.as_u64().unwrap_or(0) {
        0 => {}
        more => out.push(format!("    … and {more} more")),
    }
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}

fn reached(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let ways = evidence["connections"].as_array().map_or(&[][..], Vec::as_slice);
    if ways.is_empty() {
        return;
    }
    out.push(format!("  {}", paint.strong("it reached, or tried to")));
    for each in ways.iter().take(room.lines) {
        way(paint, each, room, out);
    }
    // Those that do not fit here, and those that the question itself has no more than a count of.
    let (mut groups, mut sums) = (0, [0; 4]);
    let mut add = |of: &Value, how_many: u64| {
        groups += how_many;
        let names = ["connections", "refused", "sent_bytes", "received_bytes"];
        for (sum, name) in sums.iter_mut().zip(names) {
            *sum += if name == "connections" {
                number(of, name).max(number(of, "times"))
            } else {
                number(of, name)
            };
        }
    };
    ways.iter().skip(room.lines).for_each(|way| add(way, 1));
    let rest = &evidence["connections_more"];
    add(rest, number(rest, "groups"));
    if groups > 0 {
        let what = if groups == 1 { "kind" } else { "kinds" };
        // What is left out here is on the page; of the rest the question itself has no more than this.
        let mark = if ways.len() > room.lines { "… " } else { "" };
        out.push(paint.careful(format_args!("    {mark}and {groups} more {what}: {}", summed(sums))));
    }
    let rest = &evidence["connections_uncounted"];
    if !rest.is_null() {
        let sums = ["connections", "refused", "sent_bytes", "received_bytes"].map(|name| number(rest, name));
        out.push(paint.careful(format_args!(
            "    and, to hosts that stand here, without a record of each: {}",
            summed(sums)
        )));
    }
}

fn summed([connections, refused, sent, received]: [u64; 4]) -> String {
    let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
    let what = if connections == 1 { "connection" } else { "connections" };
    format!("{connections} {what}{refused}, {sent} bytes sent, {received} received")
}

/// A host is never shortened: it is read from its end.
fn way(paint: Paint, way: &Value, room: Room, out: &mut Vec<String>) {
    let host = plain::line(way["host"].as_str().unwrap_or_default());
    let mut line = format!("{host}:{}", number(way, "port"));
    let requests = way["requests"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |request: &Value| plain::short(request.as_str().unwrap_or_default(), room.line);
    // One request stands beside its host; of several the method does, and they stand below.
    match (requests, way["method"].as_str()) {
        ([one], _) if number(way, "requests_more") == 0 => line.push_str(&format!("  {}", text(one))),
        (_, Some(method)) => line.push_str(&format!("  {}", plain::short(method, room.line))),
        _ => {}
    }
    if number(way, "times") > 1 {
        line.push_str(&format!("  {} times", number(way, "times")));
    }
    if number(way, "refused") > 0 {
        let because = way["because"].as_str().map(|text| format!(": {}", plain::short(text, room.line)));
        let refused = format!("  refused {} times{}", number(way, "refused"), because.unwrap_or_default());
        line.push_str(&paint.careful(refused));
    }
    if number(way, "times") > 0 {
        let (sent, received) = (number(way, "sent_bytes"), number(way, "received_bytes"));
        line.push_str(&format!("  {sent} bytes sent, {received} received"));
    }
    match number(way, "bytes_unknown_of") {
        0 => {}
        unknown if unknown == number(way, "times") => line.push_str(", and perhaps more"),
        unknown => line.push_str(&format!(", and perhaps more of {unknown}")),
    }
    if let Some(secrets) = way["secrets"].as_array() {
        let names: Vec<String> =
            secrets.iter().map(|name| plain::short(&plain::value(name), super::NAME)).collect();
        line.push_str(&format!(", with the secret {}", names.join(", ")));
    }
    out.push(format!("    {line}"));
    if requests.len() > 1 || number(way, "requests_more") > 0 {
        out.extend(requests.iter().map(|request| format!("      {}", text(request))));
        match number(way, "requests_more") {
            0 => {}
            more => out.push(format!("      and {more} more")),
        }
    }
}
