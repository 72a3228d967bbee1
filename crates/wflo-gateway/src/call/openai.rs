//! A chat for a provider that speaks OpenAI's dialect: as it was asked, its limit by the name that the
//! provider reads.

use serde_json::{Map, Value};

use super::ChatCall;
use crate::dialect::limit::OutputLimit;

pub(super) fn request(call: &ChatCall, limit: OutputLimit) -> Map<String, Value> {
    let mut body = call.request.clone();
    body.insert("model".to_owned(), call.model.clone().into());
    body.remove("stream");
    if call.stream {
        body.insert("stream".to_owned(), true.into());
    } else {
        body.remove("stream_options");
    }
    // `context.llm` has one name for it; OpenAI's reasoning models refuse that one.
    let other = OutputLimit::MaxTokens.name();
    if limit != OutputLimit::MaxTokens
        && !body.contains_key(limit.name())
        && let Some(most) = body.remove(other)
    {
        body.insert(limit.name().to_owned(), most);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_by_the_name_that_the_provider_reads() {
        let asked = serde_json::json!({ "messages": [], "max_tokens": 5 });
        let request = asked.as_object().unwrap().clone();
        let call = ChatCall { model: "m".into(), request, stream: false, positional: None };
        let said = |limit| Value::Object(super::request(&call, limit));
        assert_eq!(said(OutputLimit::MaxTokens)["max_tokens"], 5);
        let openai = said(OutputLimit::MaxCompletionTokens);
        assert_eq!((&openai["max_completion_tokens"], &openai["max_tokens"]), (&5.into(), &Value::Null));
    }
}
