//! `wflo run -- CMD`: which program is meant, and whether it can work as things are.

use std::path::{Path, PathBuf};

use wflo_core::error::{Code, Failure};
use wflo_engine::Source;
use wflo_engine::images::{Images, Installed};
use wflo_engine::interpreter::Surroundings;
use wflo_engine::program::{Program, Search};
use wflo_sandbox::workspace::state_root;

use super::agent::{self, Agent};
use crate::cli::RunArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::interpreter;
use crate::settings::{Environment, Settings};

/// An argument that cannot be recorded.
const NOT_TEXT: Code = Code(8100);
/// The folder is no project.
const NO_PROJECT: Code = Code(8101);
/// There is no such program.
const NOT_FOUND: &str = "WFLO-3103";
/// A program whose models nobody provides.
const NO_PROVIDER: Code = Code(8102);

/// What of the user's environment a program has: what language it speaks and whether it colours.
const VARIABLES: [&str; 11] = [
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "TZ",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
];

/// The program, as a submission names it.
///
/// # Errors
/// That it cannot be found, shown or recorded; that nobody answers its model calls.
pub(super) fn resolve(
    args: &RunArgs,
    settings: &Settings,
    installed: &Installed,
    context: &Context<'_>,
) -> Result<Source, CommandError> {
    let argv = args.command.iter().map(|word| word.to_str().map(str::to_owned));
    let argv = argv.collect::<Option<Vec<String>>>().ok_or_else(|| {
        let failure = Failure::new(NOT_TEXT, "an argument of the program is no text (UTF-8)");
        CommandError::usage(vec![failure.with_hint("a run is recorded with what was typed: rename the file")])
    })?;
    let root = &settings.project.root;
    let environment = context.environment;
    let variable = |name: &str| environment.get(name).map(Into::into);
    let around = Surroundings::new(root, Some(&settings.data_dir), variable);
    is_project(root, &around)?;
    let current = context.current.canonicalize().unwrap_or_else(|_| context.current.clone());
    let folder = if current.starts_with(root) { &current } else { root };
    let search = OnPath { root, environment };
    let name = argv.first().map(String::as_str).unwrap_or_default();
    let found = match brought(name, installed, &state_root(root, &settings.data_dir))? {
        Some(Brought::Python) => Ok(Program::of_packages(name, folder, &around)),
        Some(Brought::System(file)) => {
            // What the machine has itself comes first, as it does in every sandbox.
            Program::find(name, folder, &search, &around).or(Ok(Program::of_system(file, folder, &around)))
        }
        None => Program::find(name, folder, &search, &around),
    };
    let mut program = found.map_err(|failure| CommandError {
        exit: Exit::Command(not_begun(&failure)),
        failures: vec![failure],
    })?;
    let passed =
        VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())));
    program.variables = passed.collect();
    if installed.python.is_some() {
        program.find_packages();
    } else if let Some(active) = environment.get("VIRTUAL_ENV").map(PathBuf::from)
        && std::env::split_paths(&program.path).any(|folder| folder == active.join("bin"))
    {
        program.variables.insert("VIRTUAL_ENV".to_owned(), active.display().to_string());
    }
    if args.replay.is_none()
        && let Some((agent, words)) = agent::of(&argv, &program.file, folder)
    {
        has_provider(agent, words, settings, environment)?;
    }
    Ok(Source::Program { argv, program: Box::new(program) })
}

/// What brings a program.
enum Brought {
    Python,
    /// Where it is in sandboxes.
    System(PathBuf),
}

fn brought(name: &str, installed: &Installed, images: &Path) -> Result<Option<Brought>, CommandError> {
    let Installed { python, system } = installed;
    if python.is_none() && system.is_none() {
        return Ok(None);
    }
    let images = Images::open_in(images)?;
    if python.as_ref().is_some_and(|ready| ready.has_program(name, &images)) {
        return Ok(Some(Brought::Python));
    }
    Ok(system.as_ref().and_then(|system| system.program(name, &images)).map(Brought::System))
}

/// Files of databases are not shown: said where a program of the project may miss them.
pub(super) fn report_hidden(settings: &Settings, context: &Context<'_>) {
    let root = &settings.project.root;
    let files = settings.databases.values().map(|database| &database.path).filter(|path| path.is_file());
    let named: Vec<String> =
        files.filter_map(|path| Some(path.strip_prefix(root).ok()?.display().to_string())).collect();
    if !named.is_empty() {
        context.printer.note(format_args!(
            "note: the program does not see {} ([databases] in wflo.toml): steps of workflows reach it through `context.db`",
            named.join(", ")
        ));
    }
}

