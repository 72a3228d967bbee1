//! `wflo init DIR`: a project that runs as it is.

mod model;
mod template;

use std::path::{Path, PathBuf};

use serde::Serialize;
use wflo_core::error::{Code, Coded};

use crate::cli::InitArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::settings::{Location, Settings};
use crate::trust;

use model::Model;

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("already there: {}", found.join(", "))]
    Occupied { folder: PathBuf, found: Vec<String> },
    #[error("{} is a file, not a folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error("the example database cannot be made: {source}")]
    Database { source: rusqlite::Error },
    #[error("this folder is called {name} already: a project of that name would be {name}/{name}")]
    Nested { name: String },
    #[error("`{name}` cannot be a project's name")]
    Name { name: String },
}

impl Coded for InitError {
    fn code(&self) -> Code {
        Code(match self {
            InitError::Occupied { .. } | InitError::NotAFolder { .. } | InitError::Nested { .. } => 8009,
            InitError::Database { .. } => 8012,
            InitError::Name { .. } => 8001,
        })
    }

    fn hint(&self) -> Option<String> {
        match self {
            InitError::Occupied { folder, .. } => Some(format!(
                "nothing was written; choose another folder than {}, or move these files away",
                folder.display()
            )),
            InitError::NotAFolder { .. } => Some("choose another name".to_owned()),
            InitError::Database { .. } => None,
            InitError::Nested { name } => Some(format!(
                "`wflo init .` makes the project in this folder, `wflo init ./{name}` one below it"
            )),
            InitError::Name { .. } => {
                Some("use letters, digits, _ and -, starting with a letter: --name my-agent".to_owned())
            }
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made<'a> {
    project: &'a Path,
    name: &'a str,
    files: Vec<&'a str>,
    model: Option<&'a Model>,
}

/// Makes the project.
pub(crate) fn run(args: &InitArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    // `./x` says that a folder below is meant.
    if context.current.file_name() == Some(args.folder.as_os_str())
        && !args.folder.as_os_str().as_encoded_bytes().contains(&b'/')
        && !context.current.join(&args.folder).exists()
    {
        return Err(InitError::Nested { name: args.folder.display().to_string() }.into());
    }
    let folder = context.current.join(&args.folder);
    let name = project_name(args, &folder)?;
    if folder.exists() && !folder.is_dir() {
        return Err(InitError::NotAFolder { path: args.folder.clone() }.into());
    }
    let is_there = |name: &&str| folder.join(name).exists();
    let [readme, otherwise] = template::READMES;
    let readme = if is_there(&readme) { otherwise } else { readme };
    // Occupied folders are refused before anything else takes time.
    let found = ["workflow.py", "wflo.toml", readme, template::DATABASE];
    let found: Vec<String> = found.into_iter().filter(is_there).map(str::to_owned).collect();
    if !found.is_empty() {
        return Err(InitError::Occupied { folder: args.folder.clone(), found }.into());
    }
    let model = if args.no_model { None } else { model::pick(context.environment) };
    let mut files = template::files(&name, model.as_ref(), readme).to_vec();
    files.retain(|(path, _)| *path != template::GITIGNORE_NAME || !is_there(path));
    for (path, text) in &files {
        write_new(&folder.join(path), text)?;
    }
    make_database(&folder.join(template::DATABASE))?;
    trust_from_birth(&folder, context)?;
    let made = files.iter().map(|(path, _)| *path).chain([template::DATABASE]).collect();
    report(
        args,
        context,
        &Made { project: &folder, name: &name, files: made, model: model.as_ref() },
        readme,
    );
    Ok(Exit::Success)
}

/// What this machine's user has made needs nobody's word.
fn trust_from_birth(folder: &Path, context: &Context<'_>) -> Result<(), CommandError> {
    let location = Location {
        project: Some(folder.to_owned()),
        current: context.current.clone(),
        ..Location::default()
    };
    let settings = Settings::load(&location, context.environment)?;
    if settings.asked.is_empty() { Ok(()) } else { trust::accept(&settings, &settings.asked) }
}

/// The name given, else the folder's with what a name cannot hold replaced.
fn project_name(args: &InitArgs, folder: &Path) -> Result<String, InitError> {
    if let Some(given) = &args.name {
        return if is_name(given) { Ok(given.clone()) } else { Err(InitError::Name { name: given.clone() }) };
    }
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let whole = std::fs::canonicalize(&whole).unwrap_or(whole);
    let last = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(64).collect();
    let name = name.trim_matches('-').to_owned();
    Ok(if is_name(&name) { name } else { "my-agent".to_owned() })
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let refuse = |source| CliError::File { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refuse)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(refuse)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(refuse)
}

fn make_database(path: &Path) -> Result<(), CommandError> {
    if let Some(folder) = path.parent() {
        let refuse = |source| CliError::File { path: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(refuse)?;
    }
    let make = || {
        let connection = rusqlite::Connection::open(path)?;
        connection.execute_batch(template::TICKETS)
    };
    make().map_err(|source| InitError::Database { source })?;
    Ok(())
}

fn report(args: &InitArgs, context: &Context<'_>, made: &Made<'_>, readme: &str) {
    let Made { project: folder, name, model, .. } = *made;
    let printer = context.printer;
    let paint = printer.paint();
    printer.object(made);
    printer.line(format_args!("Made the project {} in {}.", paint.strong(name), args.folder.display()));
    match model {
        Some(model) => printer.line(format_args!("Its model is {} ({}).", paint.strong(&model.name), model.found)),
        None if args.no_model => {}
        None => printer.line(format_args!(
            "It has no model step: no key is in the environment and no model server answers on this machine.\n\
             {readme} says how to add one."
        )),
    }
    let around = folder.parent().into_iter().flat_map(Path::ancestors);
    if let Some(outer) = around.into_iter().find(|outer| outer.join("wflo.toml").is_file()) {
        printer.note(format_args!(
            "note: it lies within the project {}, whose runs see its files, too",
            outer.display()
        ));
    }
    let here = folder == context.current || args.folder == Path::new(".");
    let enter = if here { String::new() } else { format!("  cd {}\n", args.folder.display()) };
    printer.line(format_args!("\nNext:\n{enter}  wflo run --require-approval   # shows what it would change, and asks\n  wflo run                      # does it at once"));
}
