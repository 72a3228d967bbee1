//! Bodies of requests, which are untrusted: bounded in size, and in how long a client may be silent.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::fault::{Fault, Kind};
use crate::room::{Room, SMALL};

/// How long a client may send nothing of what it has begun to send.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// The longest message, in bytes.
pub(crate) const MESSAGE: usize = 8 << 20;

/// The next part; `None` at the end.
pub(crate) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| ApiError::Slow(SILENCE.as_secs()))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(ApiError::Unclear("the request's body broke off".to_owned())),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// All of a message, up to `most` bytes; a long one once there is room for it, which the bytes keep.
pub(crate) async fn gathered(body: &mut Incoming, most: usize, room: &Room) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(ApiError::TooLarge(wflo_core::size::Bytes(most as u64)));
    }
    let mut all = BytesMut::new();
    let mut taken = None;
    while let Some(part) = next(body).await? {
        let length = all.len() + part.len();
        if length > most {
            return Err(ApiError::TooLarge(wflo_core::size::Bytes(most as u64)));
        }
        if length > SMALL && taken.is_none() {
            let found = room.take_in_time(announced.unwrap_or(most)).await;
            taken = Some(found.ok_or_else(crowded)?);
        }
        all.extend_from_slice(&part);
    }
    Ok(match taken {
        Some(taken) => taken.kept_by(all),
        None => all.freeze(),
    })
}

/// Too much is on its way.
pub(crate) fn crowded() -> ApiError {
    ApiError::Fault(Fault::new(Kind::ResourceExhausted, "too many long messages are on their way"))
}

/// How much of a body is read for nothing, and for how long, so that its client comes to read why it was refused.
const UNREAD: usize = 128 << 20;
const LINGER: Duration = Duration::from_secs(15);

/// Reads what is left of a body that is refused, within bounds; whether that was all of it.
pub(crate) async fn drain(body: &mut Incoming) -> bool {
    // What is announced to be longer is not read to its end anyway.
    if body.size_hint().lower() > UNREAD as u64 {
        return false;
    }
    let drained = async {
        let mut left = UNREAD;
        loop {
            match next(body).await {
                Ok(Some(part)) if part.len() < left => left -= part.len(),
                other => return matches!(other, Ok(None)),
            }
        }
    };
    tokio::time::timeout(LINGER, drained).await.unwrap_or(false)
}

/// A message that is JSON, whatever it says: nothing of it is taken apart.
pub(crate) fn raw(bytes: &[u8]) -> Result<&RawValue, ApiError> {
    parsed(bytes)
}

/// A message that has arrived; an empty body is an empty one.
pub(crate) fn parsed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text)
        .map_err(|error| ApiError::Unclear(format!("the message is not understood: {error}")))
}
