//! What a step has done beside its output: the commands that it ran, and what it reached.
//!
//! Commands stand in the order in which they ended, with nothing out of sight at either end. Of connections the engine has
//! put those first that may have changed something, so that what is left out is what matters least.

use serde_json::Value;

use super::Room;
use super::command::{self, counted, left_out};
use crate::plain;
use crate::printer::Paint;

/// So many commands are shown above a prompt where there are more, of the first and of the last.
const ENDS: (usize, usize) = (8, 4);

pub(super) fn lines(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let before = out.len();
    commands(paint, evidence, "commands", "it ran, in this order", room, out);
    commands(paint, evidence, "not_started", "it was refused, and never started", room, out);
    reached(paint, evidence, room, out);
    if out.len() > before {
        out.push(format!("  {}", paint.strong("its output")));
    }
}

/// Commands by their numbers. Above a prompt the first and the last of many, so that neither end can be pushed out of
/// sight; those that the question does not keep stand where they belong, in number.
fn commands(paint: Paint, evidence: &Value, name: &str, title: &str, room: Room, out: &mut Vec<String>) {
    let all = evidence[name].as_array().map_or(&[][..], Vec::as_slice);
    let more = &evidence[format!("{name}_more")];
    if all.is_empty() && more.is_null() {
        return;
    }
    out.push(format!("  {}", paint.strong(title)));
    // Versions before kept the first, and how many more there were.
    let beyond = more.as_u64().unwrap_or_else(|| number(more, "commands"));
    let beyond = usize::try_from(beyond).unwrap_or(usize::MAX);
    let after = more["after"].as_u64().and_then(|after| usize::try_from(after).ok());
    let after = after.map_or(all.len(), |after| after.min(all.len()));
    let (first, last) = ENDS;
    let hidden = if room.is_page() || all.len() <= first + last { 0..0 } else { first..all.len() - last };
    for (place, command) in all.iter().enumerate() {
        if place == after {
            out.extend(not_kept(paint, beyond, more));
        }
        if !hidden.is_empty() && place == hidden.start {
            let lines: Vec<String> =
                all[hidden.clone()].iter().map(|command| format!("{command}\n")).collect();
            let left = format!("{} of {}", counted(hidden.len(), "command"), all.len());
            out.push(left_out(paint, &left, lines.concat().as_bytes(), room));
        }
        if hidden.contains(&place) {
            continue;
        }
        let behind = if place >= after { beyond } else { 0 };
        command::among(paint, place.saturating_add(behind).saturating_add(1), command, room, out);
        if let Some(because) = command["because"].as_str() {
            out.push(format!("       refused: {}", plain::short(because, room.line)));
        }
    }
    if after == all.len() {
        out.extend(not_kept(paint, beyond, more));
    }
}

/// Commands of which the question has a number, and what they are known by.
fn not_kept(paint: Paint, beyond: usize, more: &Value) -> Option<String> {
    if beyond == 0 {
        return None;
    }
    let known = more["blake3"]
        .as_str()
        .map(|digest| format!(": they have {} bytes, BLAKE3 {}", number(more, "bytes"), plain::line(digest)));
    let what = counted(beyond, "command").to_uppercase();
    Some(
        paint.careful(format_args!(
            "  … {what} HERE ARE NOT KEPT with the question{}",
            known.unwrap_or_default()
        )),
    )
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
