//! Wrong use, said in the one style: `error:`, `hint:`, then how it is used.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A usage error as its message, its hint, and the usage line.
pub(crate) struct Usage {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) usage: Option<String>,
}

/// Takes clap's error apart.
pub(crate) fn render(error: &clap::Error) -> Usage {
    let text = error.render().to_string();
    let (body, usage) = match text.split_once("\n\nUsage: ") {
        Some((body, rest)) => (body, rest.split("\n\n").next().map(str::trim_end)),
        None => (text.as_str(), None),
    };
    let mut message = Vec::new();
    let mut tips = Vec::new();
    for line in body.lines() {
        match line.trim() {
            "" => {}
            trimmed if trimmed.starts_with("For more information") => {}
            trimmed => match trimmed.strip_prefix("tip: ") {
                Some(tip) => tips.push(tip.to_owned()),
                None => message.push(trimmed.strip_prefix("error: ").unwrap_or(trimmed).to_owned()),
            },
        }
    }
    // `wflo run -- CMD` and `sandbox exec -- CMD` mean something of their own: clap's tip misleads.
    tips.retain(|tip| !tip.contains("use '-- "));
    let command = usage.unwrap_or_default();
    let hint = elsewhere(error, command)
        .or_else(|| deeper(error, command))
        .or_else(|| program(error, command))
        .or_else(|| a_path(error))
        .or_else(|| suggestion(error))
        .or_else(|| (!tips.is_empty()).then(|| tips.join("; ")))
        .or_else(|| missing(error).map(str::to_owned));
    Usage { message: message.join(" "), hint, usage: usage.map(str::to_owned) }
}

/// Where the value that is missing comes from.
fn missing(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    (error.kind() == ErrorKind::MissingRequiredArgument).then_some(())?;
    Some(match missing.first()?.as_str() {
        "<RUN>" => "`wflo runs list` lists runs; `latest` is the one started last",
        "<APPROVAL>" => "`wflo approvals list` lists what waits; `latest` is the newest of it",
        "<KEY>" => "`wflo keys list` lists keys",
        "<DIR>" => "name the folder to make, such as `wflo init my-agent`",
        "<SHELL>" => "such as `wflo completions bash`",
        "<CMD>..." => "write the command after --, such as `wflo sandbox exec -- python3 script.py`",
        _ => return None,
    })
}

/// A program that is to be run as it is stands behind `--`.
fn program(error: &clap::Error, command: &str) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_word = error.kind() == ErrorKind::UnknownArgument && !given.starts_with('-');
    (is_word && command.starts_with("wflo run ")).then(|| {
        format!(
            "a program with its arguments stands behind --, such as `wflo run --budget 2 -- python {given}`"
        )
    })
}

/// The run stands before the files. A value that is refused comes without the command that it was given to.
fn a_path(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else { return None };
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidValue) else { return None };
    let is_run = error.kind() == ErrorKind::ValueValidation && matches!(arg.as_str(), "[RUN]" | "<RUN>");
    (is_run && given.contains(['.', '/']))
        .then(|| format!("files stand behind the run, such as `wflo diff latest {given}`"))
}

/// What other proxies call so.
fn elsewhere(error: &clap::Error, command: &str) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    (error.kind() == ErrorKind::UnknownArgument).then_some(())?;
    let given = given.split('=').next()?;
    let command =
        ["gateway", "keys update"].into_iter().find(|name| command.starts_with(&format!("wflo {name}")))?;
    let hint = match (command, given) {
        ("gateway", "--port" | "-p" | "--host" | "--bind" | "--address") => {
            "write address and port as one, such as `wflo gateway --listen 127.0.0.1:4000`"
        }
        ("gateway", "--config" | "-c") => {
            "settings come from wflo.toml in the project's folder; `--project DIR` names another folder"
        }
        ("gateway", "--model" | "-m" | "--alias" | "--api_base" | "--api-base") => {
            "models and providers come from wflo.toml in the project's folder, or from the environment"
        }
        ("gateway", "--num_workers" | "--num-workers" | "--workers") => {
            "`--threads N` says how many threads serve; one process uses every core without it"
        }
        ("gateway", "--debug" | "--detailed_debug" | "--detailed-debug") => {
            "`--log` writes a line for each call, `-v` more about what happens"
        }
        ("gateway", "--ssl_certfile_path" | "--ssl_keyfile_path" | "--ssl-certfile" | "--ssl-keyfile") => {
            "a certificate is given by `--tls-cert FILE --tls-key FILE`"
        }
        ("keys update", "--name") => {
            "a key keeps its name, by which budgets, metrics and reports know it; `wflo keys create` makes another"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What stands one level below.
fn deeper(error: &clap::Error, command: &str) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    command.ends_with("[OPTIONS] <COMMAND>").then_some(())?;
    (command.split_whitespace().count() == 3).then_some(())?;
    let below = match given.as_str() {
        "list" | "ls" | "ps" => "runs list",
        "show" | "status" | "describe" => "runs show latest",
        "events" | "logs" | "log" | "tail" => "runs events latest --follow",
        "resume" | "continue" => "runs resume latest",
        "retry" | "rerun" => "runs retry latest",
        "cancel" | "stop" | "kill" => "runs cancel latest",
        "pause" => "runs pause latest",
        "trace" => "runs trace latest",
        "approve" => "approvals approve latest",
        "reject" | "deny" => "approvals reject latest",
        "exec" => "sandbox exec -- CMD",
        "rollback" | "undo" | "restore" => "snapshots list latest",
        "report" | "cost" => "costs report",
        "proxy" | "serve" | "server" => "gateway",
        _ => return None,
    };
    Some(format!("did you mean `wflo {below}`?"))
}

/// "did you mean" from clap's suggestions, the nearest of them.
fn suggestion(error: &clap::Error) -> Option<String> {
    let (given, suggested) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::InvalidValue => (ContextKind::InvalidValue, ContextKind::SuggestedValue),
        _ => return None,
    };
    let given = match error.get(given) {
        Some(ContextValue::String(given)) => given.as_str(),
        _ => "",
    };
    let near = match error.get(suggested)? {
        ContextValue::String(one) => one,
        ContextValue::Strings(several) => {
            several.iter().min_by_key(|candidate| strsim::damerau_levenshtein(given, candidate))?
        }
        _ => return None,
    };
    Some(format!("did you mean `{near}`?"))
}
