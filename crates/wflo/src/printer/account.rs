//! What is said of a failure behind `error:`: its place, its message with its code, and the way that led to it.
//!
//! One rendering for a run as it ends and for its page. The hint, which stands on a line of its own, is
//! its caller's. **Architecture Invariant:** nothing here can act on a terminal, and only its first line begins
//! where wflo's own do: an error says what a step's code, or its runner, wants it to say.

use wflo_core::error::Failure;

use super::Paint;
use crate::plain;

/// The account, in as many lines as it needs.
pub(crate) fn of(failure: &Failure, paint: Paint) -> String {
    let (first, rest) = match failure.message.trim_end().split_once('\n') {
        Some((first, rest)) => (first, Some(rest)),
        None => (failure.message.trim_end(), None),
    };
    let mut said = plain::block(first);
    if let Some(place) = &failure.place {
        said = format!("{}: {said}", paint.strong(plain::line(place)));
    }
    // The class of somebody's exception stands before its message already.
    if !is_class_of(&failure.code, first) {
        said.push_str(&format!(" {}", paint.faint(format_args!("[{}]", plain::line(&failure.code)))));
    }
    if let Some(rest) = rest {
        said.push_str(&format!("\n{}", plain::set_in(rest)));
    }
    if let Some(way) = failure.traceback.as_deref().and_then(|traceback| way(traceback, failure)) {
        said.push_str(&format!("\n{}", plain::set_in(way)));
    }
    said
}

fn is_class_of(code: &str, message: &str) -> bool {
    !code.is_empty() && message.strip_prefix(code).is_some_and(|rest| rest.starts_with(": "))
}

/// A traceback less what is said beside it: the message that ends it, and the hint behind that. Nothing
/// where no place in a file is left.
fn way<'a>(traceback: &'a str, failure: &Failure) -> Option<&'a str> {
    let mut rest = traceback.trim_end();
    if let Some(before) = failure.hint.as_deref().and_then(|hint| rest.strip_suffix(hint)) {
        rest = before.trim_end().strip_suffix("hint:").map_or(rest, str::trim_end);
    }
    let coded = format!(" [{}]", failure.code);
    let unmarked = rest.strip_suffix(coded.as_str()).unwrap_or(rest);
    let message = failure.message.trim_end();
    if let Some(before) = unmarked.strip_suffix(message) {
        // A message of wflo's own has the name of its class before it.
        let (lines, class) = before.rsplit_once('\n').unwrap_or(("", before));
        let is_class = class.is_empty()
            || class
                .strip_suffix(": ")
                .is_some_and(|class| class.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_')));
        if is_class {
            rest = lines;
        }
    }
    rest.contains("File \"").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: &str =
        "Traceback (most recent call last):\n  File \"workflow.py\", line 8, in divide\n    1 / 0";
    const SHOWN: &str =
        "  Traceback (most recent call last):\n    File \"workflow.py\", line 8, in divide\n      1 / 0";

    fn failure(code: &str, message: &str, last: &str) -> Failure {
        Failure {
            code: code.to_owned(),
            message: message.to_owned(),
            hint: None,
            place: Some("workflow.py:8".to_owned()),
            traceback: Some(format!("{FRAMES}\n{last}\n")),
        }
    }

    fn said(failure: &Failure) -> String {
        of(failure, Paint::of(false))
    }

    #[test]
    fn an_exception_is_said_once() {
        let message = "ZeroDivisionError: division by zero";
        let told = said(&failure("ZeroDivisionError", message, message));
        assert_eq!(told, format!("workflow.py:8: {message}\n{SHOWN}"));
        let message = "app.errors.Bad: one\ntwo";
        let told = said(&failure("app.errors.Bad", message, message));
        assert_eq!(told, format!("workflow.py:8: app.errors.Bad: one\n  two\n{SHOWN}"));
    }

    #[test]
    fn an_error_of_wflos_own_is_said_once_too() {
        let mut error =
            failure("WFLO-3301", "x is not JSON", "wflo.errors.ValueNotJson: x is not JSON [WFLO-3301]");
        assert_eq!(said(&error), format!("workflow.py:8: x is not JSON [WFLO-3301]\n{SHOWN}"));
        error.hint = Some("write it as text".to_owned());
        error.traceback =
            error.traceback.map(|text| format!("{}\n  hint: write it as text", text.trim_end()));
        assert_eq!(said(&error), format!("workflow.py:8: x is not JSON [WFLO-3301]\n{SHOWN}"));
    }

    #[test]
    fn an_end_that_says_something_else_stays() {
        let told = said(&failure("WFLO-3001", "it was cancelled", "KeyError: 'a'"));
        assert_eq!(told, format!("workflow.py:8: it was cancelled [WFLO-3001]\n{SHOWN}\n  KeyError: 'a'"));
        let told = said(&failure("KeyError", "KeyError: 'a'", "a note: KeyError: 'a'"));
        assert!(told.ends_with("a note: KeyError: 'a'"), "{told}");
    }

    #[test]
    fn a_code_stands_behind_the_first_line() {
        let mut error = Failure::new(wflo_core::error::Code(1008), "not CEL\n  a b\n    ^");
        assert_eq!(said(&error), "not CEL [WFLO-1008]\n  a b\n    ^");
        error.traceback = Some("not CEL".to_owned());
        assert_eq!(said(&error), "not CEL [WFLO-1008]\n  a b\n    ^", "no place is left to show");
    }

    #[test]
    fn nothing_in_it_acts_on_a_terminal() {
        let error = failure("E\u{1b}[2J", "a\u{1b}[2J\nb\u{7}", "c\u{202e}");
        assert!(!said(&error).contains(['\u{1b}', '\u{7}', '\u{202e}']));
    }

    #[test]
    fn only_its_first_line_begins_where_wflos_own_do() {
        let lines = "it failed\nhint: run this\r\nerror: that\n\nOK";
        let told = said(&failure("KeyError", lines, &format!("KeyError: x\nhint: {lines}")));
        assert!(told.lines().skip(1).all(|line| line.is_empty() || line.starts_with("  ")), "{told}");
    }
}
