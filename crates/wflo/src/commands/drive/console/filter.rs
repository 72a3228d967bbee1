//! What of a program's output may reach a person's terminal.
//!
//! A terminal obeys what is written to it: some sequences make it answer with text that the program has
//! chosen, as if it had been typed; others write the clipboard, files, the printer, or read them. Text,
//! colours, movements, modes that full-screen programs use, titles and links pass; so do questions whose
//! answer has a fixed form (where the cursor is, what the terminal can do, its colours). Everything else does
//! not: sequences are let through by name, so that what is not known here reaches nobody. The table is in
//! `docs/guides/programs.md`.
//!
//! The terminal is taken to be one of UTF-8: bytes that are no text, and controls written as two bytes (C1),
//! are shown as U+FFFD.
//! **Architecture Invariant:** every byte that passes is part of text or of a whole sequence that is allowed;
//! a sequence that is cut short at the end of a program has passed not at all.

mod modes;

use self::modes::Modes;

/// The longest control sequence.
const CONTROL: usize = 128;
/// The longest title, link or colour.
const STRING: usize = 4 << 10;
/// Stands for what is no text.
const REPLACEMENT: &str = "\u{fffd}";

/// Takes output in pieces, wherever they are cut.
#[derive(Debug, Default)]
pub(super) struct Filter {
    state: State,
    /// What has been gathered of a sequence or a character.
    held: Vec<u8>,
    modes: Modes,
    /// Something has passed that is more than text: only then is there anything to take back.
    acted: bool,
    /// The terminal's colours were others.
    coloured: bool,
    /// A link was begun.
    linked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Within a character of so many bytes.
    Character(usize),
    /// Behind ESC.
    Escape,
    /// Behind ESC and bytes between.
    Short,
    /// Behind ESC [.
    Control,
    /// Within a string that may pass.
    Command,
    /// Within one that may not.
    Ignored,
    /// Behind an ESC in a string, which may pass or not.
    CommandEnd,
    IgnoredEnd,
}

