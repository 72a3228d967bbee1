//! Names of span attributes: the one table that maps wflo's nouns to OpenTelemetry's.
//!
//! `gen_ai.*` and `db.*` are the semantic conventions of OpenTelemetry (GenAI, database); what they do
//! not name is `wflo.*`.

use serde_json::{Map, Value, json};
use wflo_core::approval::Approval;
use wflo_core::definition::StepSpec;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::machine::StepState;
use wflo_core::money::NanoUsd;
use wflo_core::run::RunRecord;

use super::calls::{Call, Contents, Tool};
use super::messages::Said;

/// A longer statement is cut in a trace; the journal has it whole.
const STATEMENT: usize = 1_000;
/// So many bytes of what one call asked, of its answer, and of a tool's arguments are exported.
const EXPORTED: usize = 1 << 20;

/// Whether a retried run had made the call: it is not one of this run.
pub(super) fn is_carried(effect: &EffectRecord) -> bool {
    effect.attributes["carried"] == true
}

/// `chat gpt-5-mini`, `db execute`, `sleep`.
pub(super) fn name_of(effect: &EffectRecord) -> String {
    match (effect.kind, effect.attributes["model"].as_str()) {
        (EffectKind::Llm, Some(model)) => format!("{} {model}", operation(effect)),
        _ if effect.name == effect.kind.as_str() || effect.name.is_empty() => effect.kind.as_str().to_owned(),
        _ => format!("{} {}", effect.kind.as_str(), effect.name),
    }
}

/// The GenAI operation: everything but embeddings is a chat to the conventions.
fn operation(effect: &EffectRecord) -> &'static str {
    if effect.name.contains("embed") { "embeddings" } else { "chat" }
}

pub(super) fn of_run(run: &RunRecord) -> Map<String, Value> {
    object(json!({
        "wflo.run.id": run.id,
        "wflo.run.status": run.status,
        "wflo.workflow": run.workflow,
        "wflo.workflow.version": run.version,
        "error.type": run.error.as_ref().map(|error| error.code.clone()),
    }))
}

pub(super) fn of_step(spec: &StepSpec, step: &StepState) -> Map<String, Value> {
    object(json!({
        "wflo.step": spec.name,
        "wflo.step.type": spec.type_name(),
        "wflo.step.status": step.status.as_str(),
        "wflo.step.generation": step.generation,
        "gen_ai.agent.name": (spec.type_name() == "agent").then(|| spec.agent_name()),
        "wflo.sandbox.cpu_ms": step.resources.cpu_ms,
        "wflo.sandbox.memory_peak_bytes": step.resources.memory_peak_bytes,
        "wflo.sandbox.disk_read_bytes": step.resources.disk_read_bytes,
        "wflo.sandbox.disk_written_bytes": step.resources.disk_written_bytes,
        "wflo.sandbox.tasks_peak": step.resources.tasks_peak,
        "error.type": step.error.as_ref().map(|error| error.code.clone()),
    }))
}

pub(super) fn of_effect(effect: &EffectRecord) -> Map<String, Value> {
    let facts = &effect.attributes;
    let mut all = object(json!({
        "wflo.step": effect.key.step,
        "wflo.step.generation": effect.key.generation,
        "wflo.effect.path": effect.key.path,
        "wflo.effect.seq": effect.key.seq,
        "wflo.effect.kind": effect.kind,
        "wflo.effect.name": effect.name,
        "error.type": match &effect.state {
            EffectState::Failed { error, .. } => Some(error.code.clone()),
            _ => None,
        },
    }));
    let further = match effect.kind {
        EffectKind::Llm => json!({
            "gen_ai.operation.name": operation(effect),
            "gen_ai.provider.name": facts["dialect"],
            "gen_ai.request.model": facts["model"],
            "gen_ai.agent.name": facts["agent"],
            "gen_ai.usage.input_tokens": facts["input_tokens"],
            "gen_ai.usage.output_tokens": facts["output_tokens"],
            "http.response.status_code": facts["status"],
            "wflo.provider": facts["provider"],
            "wflo.cost_usd": effect.cost,
            "wflo.cost_uncertain": (effect.uncertain > NanoUsd::ZERO).then_some(true),
        }),
        EffectKind::Db => json!({
            "db.system.name": "sqlite",
            "db.namespace": facts["database"],
            "db.operation.name": effect.name,
            "db.query.text": effect.request.field("sql")
                .as_str()
                .map(|sql| sql.chars().take(STATEMENT).collect::<String>()),
        }),
        _ => Value::Null,
    };
    all.extend(object(further));
    all
}

/// What stands in a call's span beside what its effect says.
pub(super) fn of_call(call: &Call) -> Map<String, Value> {
    object(json!({ "wflo.tools_not_shown": (call.more_tools > 0).then_some(call.more_tools) }))
}

/// What a call asked and was answered: for who has opted in.
pub(super) fn of_content(contents: &Contents) -> Map<String, Value> {
    let mut left_out = (0, 0);
    let asked = contents.asked.as_ref().and_then(|asked| exported(asked, &mut left_out));
    let unread = match (&contents.request, &contents.asked) {
        (Some(request), None) => request.len(),
        _ => 0,
    };
    let answered = exported(&contents.answered, &mut left_out);
    object(json!({
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": answered,
        "wflo.messages_not_exported": (left_out.0 > 0).then_some(left_out.0),
        "wflo.bytes_not_exported": (left_out.1 + unread > 0).then_some(left_out.1 + unread),
    }))
}

/// The first messages, as JSON; adds how many were left out, and their bytes.
fn exported(said: &Said, left_out: &mut (u64, usize)) -> Option<Value> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for message in &said.messages {
        let json = serde_json::to_value(message).ok()?;
        let length = json.to_string().len();
        if bytes + length > EXPORTED {
            left_out.0 += 1;
            left_out.1 += length;
            continue;
        }
        bytes += length;
        all.push(json);
    }
    left_out.0 += said.more;
    (!all.is_empty()).then_some(Value::Array(all))
}

/// What a tool was asked to do: for who has opted in.
pub(super) fn of_arguments(arguments: &Value) -> Map<String, Value> {
    let bytes = arguments.to_string().len();
    object(json!({
        "gen_ai.tool.call.arguments": (bytes <= EXPORTED).then_some(arguments),
        "wflo.bytes_not_exported": (bytes > EXPORTED).then_some(bytes),
    }))
}

/// A tool that a model asked for.
pub(super) fn of_tool(key: &EffectKey, tool: &Tool) -> Map<String, Value> {
    object(json!({
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.name,
        "gen_ai.tool.call.id": (!tool.id.is_empty()).then_some(&tool.id),
        "wflo.step": key.step,
        "wflo.step.generation": key.generation,
        "wflo.effect.path": key.path,
        "wflo.effect.seq": key.seq,
    }))
}

pub(super) fn of_approval(approval: &Approval) -> Map<String, Value> {
    object(json!({
        "wflo.approval.id": approval.id,
        "wflo.approval.status": approval.status,
        "wflo.approval.by": approval.decision.as_ref().map(|decision| decision.by.clone()),
    }))
}

/// The object without what is null.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(all) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}
