//! YAML definitions (`flow.yaml`): the same DAG as a Python file's, written down.
//!
//! Owns the reading of the file: its keys, their types and their lines. What a definition means
//! (names, cycles, conditions) is judged by `wflo_core::definition`, which every language shares.
//! **Architecture Invariant:** `docs/schemas/workflow.schema.json` accepts what this accepts; a
//! test holds the two together.

mod fields;
mod steps;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use wflo_core::definition::Definition;
use wflo_core::error::{Code, Coded, Failure};

use crate::document::{Field, Kind, Problem, Reader, yaml};

/// A condition or a template names what is not there.
const NOT_THERE: Code = Code(1013);
/// A condition is not CEL, or names what no condition knows.
const BAD_CONDITION: Code = Code(1008);
const API_VERSION: &str = "wflo.dev/v1";

/// A definition that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DefinitionError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A mistake in the file.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// It reads well and means nothing valid; at least one problem.
    #[error("the workflow is not valid")]
    Invalid { problems: Vec<Failure> },
}

impl Coded for DefinitionError {
    fn code(&self) -> Code {
        Code(match self {
            DefinitionError::Unreadable { .. } => 1104,
            DefinitionError::Problem(problem) => match problem.kind {
                Kind::Syntax => 1101,
                Kind::UnknownKey => 1102,
                Kind::Missing | Kind::WrongValue => 1103,
                Kind::Later => 1010,
            },
            DefinitionError::Invalid { .. } => 1001,
        })
    }

    fn hint(&self) -> Option<String> {
        match self {
            DefinitionError::Problem(problem) => problem.hint.clone(),
            _ => None,
        }
    }

    fn to_failure(&self) -> Failure {
        let mut failure = match self {
            DefinitionError::Invalid { problems: failures } if !failures.is_empty() => {
                return failures[0].clone();
            }
            _ => Failure::new(self.code(), self.to_string()),
        };
        if let DefinitionError::Problem(problem) = self {
            failure = failure.at(problem.origin.to_string());
        }
        failure.hint = self.hint();
        failure
    }
}

