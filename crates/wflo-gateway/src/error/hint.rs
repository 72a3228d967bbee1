//! What can be done about a call that the gateway ended.
//!
//! Owns the wording. It is the operator's or the client's next step, or nothing where there is none.

use wflo_core::error::Coded as _;

use super::GatewayError;
use crate::dialect::Dialect;
use crate::dialect::request::RequestError;
use crate::price::suggestion;
use crate::route::Written;

/// What can be done, where anything can.
pub(super) fn of(error: &GatewayError) -> Option<String> {
    Some(match error {
        GatewayError::BudgetExceeded { unlimited: Some(tokens), .. } => format!(
            "The call names no max_tokens, so all {tokens} output tokens that the model can write count: send max_tokens, raise the budget, or use a cheaper model."
        ),
        GatewayError::BudgetExceeded { .. } => {
            "Raise the budget, lower max_tokens, shorten the input, or use a cheaper model.".to_owned()
        }
        GatewayError::Refused { hint, .. } | GatewayError::Later { hint, .. } => return hint.clone(),
        GatewayError::Repeated { .. } => {
            "Find out why it repeats itself; [repeats] in wflo.toml says from how many on a call is refused.".to_owned()
        }
        GatewayError::Unpriced { model, provider, named, near, no_key } => {
            let price = unpriced_hint(model, provider, *named, near.as_deref());
            match no_key {
                None => price,
                Some(variable) => format!(
                    "Export {variable}, or name the provider that serves the model under [providers] in wflo.toml. {price}"
                ),
            }
        }
        GatewayError::Unboundable(error) => return error.hint(),
        GatewayError::Request(RequestError::Unboundable { instead, .. }) => instead.clone(),
        GatewayError::UnknownEndpoint { path, .. } if path.contains("/responses/") => {
            "A stored response is not read, ended or deleted through the gateway: keep the response that its request was answered with.".to_owned()
        }
        GatewayError::UnknownEndpoint { path, .. } if path.starts_with("/v1/v1/") => {
            "The client adds /v1 by itself: leave it out of its base URL.".to_owned()
        }
        GatewayError::UnknownEndpoint { .. } => {
            "Served are OpenAI chat/completions, responses, embeddings and models; Anthropic messages, count_tokens and models; Google generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents and models; Cohere v2 chat, embed, rerank and models.".to_owned()
        }
        GatewayError::WebSocket { .. } => {
            "Clients that can do both go on over HTTP by themselves; else turn their WebSocket transport off.".to_owned()
        }
        GatewayError::Request(RequestError::Unreadable { .. }) => {
            "Leave it out: alt=json and alt=sse are served, each with the whole answer.".to_owned()
        }
        GatewayError::Ambiguous { .. } => {
            "Send one `host`, and a body by its `content-length` or by `transfer-encoding: chunked`.".to_owned()
        }
        GatewayError::MediaType { .. } => {
            "Send the body as it is, with `content-type: application/json` and without a content-encoding.".to_owned()
        }
        GatewayError::NotTheCaller => {
            "Leave the API key to the step's environment: wflo sets it for each attempt.".to_owned()
        }
        GatewayError::Unreachable { provider, written, .. } => match written {
            Written::Settings => {
                format!("Check base_url under [providers.{provider}] in wflo.toml, and that the server runs.")
            }
            Written::Variable(name) => format!("Check {name} where wflo was started, and that the server runs."),
            Written::Nowhere(host) => format!(
                "Check that this machine reaches {host} (its name server, a firewall): calls go there directly, and through no proxy."
            ),
        },
        GatewayError::Redirected { .. } => "Write the final address as base_url.".to_owned(),
        GatewayError::NoProvider { .. } => "Name the provider under [models.\"…\"] in wflo.toml.".to_owned(),
        GatewayError::OtherDialect { model, speaks, asked, .. } => other_dialect_hint(model, *speaks, *asked),
        GatewayError::Loop => {
            "Check base_url under [providers] in wflo.toml and OPENAI_BASE_URL, ANTHROPIC_BASE_URL, GOOGLE_GEMINI_BASE_URL and CO_API_URL where the gateways on the way were started: those variables are for clients of a gateway.".to_owned()
        }
        GatewayError::NoKey { provider, variable, meant: Some(meant) } => format!(
            "Export {variable}. To let `{meant}` answer instead, say in wflo.toml what the model costs there: prices = \"{provider}\" under [providers.{meant}] takes those of {provider}, [models] has others."
        ),
        GatewayError::NoKey { variable, .. } => format!(
            "Export {variable}, or name another provider (a local model server, for example) under [providers] in wflo.toml."
        ),
        GatewayError::Price(error) => return error.hint(),
        GatewayError::Exhausted { last, .. } => return last.hint(),
        GatewayError::Routing { .. } => {
            "Name models that have a price, at providers that are configured and speak the dialect of the model that they stand for.".to_owned()
        }
        _ => return None,
    })
}

/// Whom to ask instead.
fn other_dialect_hint(model: &str, speaks: Dialect, asked: Dialect) -> String {
    let path = match speaks {
        Dialect::OpenAi => "/v1/chat/completions",
        Dialect::Anthropic => "/v1/messages",
        Dialect::Google => "/v1beta/models",
        Dialect::Cohere => "/v2/chat",
    };
    format!(
        "Call it at {path} with a client of the {} dialect, whose base URL is the gateway's address. Where a provider of the {} dialect serves it, too, name that one under [models.\"{model}\"] in wflo.toml, with its prices.",
        speaks.name(),
        asked.name()
    )
}

fn unpriced_hint(model: &str, provider: &str, named: bool, near: Option<&str>) -> String {
    let elsewhere = match suggestion(model) {
        Some((other, input, output)) if other != provider => {
            let same = match named {
                true => format!(
                    "; where `{provider}` costs the same, prices = \"{other}\" under [providers.{provider}] is enough"
                ),
                false => String::new(),
            };
            format!(" At {other} it costs input = \"{input}\", output = \"{output}\"{same}.")
        }
        _ => String::new(),
    };
    // Which provider serves it is known only where somebody has said so.
    let serves = if named { format!("provider = \"{provider}\"") } else { "its provider".to_owned() };
    let meant = near.map_or_else(|| "P".to_owned(), |near| format!("Did you mean {near}? If not: p"));
    format!(
        "{meant}rice it in wflo.toml: [models.\"{model}\"] with {serves}, input and output in USD per million tokens (\"0\" for a local model), and context_tokens, the most that it reads.{elsewhere}"
    )
}
