//! Takes values out of what passes, wherever it is parted.
//!
//! **Architecture Invariant:** how much is passed on and how much is held back depends on how long the values are and
//! never on what they are, until a whole value has arrived. Were it held only as long as a value may have begun, whoever
//! chooses what a host repeats would find a value letter by letter in the sizes of the parts.

use bytes::Bytes;

use super::REDACTED;

/// Replaces values in a body that arrives in parts.
#[derive(Debug)]
pub(crate) struct Redactor {
    values: Vec<Vec<u8>>,
    longest: usize,
    /// By byte, whether a value begins with it: most of what passes is never compared with one.
    begins: [bool; 256],
    /// The end of what has arrived, in which a value may have begun.
    held: Vec<u8>,
}

impl Redactor {
    /// Values of the characters that [`may_be_in_a_value`].
    pub(crate) fn new(mut values: Vec<Vec<u8>>) -> Redactor {
        debug_assert!(values.iter().flatten().all(may_be_in_a_value), "what is released would be wrong");
        // The first that fits is the longest.
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        let longest = values.first().map_or(0, Vec::len);
        let mut begins = [false; 256];
        values.iter().filter_map(|value| value.first()).for_each(|first| begins[usize::from(*first)] = true);
        Redactor { values, longest, begins, held: Vec::new() }
    }

    /// Whether there is nothing to look for.
    pub(crate) fn is_idle(&self) -> bool {
        self.values.is_empty()
    }

    /// What may be passed on once `part` has arrived.
    pub(crate) fn push(&mut self, part: Bytes) -> Bytes {
        if self.is_idle() {
            return part;
        }
        let mut seen = std::mem::take(&mut self.held);
        seen.extend_from_slice(&part);
        // No value reaches beyond a character that none has: lines and events pass at once. One that begins
        // before the last `longest - 1` bytes has arrived whole.
        let lines = seen.iter().rposition(|byte| !may_be_in_a_value(byte)).map_or(0, |last| last + 1);
        let end = lines.max(seen.len().saturating_sub(self.longest.saturating_sub(1)));
        let (out, passed) = self.pass(&seen, end);
        self.held = seen.split_off(passed);
        out
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        self.pass(&held, held.len()).0
    }

    /// `seen` without the values that begin before `end`, and how much of it that is.
    fn pass(&self, seen: &[u8], end: usize) -> (Bytes, usize) {
        let (mut out, mut at) = (Vec::with_capacity(seen.len()), 0);
        while at < end {
            let plain = seen[at..end].iter().position(|byte| self.begins[usize::from(*byte)]);
            let next = plain.map_or(end, |plain| at + plain);
            out.extend_from_slice(&seen[at..next]);
            at = next;
            let Some(first) = seen[..end].get(at) else { break };
            match self.values.iter().find(|value| seen[at..].starts_with(value)) {
                Some(value) => {
                    out.extend_from_slice(REDACTED.as_bytes());
                    at += value.len();
                }
                None => {
                    out.push(*first);
                    at += 1;
                }
            }
        }
        (out.into(), at)
    }

    /// The same for one value of a header, which is replaced whole.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        self.values.iter().any(|value| super::holds(text, value))
    }
}

/// The characters of a secret's value (`Value::new`), however it is written.
const fn may_be_in_a_value(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redacted(values: &[&str], parts: &[&[u8]]) -> String {
        let mut redactor = Redactor::new(values.iter().map(|value| value.as_bytes().to_vec()).collect());
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&redactor.push(Bytes::copy_from_slice(part)));
        }
        out.extend_from_slice(&redactor.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_taken_out_across_parts() {
        assert_eq!(redacted(&["secret-1"], &[b"a secr", b"et-1 b"]), "a [redacted] b");
        assert_eq!(redacted(&["secret-1"], &[b"a secr"]), "a secr");
        assert_eq!(redacted(&["secret-1", "secret-1-long"], &[b"secret-1", b"-long!"]), "[redacted]!");
        assert_eq!(redacted(&["aaaaaaab"], &[b"aaaaaaa", b"aaaaaaab"]), "aaaaaaa[redacted]");
    }

    /// How long each part is that is passed on of an answer with `guess` in it.
    fn sizes(guess: &str, parts: &[&str]) -> Vec<usize> {
        let mut redactor = Redactor::new(vec![b"secret-1".to_vec(), b"a-longer-secret".to_vec()]);
        let mut sizes = Vec::new();
        for part in parts {
            sizes.push(redactor.push(Bytes::from(part.replace('?', guess))).len());
        }
        sizes.push(redactor.finish().len());
        sizes
    }

    #[test]
    fn the_size_of_a_part_does_not_tell_whether_a_guess_of_a_beginning_is_right() {
        for parts in [&["you said ?"][..], &["?", "?"], &["data: ?\n\n", "data: ?"], &["?", ""]] {
            for length in 1..8 {
                let right = "secret-1".split_at(length).0;
                let wrong = "zzzzzzzz".split_at(length).0;
                assert_eq!(sizes(right, parts), sizes(wrong, parts), "{parts:?} {right}");
            }
        }
    }

    #[test]
    fn lines_pass_at_once() {
        let mut redactor = Redactor::new(vec![b"secret-1".to_vec()]);
        assert_eq!(redactor.push(Bytes::from("data: secret-1 x\n\n")), "data: [redacted] x\n\n");
        assert_eq!(redactor.push(Bytes::from("{}\r\nsecre")), "{}\r\n");
        assert_eq!(redactor.finish(), "secre");
    }

    proptest! {
        #[test]
        fn a_wrong_guess_is_passed_on_like_a_right_one(
            text in "[b-d\n]{0,40}",
            length in 0_usize..15,
            cut in 0_usize..60,
        ) {
            let passed = |guess: &str| {
                let whole = format!("{text}{guess}{text}");
                let (one, other) = whole.split_at(cut.min(whole.len()));
                sizes("", &[one, other])
            };
            prop_assert_eq!(passed("a-longer-secret".split_at(length).0), passed("0-0000000000000".split_at(length).0));
        }

        #[test]
        fn no_parting_lets_a_value_through(
            text in "[ab]{0,60}",
            value in "[ab]{8,12}",
            cuts in proptest::collection::vec(0_usize..20, 0..10),
        ) {
            let whole = format!("{text}{value}{text}");
            let (mut parts, mut rest) = (Vec::new(), whole.as_bytes());
            for cut in cuts {
                let (part, left) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = left;
            }
            parts.push(rest);
            let out = redacted(&[&value], &parts);
            prop_assert!(!out.contains(&value));
            prop_assert_eq!(out, redacted(&[&value], &[whole.as_bytes()]));
        }
    }
}
