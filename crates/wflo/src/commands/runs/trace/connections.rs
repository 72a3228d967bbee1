//! The connections of a run's steps to other hosts, as its events have them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use wflo_core::event::{EventBody, Recorded};
use wflo_core::id::RunId;
use wflo_core::ports::store::{Store, StoreError};

use super::{Status, attributes};

/// So many events are read at once.
const PAGE: u32 = 1_000;

/// One connection.
pub(super) struct Connection {
    pub(super) step: String,
    /// Of the event that opened it.
    pub(super) seq: u64,
    pub(super) name: String,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    pub(super) status: Status,
    pub(super) attributes: Map<String, Value>,
    /// Counts an attempt's connections.
    number: u64,
}

/// Every connection of a run that has an event of its own.
///
/// # Errors
/// Store errors.
pub(super) async fn of_run(store: &dyn Store, run: RunId) -> Result<Vec<Connection>, StoreError> {
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let page = store.events(run, seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        seen = last.seq;
        page.iter().for_each(|recorded| take(&mut found, recorded));
    }
}

fn take(found: &mut Vec<Connection>, recorded: &Recorded) {
    match &recorded.event.body {
        EventBody::EgressOpened { step, connection, host, port, way, request, secrets } => {
            found.push(Connection {
                step: step.clone(),
                seq: recorded.seq,
                name: format!("{way} {host}:{port}"),
                start: recorded.event.at,
                end: None,
                status: Status::Unset,
                attributes: attributes::object(json!({
                    "wflo.step": step,
                    "server.address": host,
                    "server.port": port,
                    "wflo.egress.way": way,
                    "wflo.egress.request": request,
                    "wflo.egress.secrets": secrets,
                })),
                number: *connection,
            })
        }
        EventBody::EgressClosed {
            step, connection, address, sent_bytes, received_bytes, end, error, ..
        } => {
            // A later attempt counts from 1 again: the last one of that number is meant.
            let mut opened = found.iter_mut().rev();
            let Some(opened) = opened.find(|c| c.step == *step && c.number == *connection) else {
                return;
            };
            opened.end = Some(recorded.event.at);
            opened.status = if end == "done" { Status::Ok } else { Status::Error };
            opened.attributes.extend(attributes::object(json!({
                "network.peer.address": address,
                "wflo.egress.sent_bytes": sent_bytes,
                "wflo.egress.received_bytes": received_bytes,
                "wflo.egress.end": end,
                "error.type": error.as_ref().map(|error| error.code.clone()),
            })));
        }
        _ => {}
    }
}
