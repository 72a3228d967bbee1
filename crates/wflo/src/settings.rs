//! What a project is configured to be: flags over environment over `wflo.toml` over defaults.
//!
//! Owns the parsed settings and where they come from. It opens no database and starts nothing;
//! keys are only named here and fetched when a command needs one (`secret`).
//! **Architecture Invariant:** a setting that exists is valid, and one that cannot be honoured yet
//! is refused by name. Nothing in `wflo.toml` is ignored.

mod approvals;
mod budget;
mod cache;
mod cloud;
mod data_dir;
mod database;
mod environment;
mod error;
mod gateway;
mod host_secret;
mod metrics;
mod model;
mod outline;
mod packages;
mod project;
mod provider;
mod routing;
mod sandbox;
mod secret;
mod snapshots;
mod traces;

pub(crate) use approvals::Approvals;
pub(crate) use budget::{read_budget, read_money};
pub(crate) use cloud::{CloudSettings, ProjectCloud};
pub(crate) use database::SqliteUrl;
pub(crate) use environment::Environment;
pub(crate) use error::SettingsError;
pub(crate) use gateway::Gateway;
pub(crate) use host_secret::{HostSecret, ProjectSecrets};
pub(crate) use metrics::{Metrics, Ports};
pub(crate) use model::Model;
pub(crate) use outline::{Difference, Outline};
pub(crate) use packages::Packages;
pub(crate) use project::{FILE_NAME, Project};
pub(crate) use provider::{Dialect, Provider};
pub(crate) use sandbox::{Backend, Mount, Sandbox, parse_backend, read_seconds};
pub(crate) use secret::KeySource;
pub(crate) use snapshots::Snapshots;
pub(crate) use traces::Traces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::size::Bytes;
use wflo_gateway::cache::CacheSettings;
use wflo_gateway::routing::Routing;
use wflo_sandbox::workspace::{HideRules, RelPath};

use crate::document::{Field, Kind, Node, Origin, Problem, Reader, Table, Value};
use crate::trust::Asked;

/// What the command line says about where to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Location {
    /// `--project`.
    pub(crate) project: Option<PathBuf>,
    /// `--data-dir`.
    pub(crate) data_dir: Option<PathBuf>,
    /// The workflow's file, when it was given.
    pub(crate) workflow: Option<PathBuf>,
    /// The current folder.
    pub(crate) current: PathBuf,
}

/// The settings of one project.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) project: Project,
    /// Where runs, approvals and the journal are kept.
    pub(crate) data_dir: PathBuf,
    /// In the order of the file, in which they are asked.
    pub(crate) providers: Vec<(String, Provider)>,
    pub(crate) models: BTreeMap<String, Model>,
    /// How model calls find their way.
    pub(crate) routing: Routing,
    /// Model calls that need not be made again.
    pub(crate) cache: Option<CacheSettings>,
    /// `[budget]`, then `[[budgets]]`.
    pub(crate) budgets: Vec<BudgetSpec>,
    /// The same for `wflo gateway`: `[budget]` is the limit on all of its calls.
    pub(crate) gateway_budgets: Vec<BudgetSpec>,
    /// `[gateway]`.
    pub(crate) gateway: Gateway,
    pub(crate) sandbox: Sandbox,
    /// Secrets of hosts.
    pub(crate) secrets: BTreeMap<String, HostSecret>,
    pub(crate) databases: BTreeMap<String, SqliteUrl>,
    /// Databases whose writes may be approved although a part of them can neither be shown nor bound.
    pub(crate) unseen: BTreeSet<String>,
    /// The store's file.
    pub(crate) storage: PathBuf,
    /// The most that one run may journal.
    pub(crate) journal_limit: Bytes,
    /// What people are asked about whatever a run says.
    pub(crate) approvals: Approvals,
    /// Which files of runs `wflo snapshots prune` frees.
    pub(crate) snapshots: Snapshots,
    /// What traces are made of.
    pub(crate) traces: Traces,
    /// Where what is counted is served.
    pub(crate) metrics: Metrics,
    /// What the project's file asks for beyond its own sandbox.
    pub(crate) asked: Vec<Asked>,
    /// The parts of the file.
    pub(crate) outline: Outline,
}