/// Reads and validates a YAML file, shown to the user as `shown`.
///
/// # Errors
/// Any [`DefinitionError`], with the file's line.
pub(crate) fn load(path: &Path, shown: &str) -> Result<Definition, DefinitionError> {
    let unreadable = |source| DefinitionError::Unreadable { path: path.to_path_buf(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let json = to_json(shown, &text)?;
    Definition::parse(&json).map_err(|problems| DefinitionError::Invalid {
        problems: problems.into_iter().map(|problem| located(problem, &text)).collect(),
    })
}

/// A mistake in a condition or a template, where it is written: the line of its step or policy becomes
/// the line and column of the first such text in there.
fn located(mut problem: Failure, text: &str) -> Failure {
    let wanted = if problem.code == NOT_THERE.to_string() {
        problem.message.split_once("`: `").and_then(|(_, rest)| rest.split('`').next()).map(|name| (name, 0))
    } else if problem.code == BAD_CONDITION.to_string() {
        pointed(&problem.message)
    } else {
        None
    };
    let step = problem.place.as_deref().and_then(|place| place.rsplit_once(':'));
    let (Some((wanted, within)), Some((file, line))) = (wanted, step) else { return problem };
    let Ok(first) = line.parse::<usize>() else { return problem };
    let lines = text.lines().enumerate().skip(first.saturating_sub(1));
    let found = lines.into_iter().find_map(|(index, line)| {
        let at = line.find(wanted)?;
        Some((index + 1, line[..at].chars().count() + within + 1))
    });
    if let Some((line, column)) = found {
        problem.place = Some(format!("{file}:{line}:{column}"));
    }
    problem
}

/// The line of a condition that a message shows, and how many characters stand before its caret.
fn pointed(message: &str) -> Option<(&str, usize)> {
    let mut lines = message.lines().rev();
    let before = lines.next()?.strip_suffix('^')?.chars().count();
    let line = lines.next()?;
    let indent = line.len() - line.trim_start().len();
    Some((line.trim(), before.checked_sub(indent)?))
}

/// The file as the language-independent definition.
///
/// # Errors
/// The first mistake, with its line.
pub(crate) fn to_json(file: &str, text: &str) -> Result<Value, Problem> {
    let root = yaml::parse(file, text)?;
    let mut reader = Reader::root(&root)?;
    check_head(&mut reader)?;
    let mut out = Map::new();
    fields::put(&mut out, "name", Some(reader.required("name")?.name()?));
    fields::put(&mut out, "version", reader.optional("version").map(|label| read_label(&label)).transpose()?);
    if let Some(inputs) = reader.optional("inputs") {
        let read = |(name, field): (&str, Field<'_>)| Ok((name.to_owned(), read_input(&field)?));
        let inputs: Map<String, Value> =
            inputs.named()?.into_iter().map(read).collect::<Result<_, Problem>>()?;
        out.insert("inputs".to_owned(), inputs.into());
    }
    fields::put(&mut out, "budgets", fields::budgets(&mut reader)?);
    fields::put(&mut out, "timeout_seconds", fields::timeout(&mut reader)?);
    if let Some(sandbox) = reader.optional("sandbox") {
        out.insert("sandbox".to_owned(), read_sandbox(&sandbox)?);
    }
    if let Some(policies) = reader.optional("policies") {
        let policies: Vec<Value> = policies.list()?.iter().map(read_policy).collect::<Result<_, _>>()?;
        out.insert("policies".to_owned(), policies.into());
    }
    let steps = reader.required("steps")?;
    out.insert("steps".to_owned(), steps::read(&steps)?.into());
    reader.finish()?;
    Ok(out.into())
}

fn check_head(reader: &mut Reader<'_>) -> Result<(), Problem> {
    for (key, wanted) in [("apiVersion", API_VERSION), ("kind", "Workflow")] {
        let field = reader.required(key).map_err(|problem| problem.hint(format!("add `{key}: {wanted}`")))?;
        let given = field.text()?;
        if given != wanted {
            return Err(field.wrong(format!("`{wanted}`, not `{given}`")));
        }
    }
    Ok(())
}

/// `version: 2` and `version: "2"` are the same label.
fn read_label(field: &Field<'_>) -> Result<String, Problem> {
    field.parse::<String>()
}

fn read_input(field: &Field<'_>) -> Result<Value, Problem> {
    const KINDS: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
    let mut reader = field.table()?;
    let mut out = Map::new();
    let kinds = KINDS.map(|kind| (kind, kind));
    fields::put(&mut out, "type", reader.optional("type").map(|kind| kind.choice(&kinds)).transpose()?);
    fields::put(&mut out, "required", reader.optional("required").map(|flag| flag.boolean()).transpose()?);
    fields::put(&mut out, "default", reader.optional("default").map(|value| value.json()));
    fields::put(&mut out, "description", fields::text(&mut reader, "description")?);
    reader.finish()?;
    Ok(out.into())
}

/// The keys of `[sandbox]` that a workflow may ask for; mounts are the operator's.
fn read_sandbox(field: &Field<'_>) -> Result<Value, Problem> {
    let settings = crate::settings::Sandbox::read_requested(field)?;
    let mut out = Map::new();
    fields::put(&mut out, "backend", settings.backend.map(crate::settings::Backend::name));
    fields::put(&mut out, "memory_limit", settings.memory_limit);
    fields::put(&mut out, "cpu_limit", settings.cpu_limit);
    fields::put(&mut out, "pids_limit", settings.pids_limit);
    fields::put(&mut out, "disk_limit", settings.disk_limit);
    fields::put(&mut out, "inodes_limit", settings.inodes_limit);
    fields::put(&mut out, "io", Some(settings.io).filter(|io| !io.is_empty()));
    fields::put(&mut out, "network", Some(settings.network).filter(|network| !network.is_empty()));
    fields::put(&mut out, "timeout_seconds", settings.timeout);
    fields::put(&mut out, "allow_hosts", Some(settings.allow_hosts).filter(|hosts| !hosts.is_empty()));
    fields::put(&mut out, "env", Some(settings.env));
    fields::put(&mut out, "hide", Some(settings.hide));
    Ok(out.into())
}

fn read_policy(field: &Field<'_>) -> Result<Value, Problem> {
    let mut reader = field.table()?;
    let mut out = Map::new();
    fields::put(&mut out, "name", Some(reader.required("name")?.name()?));
    fields::put(&mut out, "condition", Some(reader.required("condition")?.name()?));
    let actions = reader.required("actions")?;
    let actions: Vec<Value> = actions.list()?.iter().map(read_action).collect::<Result<_, _>>()?;
    out.insert("actions".to_owned(), actions.into());
    fields::put(&mut out, "place", Some(reader.origin().to_string()));
    reader.finish()?;
    Ok(out.into())
}

fn read_action(field: &Field<'_>) -> Result<Value, Problem> {
    const KINDS: [&str; 5] = ["require_approval", "notify", "deny", "cap_budget", "route"];
    let mut reader = field.table()?;
    let mut out = Map::new();
    let kind = reader.required("type")?.choice(&KINDS.map(|kind| (kind, kind)))?;
    fields::put(&mut out, "type", Some(kind));
    match kind {
        "require_approval" => fields::put(&mut out, "approvers", fields::texts(&mut reader, "approvers")?),
        "notify" => fields::put(&mut out, "channel", Some(reader.required("channel")?.name()?)),
        "deny" => fields::put(&mut out, "reason", fields::text(&mut reader, "reason")?),
        "cap_budget" => {
            let amount = crate::settings::read_money(&reader.required("max_cost_usd")?)?;
            fields::put(&mut out, "max_cost_usd", Some(amount));
        }
        _ => fields::put(&mut out, "model", Some(reader.required("model")?.name()?)),
    }
    reader.finish()?;
    Ok(out.into())
}

#[cfg(test)]
mod tests;
