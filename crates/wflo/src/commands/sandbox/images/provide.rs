//! From what the settings name to packages that are there.
//!
//! Nothing is fetched before whoever sits there trusts the project with it: `wflo run` has asked by then.

use std::sync::Arc;

use tokio::sync::mpsc;
use wflo_engine::clock::SystemClock;
use wflo_engine::images::{
    Builder, Building, ImageError, Images, Index, Installed, Programs, Progress, Requirements, Wanted,
};
use wflo_engine::interpreter::{Language, Surroundings};
use wflo_engine::launch;
use wflo_engine::{EngineError, Source};
use wflo_sandbox::workspace::{Hidden, state_root};

use crate::commands::Context;
use crate::failure::CommandError;
use crate::interpreter;
use crate::session;
use crate::settings::{Backend, Settings};
use crate::trust;

use super::progress;

/// What is installed for a run of a workflow: for one of Node programs only, because its packages are its project's own.
///
/// # Errors
/// As [`provide`], and that the run's backend has no place for packages.
pub(crate) async fn for_workflow(
    context: &Context<'_>,
    settings: &Settings,
    source: &Source,
    given: Option<Backend>,
    building: Building,
) -> Result<Installed, CommandError> {
    let is_node = matches!(source, Source::Code(entry) if Language::of(entry) == Language::Node);
    needed(context, settings, given, building, !is_node).await
}

/// What is installed for a run.
///
/// # Errors
/// As [`provide`], and that the run's backend has no place for packages.
pub(crate) async fn for_run(
    context: &Context<'_>,
    settings: &Settings,
    given: Option<Backend>,
    building: Building,
) -> Result<Installed, CommandError> {
    needed(context, settings, given, building, true).await
}

async fn needed(
    context: &Context<'_>,
    settings: &Settings,
    given: Option<Backend>,
    building: Building,
    has_python: bool,
) -> Result<Installed, CommandError> {
    let backend = given.or(settings.sandbox.backend).unwrap_or_default();
    let is_image = backend == Backend::Docker && settings.sandbox.docker.image.is_some();
    let packages = &settings.sandbox.packages;
    let python = (has_python && !packages.requirements.is_empty())
        .then(|| launch::no_place_for_packages(backend, is_image));
    let system = (!packages.system.is_empty()).then(|| launch::no_place_for_programs(backend));
    let failures: Vec<_> = [python, system].into_iter().flatten().flatten().collect();
    if !failures.is_empty() {
        return Err(CommandError::usage(failures));
    }
    provide(context, settings, building, has_python).await
}

/// Whether the settings name packages.
pub(crate) fn wants(settings: &Settings) -> bool {
    let packages = &settings.sandbox.packages;
    !packages.requirements.is_empty() || !packages.system.is_empty()
}

/// What the settings name, installed first where it is missing: programs of the distribution, and Python packages
/// where they are wanted.
///
/// # Errors
/// Why it cannot be had.
pub(super) async fn provide(
    context: &Context<'_>,
    settings: &Settings,
    building: Building,
    has_python: bool,
) -> Result<Installed, CommandError> {
    let mut installed = Installed::default();
    if !wants(settings) {
        return Ok(installed);
    }
    let builder = builder(context, settings)?;
    if let Some(wanted) = programs(settings) {
        let work = async |told: &mpsc::Sender<Progress>| builder.system(&wanted, building, told).await;
        let system = followed(&wanted.named(), context, work).await?;
        if system.built {
            progress::done(&system.record, context.printer);
        }
        installed.system = Some(system);
    }
    if has_python && !settings.sandbox.packages.requirements.is_empty() {
        let wanted = wanted(settings)?;
        let (python, around) = (python(context, settings)?, around(context, settings));
        let work = async |told: &mpsc::Sender<Progress>| {
            builder.python(&python, &wanted, &around, building, told).await
        };
        let ready = followed(&wanted.requirements.named(), context, work).await?;
        if ready.built {
            progress::done(&ready.record, context.printer);
        }
        installed.python = Some(ready);
    }
    Ok(installed)
}

/// Does some work, and shows what is told of it meanwhile.
async fn followed<T>(
    what: &str,
    context: &Context<'_>,
    work: impl AsyncFnOnce(&mpsc::Sender<Progress>) -> Result<T, ImageError>,
) -> Result<T, CommandError> {
    let (told, heard) = mpsc::channel(64);
    let work = async {
        let done = work(&told).await;
        // Whoever shows progress ends with it.
        drop(told);
        done
    };
    let (done, ()) = tokio::join!(work, progress::show(heard, what, context.printer));
    Ok(done?)
}

fn builder(context: &Context<'_>, settings: &Settings) -> Result<Builder, CommandError> {
    let secrets = settings.secrets.iter().map(|(name, secret)| (secret.env.clone(), name.clone()));
    Ok(Builder {
        images: Arc::new(images(settings)?),
        clock: Arc::new(SystemClock::default()),
        launcher: super::super::this_program()?,
        rules: settings.hide_rules(),
        hosts: Arc::new(session::hosts(settings, context.environment)),
        secrets: secrets.collect(),
        deny_hosts: trust::hosts::read(&settings.project.root)?.deny.into_iter().collect(),
        allow_addresses: settings.sandbox.allow_addresses.clone(),
    })
}

/// The programs that the settings name, which were judged when those were read.
fn programs(settings: &Settings) -> Option<Programs> {
    let packages = &settings.sandbox.packages;
    let programs = Programs::of(&packages.system, packages.index_hosts.clone(), packages.disk).ok();
    programs.filter(|programs| !programs.packages.is_empty())
}

/// Where a project's packages are.
pub(super) fn images(settings: &Settings) -> Result<Images, CommandError> {
    Ok(Images::open_in(&state_root(&settings.project.root, &settings.data_dir))?)
}

/// What that which the settings name is called, as far as that is known.
pub(super) fn current(context: &Context<'_>, settings: &Settings) -> Vec<String> {
    let python = || {
        let (python, around) = (python(context, settings).ok()?, around(context, settings));
        wflo_engine::images::known_key(&images(settings).ok()?, &python, &wanted(settings).ok()?, &around)
    };
    let system = programs(settings).and_then(|programs| wflo_engine::images::known_system(&programs));
    python().into_iter().chain(system).collect()
}

fn wanted(settings: &Settings) -> Result<Wanted, CommandError> {
    let packages = &settings.sandbox.packages;
    let hidden = Hidden::new(&settings.project.root, &settings.hide_rules())?;
    Ok(Wanted {
        requirements: Requirements::read(&settings.project.root, &packages.requirements, &hidden)?,
        index: Index::read(packages.index_url.as_deref(), &packages.extra_index_urls, &packages.index_hosts)?,
        source_builds: packages.source_builds,
        disk: packages.disk,
    })
}

fn python(context: &Context<'_>, settings: &Settings) -> Result<std::path::PathBuf, CommandError> {
    let found = interpreter::find(&settings.project.root, context.environment);
    let missing = || EngineError::Failure(wflo_engine::interpreter::missing());
    found.ok_or_else(|| CommandError::engine(missing()))
}

fn around(context: &Context<'_>, settings: &Settings) -> Surroundings {
    let variable = |name: &str| context.environment.get(name).map(Into::into);
    Surroundings::new(&settings.project.root, Some(&settings.data_dir), variable)
}