impl Settings {
    /// Finds the project, reads its `wflo.toml` if it has one, and lays the environment over it.
    ///
    /// # Errors
    /// Any [`SettingsError`]; the first mistake in the file, with its line.
    pub(crate) fn load(location: &Location, environment: &Environment) -> Result<Self, SettingsError> {
        let found = project::find(location)?;
        let mut root = match &found.file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|source| SettingsError::Unreadable { path: file.clone(), source })?;
                crate::document::toml::parse(&project::shown(file, &location.current), &text)?
            }
            None => empty(),
        };
        let asked = crate::trust::asked(&root, &found.root);
        let outline = Outline::of(&root);
        environment.overlay(&mut root)?;
        let settings = Settings { asked, outline, ..read(&root, found, location)? };
        if location.data_dir.is_none() {
            data_dir::check(&settings.data_dir)?;
        }
        Ok(settings)
    }

    /// What steps never see and no apply writes, as the settings say it.
    pub(crate) fn hide_rules(&self) -> HideRules {
        let storage = std::path::absolute(&self.storage).unwrap_or_else(|_| self.storage.clone());
        HideRules::new(&self.data_dir, &storage)
            .with_databases(self.databases.values().map(|database| database.path.clone()))
            .with_globs(self.sandbox.hide.iter().cloned())
    }

    /// What of the project its key commands run, outside of every sandbox, and the folders of that.
    pub(crate) fn programs(&self) -> Vec<RelPath> {
        let providers = self.providers.iter().filter_map(|(_, provider)| provider.key.as_ref());
        let secrets = self.secrets.values().map(|secret| &secret.source);
        let sources = providers.chain(secrets).chain(self.sandbox.cloud.source());
        let commands = sources.filter_map(KeySource::command);
        commands.flat_map(|words| crate::trust::guarded(words, &self.project.root)).collect()
    }

    /// The defaults for the project whose file cannot be read, without the environment.
    ///
    /// # Errors
    /// [`SettingsError::NoFolder`].
    pub(crate) fn without_file(location: &Location) -> Result<Self, SettingsError> {
        read(&empty(), project::find(location)?, location)
    }
}

/// The tree of a file that is not there.
fn empty() -> Node {
    Node { value: Value::Table(Table::default()), origin: Origin::Line { file: FILE_NAME.into(), line: 1 } }
}

