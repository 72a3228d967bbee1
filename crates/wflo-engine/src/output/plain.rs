//! What was shown on a terminal, as text to be read later: without colours, titles and movements.
//!
//! It makes no picture of the screen. A movement to another place becomes a new line, or a blank in the
//! same line, so that what stood apart does not run together.

/// Takes a terminal's bytes in pieces, wherever they are cut.
#[derive(Default)]
pub(crate) struct Plain {
    within: Within,
    /// A carriage return that may belong to a line end.
    returned: bool,
    /// What was given last ends a line.
    fresh: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    #[default]
    Text,
    Escape,
    /// Intermediate bytes of a short sequence.
    Short,
    Control,
    Text0,
    /// An escape within a string: its end, if a backslash follows.
    End,
}

impl Plain {
    /// The text of these bytes.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut out);
        }
        out
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.within = match (self.within, byte) {
            // Whatever was begun is given up.
            (_, 0x18 | 0x1a) => Within::Text,
            (Within::Text0, 0x1b) => Within::End,
            (Within::End, b'\\') | (Within::Text0, 0x07) => Within::Text,
            (Within::Text0, _) => Within::Text0,
            (_, 0x1b) => Within::Escape,
            (Within::Escape | Within::End, b'[') => Within::Control,
            (Within::Escape | Within::End, b']' | b'P' | b'X' | b'^' | b'_') => Within::Text0,
            (Within::Escape | Within::End | Within::Short, 0x20..=0x2f) => Within::Short,
            (Within::Escape | Within::End | Within::Short, _) => Within::Text,
            (Within::Control, 0x40..=0x7e) => {
                match byte {
                    b'A' | b'B' | b'E' | b'F' | b'H' | b'd' | b'f' => self.line(out),
                    b'C' | b'G' if !self.fresh => out.push(b' '),
                    _ => {}
                }
                Within::Text
            }
            (Within::Control, _) => Within::Control,
            (Within::Text, _) => {
                self.show(byte, out);
                Within::Text
            }
        };
    }

    fn show(&mut self, byte: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.returned) && byte != b'\n' {
            self.line(out);
        }
        match byte {
            b'\r' => self.returned = true,
            b'\n' => {
                out.push(b'\n');
                self.fresh = true;
            }
            b'\t' | 0x20..=0x7e | 0x80.. => {
                out.push(byte);
                self.fresh = false;
            }
            _ => {}
        }
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.fresh, true) {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let whole = String::from_utf8(Plain::default().text(text.as_bytes())).unwrap();
        let mut by_byte = Plain::default();
        let pieces: Vec<u8> = text.bytes().flat_map(|byte| by_byte.text(&[byte])).collect();
        assert_eq!(whole.as_bytes(), pieces, "however it is cut");
        whole
    }

    #[test]
    fn colours_titles_and_strings_are_no_text() {
        assert_eq!(
            plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\x1b]8;;http://x\x1b\\ link"),
            "red and link"
        );
        assert_eq!(plain("\x1bP1$r0m\x1b\\a\x1b_Gx\x1b\\b\x1b(Bc\x1b7d"), "abcd");
        assert_eq!(plain("a\x1b[12\x18b"), "ab");
    }

    #[test]
    fn places_on_the_screen_are_lines() {
        assert_eq!(plain("one\r\ntwo\r\n"), "one\ntwo\n");
        assert_eq!(plain("10%\r20%\r30%\r\n"), "10%\n20%\n30%\n");
        assert_eq!(plain("\x1b[Htop\x1b[5;3Hbelow\x1b[20Gright"), "\ntop\nbelow right");
    }
}
