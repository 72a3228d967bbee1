//! The pages of `docs/errors`, compiled into the binary.
//!
//! Owns finding a page and taking it apart; `commands/explain.rs` prints it. That every code has a page
//! of this shape is held by `scripts/checks/error_pages.py`.

use wflo_core::error::Code;

/// What a code means, why it comes and what to do, as Markdown.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) code: Code,
    /// The code as it is shown.
    pub(crate) name: &'static str,
    text: &'static str,
}

/// All pages, by their codes.
static PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// What the first digit of a code stands for, as in `docs/errors/README.md`.
const PARTS: [(u16, &str); 9] = [
    (1, "workflow definitions"),
    (2, "storage"),
    (3, "runs, workers and the worker protocol"),
    (4, "the gateway and budgets"),
    (5, "the sandbox and the workspace"),
    (6, "databases and undo"),
    (7, "approvals"),
    (8, "settings and the command line"),
    (9, "internal: bugs in wflo"),
];

/// Pages that are named to somebody who gave a code without one.
const NEAR: usize = 3;

impl Page {
    /// Every page, in the order of the codes.
    pub(crate) fn all() -> &'static [Page] {
        PAGES
    }

    /// The page of a code as somebody types it: `WFLO-3301`, `wflo-3301` or `3301`.
    pub(crate) fn find(given: &str) -> Option<&'static Page> {
        let number: u16 = digits(given)?.parse().ok()?;
        let at = PAGES.binary_search_by_key(&number, |page| page.code.0).ok()?;
        PAGES.get(at)
    }

    /// Whether an error's code has a page; the class of somebody's exception has none.
    pub(crate) fn exists(code: &str) -> bool {
        code.starts_with("WFLO-") && Self::find(code).is_some()
    }

    /// The pages nearest to a code that has none: with the nearest numbers, or with the word in their titles.
    pub(crate) fn near(given: &str) -> Vec<&'static Page> {
        let mut near: Vec<&Page> = match digits(given) {
            Some(digits) => {
                let mut all: Vec<&Page> = PAGES.iter().collect();
                let number: u32 = digits.parse().unwrap_or(u32::MAX);
                all.sort_by_key(|page| {
                    let own = format!("{:04}", page.code.0);
                    (strsim::damerau_levenshtein(digits, &own), number.abs_diff(u32::from(page.code.0)))
                });
                all
            }
            None => {
                let word = given.to_lowercase();
                let named = |page: &&Page| word.len() > 2 && page.title().to_lowercase().contains(&word);
                PAGES.iter().filter(named).collect()
            }
        };
        near.truncate(NEAR);
        near
    }

    /// What the code means, in a few words.
    pub(crate) fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, title)| title)
    }

    /// All below the title.
    pub(crate) fn body(&self) -> &'static str {
        self.text.split_once('\n').map_or("", |(_, body)| body.trim())
    }

    /// The text under one heading.
    pub(crate) fn section(&self, heading: &str) -> &'static str {
        let mut parts = self.text.split("\n## ").skip(1);
        parts.find_map(|part| part.strip_prefix(heading)).map_or("", str::trim)
    }

    /// The part of wflo that says it.
    pub(crate) fn part(&self) -> &'static str {
        let first = self.code.0 / 1000;
        PARTS.iter().find(|(digit, _)| *digit == first).map_or("", |(_, part)| part)
    }
}

/// The digits of what looks like a code.
fn digits(given: &str) -> Option<&str> {
    let text = given.trim().trim_start_matches('[').trim_end_matches(']');
    let text = match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("wflo") => text[4..].trim_start_matches(['-', ' ', '_']),
        _ => text,
    };
    (!text.is_empty() && text.len() <= 8 && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_as_people_type_it() {
        for given in ["WFLO-3301", "wflo-3301", "3301", "[WFLO-3301]", " Wflo 3301"] {
            assert_eq!(Page::find(given).map(|page| page.code.0), Some(3301), "{given}");
        }
        for given in ["", "WFLO-", "ValueError", "33.01", "999999999999", "wflö"] {
            assert!(Page::find(given).is_none(), "{given}");
        }
    }

    #[test]
    fn every_page_has_its_parts() {
        assert!(Page::all().is_sorted_by_key(|page| page.code));
        for page in Page::all() {
            for text in [page.title(), page.part()]
                .into_iter()
                .chain(["Cause", "Example", "Fix"].map(|h| page.section(h)))
            {
                assert!(!text.is_empty(), "{}", page.code);
            }
            assert!(!page.body().starts_with('#') || page.body().starts_with("## "), "{}", page.code);
        }
    }

    #[test]
    fn a_code_without_a_page_has_near_ones() {
        let codes = |given| Page::near(given).iter().map(|page| page.code.0).collect::<Vec<_>>();
        assert_eq!(codes("3307")[..2], [3306, 3308]);
        assert_eq!(codes("3031").first(), Some(&3031));
        assert!(codes("JSON").contains(&3301));
        assert!(codes("ZeroDivisionError").is_empty() && codes("").is_empty());
    }
}