impl Filter {
    /// Adds to `out` what may be shown of `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.take(*byte, out);
        }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        // CAN and SUB give up whatever was begun.
        if matches!(byte, 0x18 | 0x1a) {
            self.held.clear();
            self.state = State::Text;
            return;
        }
        match self.state {
            State::Text => self.text(byte, out),
            State::Character(length) => self.character(byte, length, out),
            State::Escape => self.escape(byte, out),
            State::Short => match byte {
                0x20..=0x2f if self.held.len() < CONTROL => self.held.push(byte),
                0x1b => self.begin(),
                _ => self.short(byte, out),
            },
            State::Control => self.control(byte, out),
            State::Command => self.command(byte, out),
            State::Ignored => match byte {
                0x07 => self.state = State::Text,
                0x1b => self.state = State::IgnoredEnd,
                _ => {}
            },
            State::CommandEnd if byte == b'\\' => {
                self.held.push(0x1b);
                self.held.push(byte);
                self.finish(may_command(&self.held), out);
            }
            State::IgnoredEnd if byte == b'\\' => self.state = State::Text,
            // The escape began something else.
            State::CommandEnd | State::IgnoredEnd => {
                self.begin();
                self.escape(byte, out);
            }
        }
    }

    fn begin(&mut self) {
        self.held.clear();
        self.held.push(0x1b);
        self.state = State::Escape;
    }

    fn finish(&mut self, allowed: bool, out: &mut Vec<u8>) {
        if allowed {
            self.note();
            out.extend_from_slice(&self.held);
        }
        self.held.clear();
        self.state = State::Text;
    }

    /// What passes now may have to be taken back.
    fn note(&mut self) {
        self.acted |= self.held.first() == Some(&0x1b);
        let Some(command) = self.held.strip_prefix(b"\x1b]") else { return };
        let asks = command.contains(&b'?');
        let number = command.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
        match number {
            // One that asks and sets has two parts.
            b"4" | b"10" | b"11" | b"12" => {
                let parts = command.iter().filter(|byte| **byte == b';').count();
                self.coloured |= !asks || parts > if number == b"4" { 2 } else { 1 };
            }
            b"8" => self.linked = true,
            _ => {}
        }
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x1b => self.begin(),
            // Bell, backspace, tabulator, line ends, character sets. Not ENQ, which asks for an answer.
            0x07..=0x0f | 0x20..=0x7e => {
                self.acted |= matches!(byte, 0x0e | 0x0f);
                out.push(byte);
            }
            0xc2..=0xdf => self.open(byte, 2),
            0xe0..=0xef => self.open(byte, 3),
            0xf0..=0xf4 => self.open(byte, 4),
            0x80.. => out.extend_from_slice(REPLACEMENT.as_bytes()),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8, length: usize) {
        self.held.push(byte);
        self.state = State::Character(length);
    }

    fn character(&mut self, byte: u8, length: usize, out: &mut Vec<u8>) {
        if !(0x80..=0xbf).contains(&byte) {
            out.extend_from_slice(REPLACEMENT.as_bytes());
            self.held.clear();
            self.state = State::Text;
            return self.text(byte, out);
        }
        self.held.push(byte);
        if self.held.len() == length {
            let is_text = std::str::from_utf8(&self.held)
                .is_ok_and(|text| !text.chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c)));
            if !is_text {
                out.extend_from_slice(REPLACEMENT.as_bytes());
            }
            self.finish(is_text, out);
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'[' => {
                self.held.push(byte);
                self.state = State::Control;
            }
            b']' => {
                self.held.push(byte);
                self.state = State::Command;
            }
            // DCS, SOS, PM, APC: requests of settings, definitions of keys, pictures from files.
            b'P' | b'X' | b'^' | b'_' => {
                self.held.clear();
                self.state = State::Ignored;
            }
            0x20..=0x2f => {
                self.held.push(byte);
                self.state = State::Short;
            }
            0x1b => self.begin(),
            _ => self.short(byte, out),
        }
    }

    /// The last byte of a short sequence.
    fn short(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        let allowed = match self.held.get(1..).unwrap_or_default() {
            // Save and restore, line movements, tabulators, keypads, single shifts, reset.
            [b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'N' | b'O' | b'=' | b'>' | b'c'] => true,
            // Character sets, the test pattern, and the one set of UTF-8.
            [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/', 0x30..=0x7e] => true,
            [b'#', b'3' | b'4' | b'5' | b'6' | b'8'] | [b'%', b'G'] => true,
            _ => false,
        };
        if self.held == b"\x1bc" {
            self.modes.forget();
        }
        self.finish(allowed, out);
    }

    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x20..=0x3f if self.held.len() < CONTROL => self.held.push(byte),
            0x40..=0x7e => {
                self.held.push(byte);
                let allowed = self.modes.may(self.held.get(2..).unwrap_or_default());
                self.finish(allowed, out);
            }
            0x1b => self.begin(),
            // A terminal would obey a control in the midst of a sequence: nobody needs that.
            0x00..=0x1f | 0x7f => {}
            _ => {
                self.held.clear();
                self.state = State::Text;
                self.text(byte, out);
            }
        }
    }

    fn command(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x07 => {
                self.held.push(byte);
                self.finish(may_command(&self.held), out);
            }
            0x1b => self.state = State::CommandEnd,
            0x20..=0x7e | 0x80.. if self.held.len() < STRING => self.held.push(byte),
            _ => {
                self.held.clear();
                self.state = State::Ignored;
            }
        }
    }

    /// Brings a terminal from what the program has set, or has left, to what a question needs, and a shell.
    pub(super) fn suspend(&self) -> Vec<u8> {
        if !self.acted {
            return Vec::new();
        }
        let mut out = self.modes.suspend();
        if self.linked {
            out.extend_from_slice(b"\x1b]8;;\x1b\\");
        }
        if self.coloured {
            out.extend_from_slice(b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\");
        }
        out
    }

    /// The opposite; a program that is told of a new size draws the rest of it itself.
    pub(super) fn resume(&self) -> Vec<u8> {
        self.modes.resume()
    }
}

/// Whether an operating system command may pass: `ESC ] number ; text end`. Titles, colours and what they are,
/// links, notices, and where prompts begin. Not the clipboard (52), files (1337), folders (7), fonts (50).
fn may_command(whole: &[u8]) -> bool {
    let inner = whole.strip_prefix(b"\x1b]").unwrap_or_default();
    let inner = inner.strip_suffix(b"\x07").or_else(|| inner.strip_suffix(b"\x1b\\")).unwrap_or(inner);
    // Within a string a control of two bytes would end it.
    let Ok(text) = std::str::from_utf8(inner) else { return false };
    if text.chars().any(char::is_control) {
        return false;
    }
    let (number, rest) = text.split_once(';').unwrap_or((text, ""));
    if number == "9" {
        // A notice, or progress. Other numbers are commands of some terminals: they wait, run, change folders.
        return rest.starts_with("4;") || !rest.starts_with(|c: char| c.is_ascii_digit());
    }
    matches!(number, "0" | "1" | "2" | "4" | "8" | "10" | "11" | "12" | "104" | "110" | "111" | "112" | "133")
}

#[cfg(test)]
mod tests;
