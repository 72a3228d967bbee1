//! Which workflow is meant: `workflow.py`, `workflow.mjs`, `workflow.py:attribute`, `package.module:attribute`,
//! or a YAML file.

use std::path::Path;

use wflo_core::definition::Definition;
use wflo_core::error::{Code, Failure};
use wflo_engine::Source;

use crate::definition;
use crate::document::nearest;
use crate::failure::{CliError, CommandError};
use crate::settings::Settings;

/// A workflow that was found.
#[derive(Debug, Clone)]
pub(crate) enum Workflow {
    /// Python or JavaScript, to be asked for its definition in a sandbox: `file` or `file:attribute`, the file
    /// relative to the project, or `package.module:attribute`.
    Code(String),
    /// A YAML file, relative to the project, and its definition.
    Written { file: String, definition: Box<Definition> },
}

impl Workflow {
    /// The same for a submission.
    ///
    /// # Errors
    /// A definition that is not JSON.
    pub(crate) fn into_source(self) -> Result<Source, CommandError> {
        match self {
            Workflow::Code(entry) => Ok(Source::Code(entry)),
            Workflow::Written { file, definition } => {
                let definition = serde_json::to_value(&*definition)
                    .map_err(|e| CommandError::from_failure(Failure::new(Code(9006), e.to_string())))?;
                Ok(Source::Definition { definition, file: Some(file) })
            }
        }
    }
}

/// Resolves what was typed, else what `wflo.toml` names, else the one usual file that is there.
///
/// # Errors
/// When there is none, when the file is missing, or when a YAML definition is not valid.
pub(crate) fn resolve(
    given: Option<&str>,
    settings: &Settings,
    current: &Path,
) -> Result<Workflow, CommandError> {
    let root = &settings.project.root;
    if let Some(given) = given {
        return named(given, root, (current, false));
    }
    if let Some(configured) = &settings.project.workflow {
        return named(configured, root, (root, true));
    }
    let usual = ["workflow.py", "workflow.mjs", "flow.yaml", "workflow.yaml"]
        .into_iter()
        .find(|name| root.join(name).is_file());
    let usual = usual.ok_or_else(|| CliError::NoWorkflow { looked_in: root.display().to_string() })?;
    named(usual, root, (root, false))
}

/// The workflow of a name below `base`, and whether it is the settings that give the name.
fn named(name: &str, root: &Path, (base, in_settings): (&Path, bool)) -> Result<Workflow, CommandError> {
    let existing = |name: &str| {
        let path = base.join(name);
        if path.is_file() { Ok(path) } else { Err(missing(name, (base, in_settings))) }
    };
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    match extension {
        Some("yaml" | "yml") => {
            let path = existing(name)?;
            let file = relative(&path, root);
            let definition = definition::load(&path, &file).map_err(|error| match error {
                definition::DefinitionError::Invalid { problems } => CommandError::usage(problems),
                error => error.into(),
            })?;
            Ok(Workflow::Written { file, definition: Box::new(definition) })
        }
        Some("py" | "mjs" | "js") => Ok(Workflow::Code(relative(&existing(name)?, root))),
        _ if is_module(name) => Ok(Workflow::Code(name.to_owned())),
        Some(_) if file_of(name) != name => {
            let attribute = name.strip_prefix(file_of(name)).unwrap_or_default();
            Ok(Workflow::Code(format!("{}{attribute}", relative(&existing(file_of(name))?, root))))
        }
        _ if base.join(name).exists() => Err(CliError::OtherFile { path: name.to_owned() }.into()),
        _ => Err(missing(name, (base, in_settings)).into()),
    }
}

/// The file of `file.py:attribute`; anything else as it is.
pub(crate) fn file_of(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((file, attribute)) if is_code(file) && is_dotted(attribute) => file,
        _ => name,
    }
}

/// The name of a file that is code.
fn is_code(name: &str) -> bool {
    [".py", ".mjs", ".js"].iter().any(|end| name.ends_with(end))
}

/// The file's path in the project; absolute when it is elsewhere.
fn relative(path: &Path, root: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    whole.strip_prefix(root).unwrap_or(&whole).display().to_string()
}

/// `package.module:attribute`. `workflow.py:attribute` is a file, not the module `py` of a package.
fn is_module(name: &str) -> bool {
    name.split_once(':')
        .is_some_and(|(module, attribute)| is_dotted(module) && !is_code(module) && is_dotted(attribute))
}

/// Python names with dots between them.
fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The refusal, with the workflow file beside it whose name is nearest.
fn missing(name: &str, (base, in_settings): (&Path, bool)) -> CliError {
    let wanted = Path::new(name);
    let folder = base.join(wanted.parent().unwrap_or(Path::new("")));
    let names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| [".py", ".mjs", ".js", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)))
        .collect();
    let last = wanted.file_name().and_then(|name| name.to_str()).unwrap_or(name);
    let near = nearest(last, names.iter().map(String::as_str)).map(str::to_owned);
    CliError::MissingWorkflow { path: name.to_owned(), near, in_settings }
}
