//! What a call asks of a model, as it is kept with the call.
//!
//! Owns the order: what is secret is taken out, then the request is cut, then what this attempt has not kept yet goes
//! into the commit of the call's intent. So it is durable with the intent or not at all, for no flush of its own.
//!
//! **Architecture Invariant:** nothing here fails a call or writes: a request that cannot be kept is kept as its size
//! and its hash. A large one is looked through where blocking work is done: its caller alone waits for that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use wflo_core::content::{Name, Outline, Piece, cut};
use wflo_core::id::RunId;
use wflo_core::ports::store::Op;

use crate::calls::Calls;
use crate::services::Services;

/// A longer request, in bytes, is not looked through on a thread that others wait for.
const LARGE: usize = 64 << 10;

/// How many pieces an attempt remembers to have kept: 32 bytes each. One that it forgets is written again, which
/// changes nothing.
const REMEMBERED: usize = 16 << 10;

/// The pieces that an attempt has kept.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashSet<Name>>);

impl Kept {
    fn new_ones(&self, pieces: Vec<Piece>) -> Vec<Piece> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut here = HashSet::new();
        pieces
            .into_iter()
            .filter(|piece| !kept.contains(piece.name()) && here.insert(*piece.name()))
            .collect()
    }

    fn add(&self, pieces: &[Piece]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + pieces.len() > REMEMBERED {
            kept.clear();
        }
        kept.extend(pieces.iter().map(Piece::name));
    }
}

/// What is kept of one request.
#[derive(Default)]
pub(super) struct Asked {
    outline: Option<Outline>,
    new: Vec<Piece>,
}

impl Asked {
    /// What is to be kept of a request; nothing where that is turned off.
    pub(super) async fn of(calls: &Calls, body: &Bytes) -> Asked {
        if !calls.services.keeps_content || body.is_empty() {
            return Asked::default();
        }
        let services = Arc::clone(&calls.services);
        let found = beside(body, move |body| cleaned(&services, body)).await.flatten();
        if let Some((outline, pieces)) = found
            && let Some(new) = Asked::fitting(calls, calls.kept.new_ones(pieces)).await
        {
            return Asked { outline: Some(outline), new };
        }
        Asked { outline: beside(body, Outline::unkept).await, new: Vec::new() }
    }

    /// These pieces, or those of them that are new, if there is room for them.
    async fn fitting(calls: &Calls, mut new: Vec<Piece>) -> Option<Vec<Piece>> {
        let fits = |new: &[Piece]| calls.journal.meter().has_room(new.iter().map(Piece::bytes).sum());
        if !fits(&new) {
            // Some may be kept all the same: by another attempt, or by this one, which has forgotten it.
            let names = new.iter().map(|piece| *piece.name()).collect();
            let missing = calls.services.store.new_content(calls.attempt.run, names).await.ok()?;
            new.retain(|piece| missing.contains(piece.name()));
        }
        fits(&new).then_some(new)
    }

    /// Adds how it is put together to what is journaled of the request.
    pub(super) fn outline(&self, request: &mut Value) {
        if let (Some(outline), Value::Object(request)) = (&self.outline, request)
            && let Ok(outline) = serde_json::to_value(outline)
        {
            request.insert("content".to_owned(), outline);
        }
    }

    /// What the commit of the intent keeps.
    pub(super) fn op(&self, run: RunId) -> Option<Op> {
        (!self.new.is_empty()).then(|| Op::KeepContent { run, pieces: self.new.clone() })
    }

    /// That commit was made.
    pub(super) fn committed(&self, calls: &Calls) {
        calls.kept.add(&self.new);
    }
}

/// A request without what is secret, cut; none where it is no text.
fn cleaned(services: &Services, body: &[u8]) -> Option<(Outline, Vec<Piece>)> {
    let text = std::str::from_utf8(body).ok()?;
    Some(cut(&services.redact_request(text.to_owned())))
}

/// Does something with a body: of a large one where blocking work is done. None where that broke.
async fn beside<T: Send + 'static>(
    body: &Bytes,
    work: impl FnOnce(&[u8]) -> T + Send + 'static,
) -> Option<T> {
    if body.len() <= LARGE {
        return Some(work(body));
    }
    let body = body.clone();
    tokio::task::spawn_blocking(move || work(&body)).await.ok()
}
