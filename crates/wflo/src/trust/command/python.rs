//! How a command starts Python: where it looks for modules before it looks at what it has itself.

use std::path::Path;

use super::parts;
use super::running::{Loads, is_program};

/// A Python that a command starts.
pub(super) struct Python {
    /// It runs a module or a text: it loads from the current folder.
    pub(super) is_inline: bool,
    /// It loads nothing from there, nor from beside its script: `-I`, `-P`.
    pub(super) is_isolated: bool,
}

pub(super) fn pythons(words: &[String]) -> Vec<Python> {
    let parts = parts(words);
    let is_python = |part: &str| {
        let version = part.rsplit('/').next().and_then(|name| name.strip_prefix("python"));
        version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let after = parts.iter().enumerate().filter(|(_, part)| is_python(part)).map(|(at, _)| &parts[at + 1..]);
    after.map(Python::of).collect()
}

impl Python {
    /// By what follows its name.
    fn of(parts: &[&str]) -> Python {
        let (mut parts, mut is_isolated) = (parts.iter(), false);
        while let Some(part) = parts.next() {
            let Some(flags) = part.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
                // A script, or what comes in.
                return Python { is_inline: *part == "-", is_isolated };
            };
            for (at, flag) in flags.char_indices() {
                match flag {
                    'c' | 'm' => return Python { is_inline: true, is_isolated },
                    'I' | 'P' => is_isolated = true,
                    '-' => break,
                    'W' | 'X' => {
                        // Its value.
                        if at + 1 == flags.len() {
                            parts.next();
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        Python { is_inline: true, is_isolated }
    }
}

/// Whether a script of Python is run by one that looks for nothing beside it.
pub(super) fn loads_nothing_beside(script: &Path, pythons: &[Python]) -> bool {
    let is_isolated = !pythons.is_empty() && pythons.iter().all(|python| python.is_isolated);
    is_isolated && Loads::of(script) == Loads::Python && !is_program(script)
}
