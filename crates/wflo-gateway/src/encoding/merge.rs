//! A piece of text that is no token, put together from smaller ones.
//!
//! Owns byte-pair merging: of all pairs of neighbours the one whose joint token has the lowest rank is merged
//! first, the leftmost of equals, until no pair is a token.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Longer pieces are not merged.
pub(super) const LONGEST: usize = 4_096;

/// The tokens of a piece of at most [`LONGEST`] bytes.
pub(super) fn tokens(piece: &[u8], rank: impl Fn(&[u8]) -> Option<u32>) -> u64 {
    let mut parts = Parts::of(piece.len());
    let mut pairs = BinaryHeap::with_capacity(piece.len());
    let look = |parts: &Parts, at: usize, pairs: &mut BinaryHeap<Reverse<Pair>>| {
        let middle = parts.ends[at];
        if middle < piece.len() {
            let end = parts.ends[middle];
            pairs.extend(rank(&piece[at..end]).map(|rank| Reverse(Pair { rank, at, end })));
        }
    };
    for at in 0..piece.len() {
        look(&parts, at, &mut pairs);
    }
    let mut tokens = piece.len();
    while let Some(Reverse(pair)) = pairs.pop() {
        if !parts.has(&pair) {
            continue;
        }
        parts.merge(&pair);
        tokens -= 1;
        look(&parts, pair.at, &mut pairs);
        if let Some(before) = parts.before(pair.at) {
            look(&parts, before, &mut pairs);
        }
    }
    tokens as u64
}

/// Two neighbours that are a token together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    at: usize,
    end: usize,
}

/// The parts of a piece, by where they begin.
struct Parts {
    /// Where the part that begins here ends; zero where none begins.
    ends: Vec<usize>,
    /// Where the part that ends here begins.
    starts: Vec<usize>,
}

impl Parts {
    /// Every byte is one.
    fn of(bytes: usize) -> Parts {
        Parts { ends: (1..=bytes).collect(), starts: (0..=bytes).map(|end| end.saturating_sub(1)).collect() }
    }

    /// Whether the pair is still one of two neighbours.
    fn has(&self, pair: &Pair) -> bool {
        let middle = self.ends[pair.at];
        middle > 0 && middle < pair.end && self.ends[middle] == pair.end
    }

    fn merge(&mut self, pair: &Pair) {
        let middle = std::mem::replace(&mut self.ends[pair.at], pair.end);
        self.ends[middle] = 0;
        self.starts[pair.end] = pair.at;
    }

    fn before(&self, at: usize) -> Option<usize> {
        (at > 0).then(|| self.starts[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the encoding is defined, without a thought of speed.
    fn slowly(piece: &[u8], rank: impl Fn(&[u8]) -> Option<u32>) -> u64 {
        let mut parts: Vec<Vec<u8>> = piece.iter().map(|byte| vec![*byte]).collect();
        loop {
            let joint = |at: usize| rank(&[&parts[at][..], &parts[at + 1]].concat());
            let best = (0..parts.len().saturating_sub(1)).filter_map(|at| Some((joint(at)?, at))).min();
            let Some((_, at)) = best else { return parts.len() as u64 };
            let next = parts.remove(at + 1);
            parts[at].extend(next);
        }
    }

    proptest! {
        #[test]
        fn merging_is_as_it_is_defined(piece in "[ab]{1,40}", ranks in proptest::collection::vec(any::<u16>(), 64)) {
            let rank = |bytes: &[u8]| {
                let key = bytes.iter().fold(bytes.len(), |key, byte| key * 3 + usize::from(*byte));
                let rank = u32::from(ranks[key % ranks.len()]);
                (bytes.len() < 7 && rank % 3 > 0).then_some(rank)
            };
            prop_assert_eq!(tokens(piece.as_bytes(), rank), slowly(piece.as_bytes(), rank));
        }
    }
}