/// As shells end for a program that they do not find, and for one that they may not start.
fn not_begun(failure: &Failure) -> u8 {
    if failure.code == NOT_FOUND { 127 } else { 126 }
}

/// A run seals its project: nobody means their whole home folder.
fn is_project(root: &Path, around: &Surroundings) -> Result<(), CommandError> {
    if root.parent().is_some() && around.home.as_deref() != Some(root) {
        return Ok(());
    }
    let message =
        format!("{} is no project: all of it would be copied and shown to the program", root.display());
    let hint = "go to the folder that the program is to work in, or name it with --project DIR";
    Err(CommandError::usage(vec![Failure::new(NO_PROJECT, message).with_hint(hint)]))
}

/// Refuses an agent whose models nobody provides, before it fails in its own words; `words` are its arguments.
fn has_provider(
    agent: &Agent,
    words: &[String],
    settings: &Settings,
    environment: &Environment,
) -> Result<(), CommandError> {
    let asks_nothing = |word: &String| matches!(word.as_str(), "--version" | "-v" | "-V" | "--help" | "-h");
    let Agent { name, dialect, key, .. } = agent;
    let provided = settings.providers.iter().any(|(_, provider)| provider.dialect == *dialect)
        || environment.get(key).is_some()
        || environment.get(&key.replace("API_KEY", "BASE_URL")).is_some();
    if provided || words.iter().any(asks_nothing) {
        return Ok(());
    }
    let dialect = dialect.name();
    let message = format!("{name} would find no model: no provider of the dialect `{dialect}` is configured");
    let hint = format!(
        "set {key}, or add [providers.NAME] with dialect = \"{dialect}\" to wflo.toml; a subscription's \
         login is in your home folder, which no sandbox sees"
    );
    Err(CommandError::usage(vec![Failure::new(NO_PROVIDER, message).with_hint(hint)]))
}

/// The user's search path. What a version manager's shim stands for is read, as for the project's Python.
struct OnPath<'a> {
    root: &'a Path,
    environment: &'a Environment,
}

impl Search for OnPath<'_> {
    fn find(&self, name: &str) -> Option<PathBuf> {
        interpreter::on_path(&[name], self.root, self.environment)
    }

    fn folders(&self) -> Vec<PathBuf> {
        let path = self.environment.get("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_program_without_a_provider_is_told_so_before_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let location = crate::settings::Location {
            project: None,
            data_dir: None,
            workflow: None,
            current: folder.path().to_owned(),
        };
        let said = |words: &[&str], variables: &[(&str, &str)]| {
            let environment = Environment::of(variables);
            let settings = Settings::load(&location, &environment).unwrap();
            let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let (agent, words) = agent::of(&argv, Path::new(words[0]), folder.path())?;
            let refused = has_provider(agent, words, &settings, &environment);
            refused.err().map(|error| error.failures[0].code.clone())
        };
        assert_eq!(said(&["claude"], &[]).as_deref(), Some("WFLO-8102"));
        assert_eq!(said(&["codex", "exec"], &[]).as_deref(), Some("WFLO-8102"));
        assert_eq!(said(&["npx", "-y", "@openai/codex"], &[]).as_deref(), Some("WFLO-8102"));
        assert_eq!(said(&["npx", "claude"], &[("ANTHROPIC_API_KEY", "sk-x")]), None);
        assert_eq!(said(&["codex"], &[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]), None);
        assert_eq!(said(&["npx", "claude", "--version"], &[]), None);
        assert_eq!(said(&["python"], &[]), None);
        std::fs::write(folder.path().join("wflo.toml"), "[providers.p]\ndialect = \"anthropic\"\n").unwrap();
        assert_eq!(said(&["claude"], &[]), None);
    }

    #[test]
    fn a_home_folder_is_no_project() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let around = |root: &Path| Surroundings::new(root, None, |_| Some(home.clone().into_os_string()));
        assert!(is_project(&home, &around(&home)).is_err());
        assert!(is_project(Path::new("/"), &around(Path::new("/"))).is_err());
        let inside = home.join("project");
        assert!(is_project(&inside, &around(&inside)).is_ok());
    }
}
