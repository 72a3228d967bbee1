//! A chat for a provider that speaks OpenAI's dialect: as it was asked.

use serde_json::{Map, Value};

use super::ChatCall;

pub(super) fn request(call: &ChatCall) -> Map<String, Value> {
    let mut body = call.request.clone();
    body.insert("model".to_owned(), call.model.clone().into());
    body.remove("stream");
    if call.stream {
        body.insert("stream".to_owned(), true.into());
    } else {
        body.remove("stream_options");
    }
    body
}
