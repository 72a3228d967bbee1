//! Effects that are answered at once: the time, random numbers, published events.

use base64::Engine as _;
use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, json_bytes};
use wflo_core::error::Code;
use wflo_core::event::EventBody;

use super::{Broker, Outcome, bad_request};
use crate::protocol::{EffectCall, EffectError};

/// The most random bytes of one request.
const MOST_BYTES: u64 = 1 << 20;
/// The largest event that a step publishes, as JSON in bytes: what queues and webhooks take as well.
const MOST_EMITTED: u64 = 256 << 10;
/// An event that is too large.
const LARGE_EVENT: Code = Code(3034);

impl Broker {
    /// The time or a random number: drawn once, and the same in every resume.
    pub(super) async fn drawn(&self, call: &EffectCall, print: Digest) -> Outcome {
        let open = self.chain.enter().await?;
        let making = self.work.begin().await;
        let (result, attributes) = match self.calls.drawn(&print.to_string()).await? {
            Some((place, value)) => (Ok(value), json!({ "recorded": place })),
            None if call.kind == EffectKind::Now => {
                (Ok(json!(self.services.clock.now().to_string())), Value::Null)
            }
            None => (self.random(&call.request).map_err(|detail| bad_request(&detail)), Value::Null),
        };
        let _made = self.work.made(making, result.as_ref().unwrap_or(&Value::Null)).await;
        self.told(&open, call, print, result, attributes).await
    }

    /// An event that the step publishes.
    pub(super) async fn emit(&self, call: &EffectCall, print: Digest) -> Outcome {
        let bytes = json_bytes(&call.request);
        if bytes > MOST_EMITTED {
            let error = EffectError {
                code: LARGE_EVENT.to_string(),
                kind: "failed".to_owned(),
                message: format!(
                    "an event of {bytes} bytes is too large to be published; the limit is {MOST_EMITTED}"
                ),
                hint: Some("write the data into a file of the workspace and publish its name".to_owned()),
            };
            return self.fail(&call.without_request(), print, None, error).await;
        }
        let name = call.request["name"].as_str().unwrap_or_default().to_owned();
        let data = call.request["data"].clone();
        let facts = vec![EventBody::Emitted { step: self.attempt.step.clone(), name, data }];
        let _made = self.work.made(None, &call.request).await;
        let intent = self.intent(call, print, Value::Null);
        self.journal.record(intent, self.journal.ok(Value::Null), facts).await?;
        Ok(Ok(Value::Null))
    }

    fn random(&self, request: &Value) -> Result<Value, String> {
        match request["kind"].as_str() {
            None | Some("random") => Ok(json!(self.services.clock.draw())),
            Some("uuid4") => Ok(json!(random_uuid()?.to_string())),
            Some("bytes") => {
                let wanted = request["n"].as_u64().filter(|n| *n <= MOST_BYTES);
                let wanted =
                    wanted.ok_or_else(|| format!("`n` must be a number of bytes up to {MOST_BYTES}"))?;
                let mut bytes = vec![0_u8; usize::try_from(wanted).map_err(|e| e.to_string())?];
                fill(&mut bytes)?;
                Ok(json!({ "$bytes": base64::engine::general_purpose::STANDARD.encode(&bytes) }))
            }
            Some(other) => {
                Err(format!("`{other}` is not a kind of random number: use random, uuid4 or bytes"))
            }
        }
    }
}

fn random_uuid() -> Result<uuid::Uuid, String> {
    let mut bytes = [0_u8; 16];
    fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn fill(bytes: &mut [u8]) -> Result<(), String> {
    for chunk in bytes.chunks_mut(256) {
        let got = rustix::rand::getrandom(&mut *chunk, rustix::rand::GetRandomFlags::empty());
        if got.map_err(|e| format!("no random bytes: {e}"))? != chunk.len() {
            return Err("the kernel gave too few random bytes".to_owned());
        }
    }
    Ok(())
}
