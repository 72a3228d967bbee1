//! Control sequences (`ESC [ … letter`): which may pass, and what those that did have set.

use std::collections::BTreeMap;

/// Modes of a terminal (`ESC [ ? n h`) that programs use on a screen, and what they are without them.
/// Cursor keys, wrapping, blinking, the cursor, the other screen, the mouse, focus, brackets around what is
/// pasted, whole frames, widths of characters, changes of the colour scheme.
const MODES: &[(u16, bool)] = &[
    (1, false),
    (5, false),
    (6, false),
    (7, true),
    (9, false),
    (12, false),
    (25, true),
    (45, false),
    (47, false),
    (66, false),
    (1000, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1007, true),
    (1015, false),
    (1016, false),
    (1034, true),
    (1047, false),
    (1048, false),
    (1049, false),
    (2004, false),
    (2026, false),
    (2027, false),
    (2031, false),
];
/// Those that have screens of their own.
const SCREENS: [u16; 3] = [47, 1047, 1049];

/// The most levels of keyboards.
const DEEPEST: usize = 16;

/// What a program has set of its user's terminal.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Modes that are not as they are without the program.
    set: BTreeMap<u16, bool>,
    /// The keyboard reports more than characters (kitty's protocol), so many levels deep, and how at the last.
    keys: Vec<u16>,
    /// It reports keys with modifiers (xterm's).
    modified: bool,
    /// The cursor has another shape.
    shape: bool,
}

impl Modes {
    /// Whether a sequence may pass, given without its first two bytes; what it sets is noted.
    pub(super) fn may(&mut self, sequence: &[u8]) -> bool {
        let Some((last, rest)) = sequence.split_last() else { return false };
        let Ok(rest) = std::str::from_utf8(rest) else { return false };
        let between = rest.trim_start_matches(|c: char| ('0'..='?').contains(&c));
        let parameters = &rest[..rest.len() - between.len()];
        let private = parameters.chars().next().filter(|c| ('<'..='?').contains(c));
        let numbers = private.map_or(parameters, |_| &parameters[1..]);
        if numbers.contains(['<', '=', '>', '?']) {
            return false;
        }
        let first = numbers.split([';', ':']).next().unwrap_or_default();
        match (private, between, *last) {
            // Movements, erasing, inserting, scrolling, tabulators, colours, repeating, the margins.
            (
                None,
                "",
                b'@'
                | b'A'..=b'H'
                | b'I'
                | b'J'
                | b'K'
                | b'L'
                | b'M'
                | b'P'
                | b'S'
                | b'T'
                | b'X'
                | b'Z'
                | b'`'
                | b'a'
                | b'b'
                | b'd'
                | b'e'
                | b'f'
                | b'g'
                | b'm'
                | b'r'
                | b's'
                | b'u',
            ) => true,
            (Some('?'), "", b'J' | b'K') => true,
            // What the terminal is, and where its cursor: answers of a fixed form.
            (None, "", b'c') => matches!(numbers, "" | "0"),
            (Some('>'), "", b'c' | b'q') => matches!(numbers, "" | "0"),
            (None, "", b'n') => matches!(numbers, "5" | "6"),
            (Some('?'), "", b'n') => matches!(numbers, "6" | "996"),
            (Some('?'), "$", b'p') => true,
            // Sizes, and titles that are put aside. Not their report, nor what moves windows.
            (None, "", b't') => matches!(first, "14" | "16" | "18" | "22" | "23"),
            // The shape of the cursor; a soft reset.
            (None, " ", b'q') => {
                self.shape = !matches!(numbers, "" | "0");
                true
            }
            (None, "!", b'p') => {
                *self = Modes::default();
                true
            }
            // Inserting, and line feeds that return. Not a keyboard that is locked.
            (None, "", b'h' | b'l') => matches!(numbers, "4" | "20"),
            (Some('?'), "", b'h' | b'l') => self.set(numbers, *last == b'h'),
            (Some('?'), "", b's' | b'r') => numbers.split(';').all(|number| usual(number).is_some()),
            // Keys in more detail.
            (Some('>'), "", b'm') => {
                self.modified = numbers.starts_with('4') && numbers.contains(';') && !numbers.ends_with(";0");
                first == "4" || numbers.is_empty()
            }
            (Some('?'), "", b'u') => numbers.is_empty(),
            (Some('>'), "", b'u') => {
                let fits = self.keys.len() < DEEPEST;
                if fits {
                    self.keys.push(numbers.parse().unwrap_or(0));
                }
                fits
            }
            (Some('<'), "", b'u') => {
                let count = numbers.parse().unwrap_or(1_usize);
                self.keys.truncate(self.keys.len().saturating_sub(count.max(1)));
                true
            }
            (Some('='), "", b'u') => true,
            _ => false,
        }
    }

    fn set(&mut self, numbers: &str, on: bool) -> bool {
        let known: Option<Vec<(u16, bool)>> = numbers.split(';').map(usual).collect();
        let Some(known) = known else { return false };
        for (number, usual) in known {
            if on == usual {
                self.set.remove(&number);
            } else {
                self.set.insert(number, on);
            }
        }
        true
    }

    /// Sets everything back.
    pub(super) fn suspend(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in &self.keys {
            out.extend_from_slice(b"\x1b[<u");
        }
        if self.modified {
            out.extend_from_slice(b"\x1b[>4;0m");
        }
        if self.shape {
            out.extend_from_slice(b"\x1b[0 q");
        }
        // Screens last: the cursor of the other one is not this one's.
        for (number, on) in self.ordered().into_iter().rev() {
            out.extend(mode(number, !on));
        }
        if !out.is_empty() {
            out.extend_from_slice(b"\x1b[0m\x1b[r");
        }
        out
    }

    /// Sets everything again.
    pub(super) fn resume(&self) -> Vec<u8> {
        let mut out: Vec<u8> = self.ordered().into_iter().flat_map(|(number, on)| mode(number, on)).collect();
        if self.modified {
            out.extend_from_slice(b"\x1b[>4;1m");
        }
        for flags in &self.keys {
            out.extend(format!("\x1b[>{flags}u").into_bytes());
        }
        out
    }

    /// Screens first.
    fn ordered(&self) -> Vec<(u16, bool)> {
        let mut all: Vec<(u16, bool)> = self.set.iter().map(|(number, on)| (*number, *on)).collect();
        all.sort_by_key(|(number, _)| !SCREENS.contains(number));
        all
    }
}

fn mode(number: u16, on: bool) -> Vec<u8> {
    format!("\x1b[?{number}{}", if on { 'h' } else { 'l' }).into_bytes()
}

/// A mode that programs may set, and how it is without them.
fn usual(number: &str) -> Option<(u16, bool)> {
    let number: u16 = number.parse().ok()?;
    MODES.iter().find(|(known, _)| *known == number).copied()
}
