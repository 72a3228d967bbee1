//! What a call asks of a model, as it is kept with the call.
//!
//! Owns the order: what is secret is taken out, then the request is cut, then what this attempt has not kept yet goes
//! into the commit of the call's intent. So it is durable with the intent or not at all, for no flush of its own.
//!
//! **Architecture Invariant:** nothing here fails a call, waits, or writes: a request that cannot be kept is kept as
//! its size and its hash.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use wflo_core::content::{Name, Outline, Piece, cut};
use wflo_core::id::RunId;
use wflo_core::ports::store::Op;

use crate::calls::Calls;

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
    pub(super) fn of(calls: &Calls, body: &[u8]) -> Asked {
        if !calls.services.keeps_content || body.is_empty() {
            return Asked::default();
        }
        let unkept = || Asked { outline: Some(Outline::unkept(body)), new: Vec::new() };
        let Ok(text) = std::str::from_utf8(body) else { return unkept() };
        let (outline, pieces) = cut(&calls.services.redact_request(text.to_owned()));
        let new = calls.kept.new_ones(pieces);
        match calls.journal.meter().has_room(new.iter().map(Piece::bytes).sum()) {
            true => Asked { outline: Some(outline), new },
            false => unkept(),
        }
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
        calls.journal.meter().add_content(self.new.iter().map(Piece::bytes).sum());
    }
}
