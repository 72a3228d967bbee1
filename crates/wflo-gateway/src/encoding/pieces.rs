//! Where an encoding cuts text before it merges: the expressions of `tiktoken_ext/openai_public.py`, by hand.
//!
//! Owns cutting. By hand because the expressions have a look-ahead, and because a bound must not depend on
//! which version of Unicode an engine of expressions was built with.

use super::class::Class;

/// One character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// Where it begins in its text.
    pub(super) at: usize,
    pub(super) class: Class,
    /// Itself, or zero where it is none of ASCII.
    pub(super) ascii: u8,
}

impl Mark {
    pub(super) fn of(at: usize, c: char) -> Mark {
        Mark { at, class: Class::of(c), ascii: u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(0) }
    }

    fn is_line_end(self) -> bool {
        matches!(self.ascii, b'\r' | b'\n')
    }
}

/// Whether both encodings cut between two neighbours, whatever stands around them.
///
/// A piece is a word, with one character before it that is no letter, digit or line end, and an apostrophe
/// with what follows it; or up to three digits; or punctuation, with a space before it, and line ends and
/// slashes behind; or white space, all of it up to its last line end, or but for the last of it.
pub(super) fn always_cut(left: Mark, right: Mark) -> bool {
    use Class::{Mark as Accent, Number, Other, Space, Unsure};
    let (before, after) = (left.class, right.class);
    if matches!((before, after), (Unsure, _) | (_, Unsure)) {
        return false;
    }
    if left.is_line_end() {
        // Slashes follow line ends in one piece.
        return after != Space && right.ascii != b'/';
    }
    match after {
        Number => before != Number,
        _ if before == Number => true,
        Space => before.is_letter() || (before != Space && !right.is_line_end()),
        Other => before.is_letter() && right.ascii != b'\'',
        Accent => false,
        _ => false,
    }
}

/// The expressions of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    O200k,
    Cl100k,
}

impl Style {
    /// How many characters of a run its first piece has. Behind the run stands something that is no space.
    pub(super) fn piece(self, run: &[Mark]) -> usize {
        let word = match self {
            Style::O200k => cased_word(run),
            Style::Cl100k => contraction(run, 0).or_else(|| word(run)),
        };
        word.or_else(|| digits(run)).or_else(|| self.punctuation(run)).unwrap_or_else(|| white_space(run))
    }

    /// ` ?[^\s\p{L}\p{N}]+[\r\n/]*`, without the slash in `cl100k_base`.
    fn punctuation(self, run: &[Mark]) -> Option<usize> {
        let from = usize::from(run.first().is_some_and(|first| first.ascii == b' '));
        let to = from + count(run, from, |mark| matches!(mark.class, Class::Other | Class::Mark));
        let ends = |mark: Mark| mark.is_line_end() || (self == Style::O200k && mark.ascii == b'/');
        (to > from).then(|| to + count(run, to, ends))
    }
}

/// How many of a run, from one on, are such.
fn count(run: &[Mark], from: usize, is: impl Fn(Mark) -> bool) -> usize {
    run.iter().skip(from).take_while(|mark| is(**mark)).count()
}

/// Whether a word may have it before its letters: `[^\r\n\p{L}\p{N}]`.
fn leads(run: &[Mark]) -> bool {
    run.first()
        .is_some_and(|mark| !mark.is_line_end() && !mark.class.is_letter() && mark.class != Class::Number)
}

/// `'(?i:[sdmt]|ll|ve|re)`: the characters that it has, from `at` on.
fn contraction(run: &[Mark], at: usize) -> Option<usize> {
    let ascii = |nth: usize| run.get(at + nth).map_or(0, |mark| mark.ascii.to_ascii_lowercase());
    match (ascii(0), ascii(1), ascii(2)) {
        (b'\'', b's' | b'd' | b'm' | b't', _) => Some(2),
        (b'\'', b'l', b'l') | (b'\'', b'v' | b'r', b'e') => Some(3),
        _ => None,
    }
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`.
fn word(run: &[Mark]) -> Option<usize> {
    let from = usize::from(leads(run));
    let letters = count(run, from, |mark| mark.class.is_letter());
    (letters > 0).then_some(from + letters)
}

/// The two words of `o200k_base`: one that ends in small letters, else one that begins with capitals; each
/// with a contraction behind it.
fn cased_word(run: &[Mark]) -> Option<usize> {
    let starts: &[usize] = if leads(run) { &[1, 0] } else { &[0] };
    let ends = starts.iter().find_map(|from| small_end(run, *from));
    let end = ends.or_else(|| starts.iter().find_map(|from| capital_start(run, *from)))?;
    Some(end + contraction(run, end).unwrap_or(0))
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
fn is_upper(mark: Mark) -> bool {
    matches!(mark.class, Class::Upper | Class::Letter | Class::Mark)
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
fn is_lower(mark: Mark) -> bool {
    matches!(mark.class, Class::Lower | Class::Letter | Class::Mark)
}

/// Capitals as many as there are, then at least one small letter. What is both is given back by the capitals
/// where no small letter follows them.
fn small_end(run: &[Mark], from: usize) -> Option<usize> {
    let capitals = from + count(run, from, is_upper);
    let small = count(run, capitals, is_lower);
    if small > 0 {
        return Some(capitals + small);
    }
    let both = run.get(from..capitals)?.iter().rposition(|mark| is_lower(*mark))?;
    Some(from + both + 1)
}

/// At least one capital, then small letters.
fn capital_start(run: &[Mark], from: usize) -> Option<usize> {
    let capitals = count(run, from, is_upper);
    (capitals > 0).then(|| from + capitals + count(run, from + capitals, is_lower))
}

/// `\p{N}{1,3}`.
fn digits(run: &[Mark]) -> Option<usize> {
    match count(run, 0, |mark| mark.class == Class::Number) {
        0 => None,
        digits => Some(digits.min(3)),
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`.
fn white_space(run: &[Mark]) -> usize {
    let spaces = count(run, 0, |mark| mark.class == Class::Space);
    match run.iter().take(spaces).rposition(|mark| mark.is_line_end()) {
        Some(last) => last + 1,
        // The last one belongs to what follows it.
        None => spaces.saturating_sub(1).max(1),
    }
}
