//! What kind of character a code point is, to the expressions that encodings split text by.
//!
//! Owns the table. It has those code points whose kind is the same in Unicode 3.2 and 14: a server may split
//! by either, by one between them or by a later one, which changes nothing of what has been assigned so long.

use std::sync::LazyLock;

/// The kinds that `o200k_base` and `cl100k_base` tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{Lu}`, `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}`, `\p{Lo}`.
    Letter,
    /// `\p{M}`.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\s`.
    Space,
    /// Everything else: punctuation, symbols, controls.
    Other,
    /// One or another.
    Unsure,
}

impl Class {
    const ALL: [Class; 8] = [
        Class::Upper,
        Class::Lower,
        Class::Letter,
        Class::Mark,
        Class::Number,
        Class::Space,
        Class::Other,
        Class::Unsure,
    ];

    /// `\p{L}`.
    pub(super) const fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Letter)
    }

    pub(super) fn of(c: char) -> Class {
        PLANE.get(c as usize).copied().unwrap_or(Class::Unsure)
    }
}

/// The first plane: all others were filled later.
static PLANE: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let mut plane = Vec::with_capacity(0x1_0000);
    for run in include_bytes!("../../encodings/classes.bin").chunks_exact(3) {
        let class = Class::ALL.get(usize::from(run[0])).copied().unwrap_or(Class::Unsure);
        plane.extend(std::iter::repeat_n(class, usize::from(u16::from_le_bytes([run[1], run[2]]))));
    }
    plane
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_covers_its_plane_and_knows_what_is_written_most() {
        assert_eq!(PLANE.len(), 0x1_0000);
        let sure = PLANE.iter().filter(|class| **class != Class::Unsure).count();
        assert!(sure > 48_000, "{sure}");
        for (c, class) in [
            ('a', Class::Lower),
            ('Ж', Class::Upper),
            ('中', Class::Letter),
            ('\u{301}', Class::Mark),
            ('７', Class::Number),
            ('\u{3000}', Class::Space),
            ('、', Class::Other),
            ('\'', Class::Other),
            ('\u{17f}', Class::Unsure),
            ('\u{180e}', Class::Unsure),
            ('😀', Class::Unsure),
        ] {
            assert_eq!(Class::of(c), class, "{c:?}");
        }
    }

    #[test]
    fn spaces_and_numbers_are_those_of_the_standard_library() {
        for c in (0..0x1_0000).filter_map(char::from_u32) {
            match Class::of(c) {
                Class::Unsure => {}
                class => {
                    assert_eq!(class == Class::Space, c.is_whitespace(), "{c:?}");
                    assert_eq!(class == Class::Number, c.is_numeric(), "{c:?}");
                    assert!(!class.is_letter() || c.is_alphabetic(), "{c:?}");
                }
            }
        }
    }
}
