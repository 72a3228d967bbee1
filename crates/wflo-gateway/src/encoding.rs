//! How many tokens a text is at most, where its model's encoding is published.
//!
//! Owns the two encodings that OpenAI documents for the models that it serves, and counting by them. What of
//! a request is text that is counted so is `reserve::text`'s.
//!
//! **Architecture Invariant:** whatever stands before and behind a text, and whatever version of Unicode the
//! server splits by, the text adds no more tokens than [`Encoding::most_tokens`] says.
//! `scripts/token_differential.py` tries to break it with OpenAI's own `tiktoken`.
//!
//! A text is cut into runs wherever both encodings cut in any surroundings (a letter before a space, a digit
//! beside a letter). The runs between the first and the last are counted as the encoding counts them. The
//! first and the last are counted by their bytes, because what stands beside them in the server's template is
//! not known; so are runs with a character whose kind depends on the version of Unicode, or with a mark that
//! a server may take for the end of a text, and what would take too long.

mod class;
mod merge;
mod pieces;
mod vocabulary;

use class::Class;
use pieces::{Mark, Style};
use vocabulary::Vocabulary;

/// A run of more characters is counted by its bytes.
const LONGEST_RUN: usize = 4_096;

/// A published encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `o200k_base`.
    O200k,
    /// `cl100k_base`.
    Cl100k,
}

/// Names of models and their encodings, as `tiktoken/model.py` (0.14.0) has them. What follows a name after a
/// dash (a date, a size) changes nothing; tiktoken takes everything that begins with `gpt-5`.
const MODELS: [(&str, Encoding); 13] = [
    ("gpt-4o", Encoding::O200k),
    ("chatgpt-4o", Encoding::O200k),
    ("gpt-4.1", Encoding::O200k),
    ("gpt-4.5", Encoding::O200k),
    ("gpt-5", Encoding::O200k),
    ("o1", Encoding::O200k),
    ("o3", Encoding::O200k),
    ("o4-mini", Encoding::O200k),
    ("gpt-4", Encoding::Cl100k),
    ("gpt-3.5-turbo", Encoding::Cl100k),
    ("text-embedding-ada-002", Encoding::Cl100k),
    ("text-embedding-3-small", Encoding::Cl100k),
    ("text-embedding-3-large", Encoding::Cl100k),
];

/// How much work counting may still take. What is left when it is used up is counted by its bytes.
#[derive(Debug)]
pub struct Work {
    /// Bytes of pieces that are no token and must be put together from smaller ones.
    merged: usize,
    /// Bytes in all.
    text: usize,
}

impl Default for Work {
    /// As much as one request may take: a text of a few hundred thousand words, or a hostile one of a size
    /// that takes as long.
    fn default() -> Work {
        Work { merged: 256 << 10, text: 4 << 20 }
    }
}

impl Work {
    fn takes(left: &mut usize, bytes: usize) -> bool {
        let taken = left.checked_sub(bytes);
        *left = taken.unwrap_or(0);
        taken.is_some()
    }

    fn merges(&mut self, bytes: usize) -> bool {
        Work::takes(&mut self.merged, bytes)
    }
}

impl Encoding {
    /// The encoding of OpenAI's model of this name, if it is published. A fine-tuned model has its base's.
    pub fn of(model: &str) -> Option<Encoding> {
        let model = model.strip_prefix("ft:").unwrap_or(model);
        let fits = |name: &str| match model.strip_prefix(name).and_then(|rest| rest.chars().next()) {
            None => model == name,
            Some('.') => name == "gpt-5",
            Some(next) => matches!(next, '-' | ':'),
        };
        MODELS.into_iter().find(|(name, _)| fits(name)).map(|(_, encoding)| encoding)
    }

    /// The most tokens that `text` adds to any text that it stands in: never more than its bytes.
    pub fn most_tokens(self, text: &str, work: &mut Work) -> u64 {
        if !Work::takes(&mut work.text, text.len()) {
            return text.len() as u64;
        }
        let mut run = Run::default();
        let mut most = 0;
        for (at, c) in text.char_indices() {
            let mark = Mark::of(at, c);
            if run.marks.last().is_some_and(|last| pieces::always_cut(*last, mark)) {
                most += if run.counts() { self.count(text, &run.marks, at, work) } else { run.bytes(at) };
                run.next();
            }
            run.push(mark);
        }
        most + run.bytes(text.len())
    }

    /// The tokens of a run that ends at `end`, with something behind it that is no space.
    fn count(self, text: &str, run: &[Mark], end: usize, work: &mut Work) -> u64 {
        let (mut from, mut tokens) = (0, 0);
        while from < run.len() {
            let to = from + self.style().piece(&run[from..]).max(1);
            let piece = run[from].at..run.get(to).map_or(end, |mark| mark.at);
            tokens += self.vocabulary().tokens(&text.as_bytes()[piece], work);
            from = to;
        }
        tokens
    }

    fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Encoding::O200k => &vocabulary::O200K,
            Encoding::Cl100k => &vocabulary::CL100K,
        }
    }

    fn style(self) -> Style {
        match self {
            Encoding::O200k => Style::O200k,
            Encoding::Cl100k => Style::Cl100k,
        }
    }
}

/// What stands between two places where every encoding cuts.
#[derive(Default)]
struct Run {
    marks: Vec<Mark>,
    /// It is not the first one of its text, before which anything may stand.
    inside: bool,
    /// It is counted by its bytes.
    unsure: bool,
}

impl Run {
    fn push(&mut self, mark: Mark) {
        let last = self.marks.last();
        // Servers may read `<|…|>` as the end of a text.
        let ends = last.is_some_and(|last| matches!((last.ascii, mark.ascii), (b'<', b'|') | (b'|', b'>')));
        self.unsure |= mark.class == Class::Unsure || ends;
        if self.marks.len() == LONGEST_RUN {
            self.unsure = true;
            // Where it begins and how it ends are all that is needed of it.
            self.marks.truncate(1);
        }
        self.marks.push(mark);
    }

    fn counts(&self) -> bool {
        self.inside && !self.unsure
    }

    fn bytes(&self, end: usize) -> u64 {
        self.marks.first().map_or(0, |first| end - first.at) as u64
    }

    fn next(&mut self) {
        self.marks.clear();
        self.inside = true;
        self.unsure = false;
    }
}
