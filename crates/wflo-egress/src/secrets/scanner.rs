//! Looks for words in what passes, wherever it is parted.

/// Words that must not pass.
#[derive(Debug)]
pub(crate) struct Scanner {
    words: Vec<(String, String)>,
    /// The end of what has passed, as long as a word may begin in it.
    tail: Vec<u8>,
    longest: usize,
}

impl Scanner {
    /// Words, each with its name.
    pub(crate) fn new(words: Vec<(String, String)>) -> Scanner {
        let longest = words.iter().map(|(_, word)| word.len()).max().unwrap_or(0);
        Scanner { words, tail: Vec::new(), longest }
    }

    /// The name of a word that ends in `part`.
    pub(crate) fn find(&mut self, part: &[u8]) -> Option<&str> {
        if self.words.is_empty() {
            return None;
        }
        let mut seen = std::mem::take(&mut self.tail);
        seen.extend(part.iter().map(u8::to_ascii_lowercase));
        let found = self.words.iter().find(|(_, word)| super::holds(&seen, word.as_bytes()));
        let kept = seen.len().saturating_sub(self.longest.saturating_sub(1));
        self.tail = seen.split_off(kept);
        found.map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_is_found_however_it_is_parted(before in "[a-z]{0,40}", after in "[a-z]{0,40}", cuts in proptest::collection::vec(0_usize..60, 0..8)) {
            let word = "wflo-secret-0123456789abcdef";
            let text = format!("{before}{}{after}", word.to_ascii_uppercase());
            let mut scanner = Scanner::new(vec![("a".to_owned(), word.to_owned())]);
            let (mut found, mut rest) = (false, text.as_bytes());
            for cut in cuts {
                let (part, left) = rest.split_at(cut.min(rest.len()));
                found |= scanner.find(part).is_some();
                rest = left;
            }
            found |= scanner.find(rest).is_some();
            prop_assert!(found);
        }

        #[test]
        fn what_is_no_word_passes(text in "[a-z0-9-]{0,80}") {
            let mut scanner = Scanner::new(vec![("a".to_owned(), "wflo-secret-0123456789abcdef".to_owned())]);
            prop_assert_eq!(scanner.find(text.as_bytes()), None);
        }
    }
}
