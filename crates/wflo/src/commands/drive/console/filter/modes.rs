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
/// Saves and restores the cursor: nothing that stays.
const CURSOR: u16 = 1048;
/// Those that are taken back only where they were set: to set them moves the cursor (the origin, a screen that
/// saves it), or people have them set otherwise (blinking, scrolling, meta, widths).
const NOTED: [u16; 6] = [6, 12, 1007, 1034, 1049, 2027];

/// A soft reset, and what terminals that know none need of it: colours, inserting, line feeds that return, the
/// character sets, the keypad, the cursor that wraps and is seen.
const PLAIN: &[u8] = b"\x1b[!p\x1b[0m\x1b[4l\x1b[20l\x0f\x1b(B\x1b)B\x1b>\x1b[?7h\x1b[?25h";

/// The most levels of keyboards.
const DEEPEST: usize = 16;

/// What a program has set of its user's terminal.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Modes that are not as they are without the program.
    set: BTreeMap<u16, bool>,
    /// Keyboards of the first screen and of the other: each has its own.
    keys: [Keys; 2],
    /// Some keyboard was changed, on whichever screen.
    has_keys: bool,
    /// It reports keys with modifiers (xterm's).
    modified: bool,
    /// The cursor has another shape.
    shape: bool,
}

/// How a keyboard reports more than characters (kitty's protocol).
#[derive(Debug, Default)]
struct Keys {
    /// At the lowest level.
    lowest: u16,
    /// At each level above.
    levels: Vec<u16>,
}

impl Keys {
    /// `flags ; how`: all of them, those more, those less.
    fn set(&mut self, numbers: &str) -> bool {
        let (flags, how) = numbers.split_once(';').unwrap_or((numbers, "1"));
        let Ok(flags) = flags.parse::<u16>() else { return false };
        let now = self.levels.last_mut().unwrap_or(&mut self.lowest);
        match how {
            "1" => *now = flags,
            "2" => *now |= flags,
            "3" => *now &= !flags,
            _ => return false,
        }
        true
    }

    fn suspend(&self, out: &mut Vec<u8>) {
        out.extend(b"\x1b[<u".repeat(self.levels.len()));
        out.extend_from_slice(b"\x1b[=0u");
    }

    fn resume(&self, out: &mut Vec<u8>) {
        if self.lowest != 0 {
            out.extend(format!("\x1b[={}u", self.lowest).into_bytes());
        }
        for flags in &self.levels {
            out.extend(format!("\x1b[>{flags}u").into_bytes());
        }
    }
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
            // It sets back less than what is noted here: the mouse is none of it.
            (None, "!", b'p') => true,
            // Inserting, and line feeds that return. Not a keyboard that is locked.
            (None, "", b'h' | b'l') => matches!(numbers, "4" | "20"),
            (Some('?'), "", b'h' | b'l') => self.set(numbers, *last == b'h'),
            // Keys in more detail.
            (Some('>'), "", b'm') => {
                let known = matches!(numbers, "" | "4" | "4;" | "4;0" | "4;1" | "4;2" | "4;3");
                if known {
                    self.modified = matches!(numbers, "4;1" | "4;2" | "4;3");
                }
                known
            }
            (Some('?'), "", b'u') => numbers.is_empty(),
            (Some('>'), "", b'u') => {
                let levels = &mut self.keys().levels;
                let fits = levels.len() < DEEPEST;
                if fits {
                    levels.push(numbers.parse().unwrap_or(0));
                }
                fits
            }
            // Not those below, which are the person's own.
            (Some('<'), "", b'u') => {
                let count = numbers.parse().unwrap_or(1_usize).max(1);
                let levels = &mut self.keys().levels;
                let rest = levels.len().checked_sub(count);
                levels.truncate(rest.unwrap_or(levels.len()));
                rest.is_some()
            }
            (Some('='), "", b'u') => self.keys().set(numbers),
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

    /// The terminal was reset.
    pub(super) fn forget(&mut self) {
        *self = Modes { has_keys: self.has_keys, ..Modes::default() };
    }

    fn is_elsewhere(&self) -> bool {
        SCREENS.iter().any(|screen| self.set.contains_key(screen))
    }

    /// Those of the screen that is shown.
    fn keys(&mut self) -> &mut Keys {
        self.has_keys = true;
        let shown = usize::from(self.is_elsewhere());
        &mut self.keys[shown]
    }

    /// Sets everything back, whether it is known to have been set or not.
    pub(super) fn suspend(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.modified {
            out.extend_from_slice(b"\x1b[>4;0m");
        }
        if self.shape {
            out.extend_from_slice(b"\x1b[0 q");
        }
        // Before the screens: the cursor of the other one is not this one's.
        let noted = |number: u16| self.set.contains_key(&number);
        for (number, usual) in MODES.iter().filter(|(number, _)| !SCREENS.contains(number)) {
            let always = *number != CURSOR && !NOTED.contains(number);
            if always || (noted(*number) && *number != CURSOR) {
                out.extend(mode(*number, *usual));
            }
        }
        for number in SCREENS.into_iter().filter(|number| !NOTED.contains(number) || noted(*number)) {
            out.extend(mode(number, false));
        }
        if self.has_keys {
            let [first, other] = &self.keys;
            out.extend(mode(1049, true));
            other.suspend(&mut out);
            out.extend(mode(1049, false));
            first.suspend(&mut out);
        }
        // Margins take the cursor home, and it belongs behind what was shown last.
        out.extend_from_slice(b"\x1b7\x1b[r\x1b8");
        out.extend_from_slice(PLAIN);
        out
    }

    /// Sets everything again.
    pub(super) fn resume(&self) -> Vec<u8> {
        let [first, other] = &self.keys;
        let mut out = Vec::new();
        first.resume(&mut out);
        out.extend(self.ordered().into_iter().flat_map(|(number, on)| mode(number, on)));
        if self.modified {
            out.extend_from_slice(b"\x1b[>4;1m");
        }
        if self.is_elsewhere() {
            other.resume(&mut out);
        }
        out
    }

    /// Screens first.
    fn ordered(&self) -> Vec<(u16, bool)> {
        let set = self.set.iter().filter(|(number, _)| **number != CURSOR);
        let mut all: Vec<(u16, bool)> = set.map(|(number, on)| (*number, *on)).collect();
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
