//! What a runner may say that a step ended with.
//!
//! A code of wflo's own tells people, scripts and retries what happened, so a runner may claim only those
//! that an SDK raises by itself, and those of errors that the engine has just told it. Anything else in
//! their form becomes the name of the exception, as of any error of user code.

use std::collections::BTreeSet;

use wflo_core::error::Failure;

use super::StepError;

/// Codes of errors that the SDK raises, about definitions, steps and commands.
const OWN: [&str; 29] = [
    "WFLO-1002",
    "WFLO-1003",
    "WFLO-1004",
    "WFLO-1007",
    "WFLO-1009",
    "WFLO-1020",
    "WFLO-1501",
    "WFLO-1503",
    "WFLO-1504",
    "WFLO-1505",
    "WFLO-1506",
    "WFLO-1507",
    "WFLO-1508",
    "WFLO-3300",
    "WFLO-3301",
    "WFLO-3302",
    "WFLO-3303",
    "WFLO-3304",
    "WFLO-3305",
    "WFLO-3306",
    "WFLO-3308",
    "WFLO-3309",
    "WFLO-3310",
    "WFLO-3311",
    "WFLO-3313",
    "WFLO-8501",
    "WFLO-8502",
    "WFLO-8503",
    "WFLO-8504",
];
/// An exception without a usable name.
const NAMELESS: &str = "Exception";
/// The longest name of an exception, in characters.
const NAME: usize = 200;

impl StepError {
    /// The error as it is kept; `told` are the codes of errors that the engine told this runner.
    pub(crate) fn failure(&self, told: &BTreeSet<String>) -> Failure {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let known = |code: &&str| OWN.contains(code) || told.contains(*code);
        let code = match self.code.as_deref() {
            Some(code) if is_ours(code) => Some(code).filter(known),
            code => code.filter(|code| is_name(code)),
        };
        let name = Some(self.kind.as_str()).filter(|name| is_name(name) && !is_ours(name));
        Failure {
            code: code.or(name).unwrap_or(NAMELESS).to_owned(),
            message: if self.kind.is_empty() || code.is_some() {
                cut(&self.message, 20_000)
            } else {
                cut(&format!("{}: {}", cut(&self.kind, 300), self.message), 20_000)
            },
            hint: self.hint.as_deref().map(|h| cut(h, 4_000)),
            place: self.place.as_deref().map(|p| cut(p, 1_000)),
            traceback: self.traceback.as_deref().map(|t| cut(t, 64_000)),
        }
    }
}

/// Whether it has the form of a code of wflo's, in any spelling.
fn is_ours(code: &str) -> bool {
    code.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("wflo-"))
}

/// Whether it can be the name of an exception: letters, digits, and what joins them.
fn is_name(name: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '<' | '>' | ':');
    !name.is_empty() && name.chars().count() <= NAME && name.chars().all(joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(kind: &str, code: Option<&str>, told: &[&str]) -> (String, String) {
        let error = StepError {
            kind: kind.to_owned(),
            code: code.map(str::to_owned),
            message: "m".to_owned(),
            hint: None,
            traceback: None,
            place: None,
            effect: None,
        };
        let failure = error.failure(&told.iter().map(|code| (*code).to_owned()).collect());
        (failure.code, failure.message)
    }

    fn is(code: &str, message: &str) -> (String, String) {
        (code.to_owned(), message.to_owned())
    }

    #[test]
    fn a_runner_claims_only_codes_of_the_sdk_and_those_it_was_told() {
        assert_eq!(claimed("StepOutput", Some("WFLO-3302"), &[]), is("WFLO-3302", "m"));
        assert_eq!(claimed("BudgetExceeded", Some("WFLO-4001"), &["WFLO-4001"]), is("WFLO-4001", "m"));
        assert_eq!(claimed("Sly", Some("WFLO-4001"), &[]), is("Sly", "Sly: m"));
        assert_eq!(claimed("Sly", Some("wflo-4001"), &["WFLO-4001"]), is("Sly", "Sly: m"));
        assert_eq!(claimed("WFLO-9001", Some("WFLO-9001"), &[]), is("Exception", "WFLO-9001: m"));
        assert_eq!(claimed("", Some("WFLO-9001"), &[]), is("Exception", "m"));
    }

    #[test]
    fn names_of_exceptions_are_names() {
        assert_eq!(claimed("ValueError", None, &[]), is("ValueError", "ValueError: m"));
        assert_eq!(claimed("shop.a.<locals>.Größe", None, &[]).0, "shop.a.<locals>.Größe");
        assert_eq!(claimed("E", Some("ERR_OUT-1"), &[]), is("ERR_OUT-1", "m"));
        for odd in ["\u{1b}[2J", "a b", "a\nb", "", &"x".repeat(201)] {
            assert_eq!(claimed(odd, Some(odd), &[]).0, "Exception");
        }
    }

    #[test]
    fn every_code_that_the_sdk_raises_may_be_claimed() {
        let sdk = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/wflo");
        let mut folders = vec![sdk];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "py") {
                    let text = std::fs::read_to_string(path).unwrap();
                    let codes = text.match_indices("\"WFLO-").filter_map(|(at, _)| text.get(at + 1..at + 10));
                    let whole = |code: &&str| code[5..].bytes().all(|digit| digit.is_ascii_digit());
                    found.extend(codes.filter(whole).map(str::to_owned));
                }
            }
        }
        assert!(found.len() > 10);
        let unknown: Vec<_> = found.iter().filter(|code| !OWN.contains(&code.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