fn read(root: &Node, found: project::Found, location: &Location) -> Result<Settings, SettingsError> {
    let mut reader = Reader::root(root)?;
    let project = Project::read(reader.optional("project"), &found)?;
    let mut providers = Vec::new();
    for (name, field) in reader.optional("providers").map_or(Ok(Vec::new()), |field| field.named())? {
        providers.push((name.to_owned(), Provider::read(&field, &project.root)?));
    }
    let names: Vec<&str> = providers.iter().map(|(name, _)| name.as_str()).collect();
    let models = named(reader.optional("models"), Model::read)?;
    let routing = routing::read(
        &mut reader,
        names.iter().copied(),
        models.iter().map(|(name, (_, model))| (name.as_str(), &model.detour)),
    )?;
    let cache = reader.optional("cache").map(|field| cache::read(&field)).transpose()?;
    let one = reader.optional("budget").map(|field| budget::read_one(&field)).transpose()?;
    let several = reader.optional("budgets").map(|field| field.list()).transpose()?.unwrap_or_default();
    let several = several.iter().map(budget::read_scoped).collect::<Result<Vec<_>, _>>()?;
    let of_gateway = one.clone().map(|one| BudgetSpec { per: Per::Gateway, ..one });
    let gateway_budgets = of_gateway.into_iter().chain(several.iter().cloned()).collect();
    let budgets = one.into_iter().chain(several).collect();
    let gateway =
        reader.optional("gateway").map(|field| Gateway::read(&field)).transpose()?.unwrap_or_default();
    let secrets = named(reader.optional("secrets"), |field| HostSecret::read(field, &project.root))?;
    let sandbox = match reader.optional("sandbox") {
        Some(field) => {
            let sandbox = Sandbox::read(&field, &project.root)?;
            let keys = providers.iter().filter_map(|(_, provider)| provider.key.as_ref());
            let values = secrets.values().map(|(_, secret)| &secret.source);
            keep_keys_out(&field, &sandbox, keys.chain(values))?;
            sandbox
        }
        None => Sandbox::default(),
    };
    let databases = named(reader.optional("databases"), |field| database::read(field, &project.root))?;
    let data_dir = location
        .data_dir
        .as_ref()
        .map_or_else(|| data_dir::default(&project.root), |given| location.current.join(given));
    let storage = match reader.optional("storage") {
        Some(field) => database::read_storage(&field, &project.root)?,
        None => database::Storage::default(),
    };
    let snapshots =
        reader.optional("snapshots").map(|field| Snapshots::read(&field)).transpose()?.unwrap_or_default();
    let approvals =
        reader.optional("approvals").map(|field| Approvals::read(&field)).transpose()?.unwrap_or_default();
    let metrics =
        reader.optional("metrics").map(|field| Metrics::read(&field)).transpose()?.unwrap_or_default();
    let traces = reader.optional("traces").map(|field| Traces::read(&field)).transpose()?.unwrap_or_default();
    reader.finish()?;
    if let Some((field, model)) = models.values().find_map(|(field, model)| {
        model.provider.as_ref().filter(|name| !names.contains(&name.as_str())).map(|name| (field, name))
    }) {
        let problem =
            field.problem(Kind::WrongValue, format!("names the provider `{model}`, which is not there"));
        return Err(problem.hint(dangling_hint(model, &names)).into());
    }
    Ok(Settings {
        storage: storage.file.unwrap_or_else(|| data_dir.join("wflo.db")),
        journal_limit: storage.journal_limit.unwrap_or(database::JOURNAL_LIMIT),
        approvals,
        snapshots,
        metrics,
        traces,
        asked: Vec::new(),
        outline: Outline::default(),
        project,
        data_dir,
        providers,
        models: models.into_iter().map(|(name, (_, model))| (name, model)).collect(),
        routing,
        cache,
        budgets,
        gateway_budgets,
        gateway,
        sandbox,
        secrets: secrets.into_iter().map(|(name, (_, secret))| (name, secret)).collect(),
        unseen: databases
            .iter()
            .filter(|(_, (_, (_, unseen)))| *unseen)
            .map(|(name, _)| name.clone())
            .collect(),
        databases: databases.into_iter().map(|(name, (_, (url, _)))| (name, url)).collect(),
    })
}

/// The gateway holds the providers' keys, the proxy those of hosts, and no step ever sees one.
fn keep_keys_out<'a>(
    field: &Field<'_>,
    sandbox: &Sandbox,
    sources: impl Iterator<Item = &'a KeySource>,
) -> Result<(), Problem> {
    let mut held: Vec<&str> = wflo_gateway::KEY_VARIABLES.to_vec();
    held.push(sandbox.cloud.variable());
    held.extend(sources.filter_map(|source| match source {
        KeySource::Variable(name) => Some(name.as_str()),
        _ => None,
    }));
    match sandbox.env.iter().find(|name| held.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(field
            .problem(Kind::WrongValue, format!(": env would pass the key {name} on to steps"))
            .hint("leave it out: model calls of a step go through wflo, which adds the key, and so does what [secrets] names")),
    }
}

fn dangling_hint(wanted: &str, names: &[&str]) -> String {
    match crate::document::nearest(wanted, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add a [providers.{wanted}] table with its dialect and base_url"),
    }
}

type Named<'a, T> = BTreeMap<String, (Field<'a>, T)>;

/// Reads a table whose keys are the user's names.
fn named<'a, T>(
    field: Option<Field<'a>>,
    read: impl Fn(&Field<'a>) -> Result<T, Problem>,
) -> Result<Named<'a, T>, Problem> {
    let Some(field) = field else { return Ok(BTreeMap::new()) };
    field
        .named()?
        .into_iter()
        .map(|(name, entry)| Ok((name.to_owned(), (entry.clone(), read(&entry)?))))
        .collect()
}

#[cfg(test)]
mod tests;
