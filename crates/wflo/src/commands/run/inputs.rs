//! A run's inputs: files in their order, then `--input`, each over what came before.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{InputFile, RunArgs};
use crate::failure::CliError;

/// More than this is data, not inputs: put it into a file of the project or a database.
const MOST_BYTES: u64 = 16 << 20;

/// Reads and merges.
///
/// # Errors
/// [`CliError::Input`] naming the file.
pub(crate) fn gather(args: &RunArgs, current: &Path) -> Result<Map<String, Value>, CliError> {
    let mut inputs = Map::new();
    for file in &args.input_files {
        inputs.extend(read(file, current)?);
    }
    inputs.extend(args.inputs.iter().map(|input| (input.name.clone(), input.value.clone())));
    Ok(inputs)
}

/// What the SDK hands over on standard input: `{definition, inputs}`.
#[derive(Debug, Deserialize)]
pub(super) struct Handed {
    /// The workflow as the calling script has it.
    pub(super) definition: Value,
    /// The run's inputs.
    pub(super) inputs: Map<String, Value>,
}

/// Reads what the SDK hands over.
///
/// # Errors
/// [`CliError::Input`].
pub(super) fn handed(current: &Path) -> Result<Handed, CliError> {
    let object = read(&InputFile::Stdin, current)?;
    serde_json::from_value(Value::Object(object)).map_err(|error| CliError::Input {
        source_name: "standard input".to_owned(),
        reason: format!("this is not what the SDK hands over: {error}"),
        hint: "install the wflo-ai that belongs to this wflo".to_owned(),
    })
}

fn read(file: &InputFile, current: &Path) -> Result<Map<String, Value>, CliError> {
    let shown = match file {
        InputFile::Stdin => "standard input".to_owned(),
        InputFile::Path(path) => path.display().to_string(),
    };
    let refuse = |reason: String, hint: &str| CliError::Input {
        source_name: shown.clone(),
        reason,
        hint: hint.to_owned(),
    };
    let mut text = String::new();
    let read = match file {
        InputFile::Stdin => std::io::stdin().lock().take(MOST_BYTES + 1).read_to_string(&mut text),
        InputFile::Path(path) => std::fs::File::open(current.join(path))
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| refuse(error.to_string(), "give a JSON file, or - for standard input"))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(refuse(
            "inputs are larger than 16 MiB".to_owned(),
            "put large data into a file of the project or a database",
        ));
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(refuse("the inputs are not a JSON object".to_owned(), "write {\"name\": value, …}")),
        Err(error) => Err(refuse(format!("this is not JSON: {error}"), "write {\"name\": value, …}")),
    }
}
