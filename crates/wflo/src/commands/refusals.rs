//! What a program was refused on its way out, for the end of its run and for `wflo runs show`: model calls that
//! the gateway ended, connections that the egress proxy did not make.
//!
//! A program makes of a refusal what it likes, and may say nothing of it.

use wflo_core::error::Failure;
use wflo_core::event::{CALL_REFUSED, EventBody};
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;

use crate::failure::CommandError;
use crate::plain;

/// So many are said whole.
const SAID: usize = 4;
/// The most characters of one.
const LONGEST: usize = 500;
/// Events that are read at once.
const PAGE: u32 = 1_000;

/// The refusals of a program's last start: each once, the last line for those that have none of their own.
///
/// # Errors
/// Store errors.
pub(crate) async fn of(store: &dyn Store, run: RunId) -> Result<Vec<String>, CommandError> {
    let (mut refused, mut seen) = (Vec::new(), 0);
    loop {
        let page = store.events(run, seen, PAGE).await?;
        let Some(last) = page.last() else { break };
        seen = last.seq;
        page.iter().for_each(|recorded| take(&recorded.event.body, &mut refused));
    }
    let more = refused.len().saturating_sub(SAID);
    refused.truncate(SAID);
    if more > 0 {
        refused.push(format!("… and {more} more: `wflo runs events {run}`"));
    }
    Ok(refused)
}

fn take(body: &EventBody, refused: &mut Vec<String>) {
    let line = match body {
        // A program that goes on starts anew.
        EventBody::StepStarted { .. } => return refused.clear(),
        EventBody::Notice { notice, message } if notice == CALL_REFUSED => plain::short(message, LONGEST),
        EventBody::EgressRefused { error, .. } | EventBody::EgressClosed { error: Some(error), .. } => {
            whole(error)
        }
        _ => return,
    };
    if !refused.contains(&line) {
        refused.push(line);
    }
}

fn whole(error: &Failure) -> String {
    let hint = error.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default();
    plain::short(&format!("{} [{}]{hint}", error.message, error.code), LONGEST)
}

#[cfg(test)]
mod tests {
    use wflo_core::error::Code;

    use super::*;

    #[test]
    fn each_refusal_is_said_once_and_those_of_an_earlier_start_not() {
        let error = Failure::new(Code(5202), "no rule").with_hint("--allow-host a.example");
        let step = || "python".to_owned();
        let event =
            || EventBody::EgressRefused { step: step(), host: None, port: None, error: error.clone() };
        let call = || EventBody::Notice { notice: CALL_REFUSED.to_owned(), message: "no price".to_owned() };
        let mut refused = Vec::new();
        [event(), call(), event(), call()].iter().for_each(|body| take(body, &mut refused));
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].contains("--allow-host a.example") && refused[1] == "no price", "{refused:?}");
        take(&EventBody::StepStarted { step: step(), generation: 1, attempt: 2, epoch: 1 }, &mut refused);
        assert!(refused.is_empty());
    }
}
