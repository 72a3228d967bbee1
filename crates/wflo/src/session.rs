//! A command's connection to the project's runs: the store, and the runtime when it drives any.
//!
//! Owns the translation of settings into what the engine wants; nothing of a run is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::ports::spender::Spenders;
use wflo_core::ports::store::Store;
use wflo_core::run::RunOptions;
use wflo_egress::Rules;
use wflo_egress::rules::Rule;
use wflo_engine::clock::SystemClock;
use wflo_engine::console::Console;
use wflo_engine::hosts::Hosts;
use wflo_engine::images::Installed;
use wflo_engine::launch::{ByHand, Limits};
use wflo_engine::{EngineError, Runtime, RuntimeOptions, Source, Submission};
use wflo_gateway::error::GatewayError;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::secret::Secret;
use wflo_proxy::DeadSpenders;
use wflo_store::{SqliteStore, StoreOptions};

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::settings::{Backend, Dialect, Environment, KeySource, ProjectCloud, ProjectSecrets, Settings};
use crate::trust;

/// The project's durable state, opened for a command.
pub(crate) struct Session<'a> {
    context: &'a Context<'a>,
    pub(crate) settings: Settings,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<SystemClock>,
}

impl<'a> Session<'a> {
    /// Opens the store. One that lies in the project and was not made here is asked about first.
    ///
    /// # Errors
    /// When it cannot be used, or is not trusted; nothing was changed then.
    pub(crate) fn open(context: &'a Context<'a>, settings: Settings) -> Result<Self, CommandError> {
        let opening = trust::store::settle(context, &settings, false)?;
        let store = match SqliteStore::open(&settings.storage, StoreOptions::default()) {
            Ok(store) => store,
            Err(error) => {
                opening.failed();
                return Err(error.into());
            }
        };
        Ok(Session { context, settings, store: Arc::new(store), clock: Arc::new(SystemClock::default()) })
    }

    /// The store as the engine sees it.
    pub(crate) fn port(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    /// The store's file, as other processes of the project name it.
    pub(crate) fn storage(&self) -> std::path::PathBuf {
        std::path::absolute(&self.settings.storage).unwrap_or_else(|_| self.settings.storage.clone())
    }

    /// The databases of the project: name to URL.
    pub(crate) fn databases(&self) -> BTreeMap<String, String> {
        let databases = self.settings.databases.iter();
        databases.map(|(name, url)| (name.clone(), format!("sqlite:{}", url.path.display()))).collect()
    }

    /// A runtime that drives runs in this process.
    ///
    /// # Errors
    /// When a provider's key, a database or the data directory cannot be used.
    pub(crate) async fn runtime(&self) -> Result<Runtime, CommandError> {
        self.runtime_with(None).await
    }

    /// The same, with what programs that are run as they are talk to.
    ///
    /// # Errors
    /// As for [`Session::runtime`].
    pub(crate) async fn runtime_with(
        &self,
        console: Option<Arc<dyn Console>>,
    ) -> Result<Runtime, CommandError> {
        let launcher = std::env::current_exe().map_err(|e| {
            CommandError::from_failure(Failure::new(
                Code(8013),
                format!("this program cannot find itself: {e}"),
            ))
        })?;
        // Runs share budgets with gateways: what one that was killed has left is in the way of nobody.
        let spenders = self.spenders();
        spenders.recover_dead().await;
        let started = Runtime::start(RuntimeOptions {
            data_dir: self.settings.data_dir.clone(),
            project: self.settings.project.root.clone(),
            store: self.port(),
            storage: self.storage(),
            clock: Arc::clone(&self.clock) as Arc<dyn wflo_core::ports::clock::Clock>,
            spenders,
            databases: self.databases(),
            unseen: self.settings.unseen.clone(),
            routes: self.routes()?,
            cache: self.settings.cache.clone(),
            launcher,
            environment: std::env::vars_os().collect::<BTreeMap<_, _>>(),
            hide: self.settings.sandbox.hide.clone(),
            max_steps: 64,
            journal_limit: self.settings.journal_limit,
            keeps_content: self.settings.traces.content,
            hosts: hosts(&self.settings, self.context.environment),
            clouds: Arc::new(self.cloud()),
            console,
        });
        started.await.map_err(CommandError::engine)
    }

    /// Which cloud runs may be in.
    fn cloud(&self) -> ProjectCloud {
        let settings = self.settings.sandbox.cloud.clone();
        ProjectCloud { settings, environment: self.context.environment.clone() }
    }

    /// Gateways that share budgets with runs.
    fn spenders(&self) -> Arc<dyn Spenders> {
        Arc::new(DeadSpenders {
            store: Arc::clone(&self.store) as _,
            data_dir: self.store.data_dir().to_owned(),
            clock: Arc::clone(&self.clock) as _,
        })
    }

    /// The same connection under other settings.
    pub(crate) fn with_settings(&self, settings: Settings) -> Self {
        Session {
            context: self.context,
            settings,
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
        }
    }

    /// The providers and prices that the settings name.
    ///
    /// # Errors
    /// When a provider or its key cannot be used.
    pub(crate) fn routes(&self) -> Result<Routes, CommandError> {
        let mut named = Vec::new();
        for (name, provider) in &self.settings.providers {
            let dialect = provider.dialect;
            let variable = |name: &str| self.context.environment.get(name).map(str::to_owned);
            let standard = Provider::from_environment(dialect, variable)?;
            // A variable that is not set is missed by the call that needs it, and by no other command.
            let missing = match &provider.key {
                Some(KeySource::Variable(variable)) if self.context.environment.get(variable).is_none() => {
                    Some(variable)
                }
                _ => None,
            };
            let key = match &provider.key {
                Some(source) if missing.is_none() => {
                    Secret::new(source.fetch(name, self.context.environment)?.expose())
                }
                _ => None,
            };
            let mut resolved = match &provider.base_url {
                Some(url) => Provider::new(name, dialect, url, key)?,
                // Without an address: what the environment says for the dialect, under the setting's own key.
                None => {
                    let mut provider = standard;
                    name.clone_into(&mut provider.name);
                    provider.api_key = if missing.is_some() { None } else { key.or(provider.api_key) };
                    provider
                }
            };
            if let Some(variable) = missing {
                resolved = resolved.needing_key(variable);
            }
            resolved.prices.clone_from(&provider.prices);
            resolved.output_limit = provider.output_limit.unwrap_or(resolved.output_limit);
            resolved.waits = provider.waits;
            resolved.passthrough.clone_from(&provider.passthrough);
            named.push(resolved);
        }
        let variable = |name: &str| self.context.environment.get(name).map(str::to_owned);
        let mut environment = Vec::new();
        for dialect in Dialect::ALL {
            environment.push(Provider::from_environment(dialect, variable)?);
        }
        wflo_gateway::price::load(&self.settings.data_dir)?;
        let models = self.settings.models.iter().map(|(name, model)| (name.clone(), model.priced()));
        let routing = self.settings.routing.clone();
        let routes = Routes::new(named, environment, models.collect());
        let routes = routes.and_then(|routes| routes.with_routing(routing));
        let routes = routes.map_err(|error| self.mistaken(&error))?;
        for doubt in routes.routing().doubts(&routes) {
            self.context.printer.warning(doubt);
        }
        Ok(routes)
    }

    /// Models and their ways that cannot be are a mistake of the file, with its line.
    fn mistaken(&self, error: &GatewayError) -> CommandError {
        let failure = error.to_failure();
        let place = match error {
            GatewayError::Routing { section, name, .. } => self.settings.outline.place(section, name),
            _ => None,
        };
        CommandError::usage(vec![match place {
            Some(place) => failure.at(place),
            None => failure,
        }])
    }

    /// A submission with everything that the settings say.
    ///
    /// # Errors
    /// When what was answered for always does not count.
    pub(crate) fn submission(
        &self,
        source: Source,
        inputs: serde_json::Value,
        flags: Flags,
    ) -> Result<Submission, CommandError> {
        let sandbox = &self.settings.sandbox;
        let mut budgets = self.settings.budgets.clone();
        if let Some(limit) = flags.budget {
            budgets.push(BudgetSpec { max_cost_usd: Some(limit), per: Per::Run, ..BudgetSpec::default() });
        }
        let root = self.settings.project.root.clone();
        let mount = |mount: &crate::settings::Mount| mount.places(&root);
        let asks = sandbox.ask_hosts || flags.ask_hosts;
        let mut submission = Submission {
            source,
            caller: None,
            inputs,
            options: RunOptions {
                require_approval: flags.require_approval,
                ask_commands: self.settings.approvals.commands.clone(),
                budget_timeout: self.settings.approvals.budget_timeout,
                strict_channels: flags.strict_channels,
                apply: flags.apply,
                trace: flags.trace,
                backend: flags.backend.map(|backend| backend.name().to_owned()),
                notify: flags.notify,
                recording: flags.recording,
                budgets,
                labels: flags.labels,
                org: self.settings.project.org.clone(),
                ask_when_exceeded: flags.interactive,
                ..RunOptions::default()
            },
            limits: Limits {
                memory: sandbox.memory_limit,
                cpus: sandbox.cpu_limit,
                pids: sandbox.pids_limit,
                disk: sandbox.disk_limit,
                inodes: sandbox.inodes_limit,
                io: sandbox.io,
                network: sandbox.network,
                timeout: sandbox.timeout,
            },
            python: crate::interpreter::find(&root, self.context.environment),
            installed: Installed::default(),
            node: crate::interpreter::node(&root, self.context.environment),
            env: sandbox.env.clone(),
            ro: sandbox.ro.iter().map(mount).collect(),
            rw: sandbox.rw.iter().map(mount).collect(),
            hide: sandbox.hide.clone(),
            by_hand: ByHand {
                allow_hosts: flags.allow_hosts.clone(),
                allow_addresses: Vec::new(),
                ask_rules: flags.ask_rules.clone(),
                ask_hosts: flags.ask_hosts,
            },
            said_hosts: Vec::new(),
            allow_hosts: sandbox.allow_hosts.iter().cloned().chain(flags.allow_hosts).collect(),
            inspect_hosts: sandbox.inspect_hosts.clone(),
            secrets: self
                .settings
                .secrets
                .iter()
                .map(|(name, secret)| (name.clone(), secret.env.clone()))
                .collect(),
            deny_hosts: Vec::new(),
            ask_hosts: asks.then_some(sandbox.patience),
            ask_rules: sandbox.ask_rules.iter().cloned().chain(flags.ask_rules).collect(),
            told_hosts: Vec::new(),
            patience: sandbox.patience,
            allow_addresses: sandbox.allow_addresses.clone(),
            require_kernel: sandbox.require_kernel,
            preset: sandbox.preset,
            backend: sandbox.backend,
            docker: sandbox.docker.clone(),
            project: root.clone(),
        };
        self.tell(&mut submission)?;
        Ok(submission)
    }

    /// Puts into a submission what was answered for always, as it is remembered now: what lets in is an answer where
    /// people would be asked, and nowhere else.
    ///
    /// # Errors
    /// When what is remembered does not count.
    pub(crate) fn tell(&self, submission: &mut Submission) -> Result<(), CommandError> {
        let remembered = trust::hosts::read(&self.settings.project.root)?;
        let asks = submission.ask_rules.iter().filter_map(|rule| rule.parse().ok()).collect();
        let (asks, is_asked) = (Rules::default().asking(asks), submission.ask_hosts.is_some());
        let is_about = |told: &String| told.parse().is_ok_and(|told: Rule| asks.cover(&told));
        submission.told_hosts =
            remembered.allow.into_iter().filter(|told| is_asked || is_about(told)).collect();
        submission.deny_hosts = remembered.deny.into_iter().collect();
        Ok(())
    }
}

/// What connections to hosts are made with.
pub(crate) fn hosts(settings: &Settings, environment: &Environment) -> Hosts {
    let (secrets, environment) = (settings.secrets.clone(), environment.clone());
    let root = settings.project.root.clone();
    Hosts::new(Arc::new(ProjectSecrets { secrets, environment }), settings.sandbox.ca_file.clone())
        .keeping_out(move || trust::hosts::kept_out(&root))
}

/// What the command line adds to a submission.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) budget: Option<NanoUsd>,
    /// Whose run it is.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) require_approval: bool,
    pub(crate) strict_channels: bool,
    pub(crate) apply: bool,
    pub(crate) trace: bool,
    pub(crate) backend: Option<Backend>,
    pub(crate) notify: Vec<String>,
    /// Hosts that steps may reach, beside those of the settings.
    pub(crate) allow_hosts: Vec<String>,
    /// What people are asked about although a rule allows it.
    pub(crate) ask_rules: Vec<String>,
    /// People are asked about others.
    pub(crate) ask_hosts: bool,
    /// The file that the run's model calls are answered from.
    pub(crate) recording: Option<String>,
    /// Somebody sits at the terminal: a budget that says nothing asks.
    pub(crate) interactive: bool,
}

impl CommandError {
    /// An error of the engine, with the failures that it carries.
    pub(crate) fn engine(error: EngineError) -> Self {
        match error {
            EngineError::Invalid(failures) if !failures.is_empty() => CommandError::usage(failures),
            other => CommandError::from_failure(other.failure()),
        }
    }

    /// A failure that carries its own code.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        let number = failure.code.strip_prefix("WFLO-").and_then(|n| n.parse::<u16>().ok());
        let exit = match number.map(|n| n / 1000) {
            Some(1 | 8) => Exit::Usage,
            Some(9) => Exit::Internal,
            // What user code raises while it is imported is a definition that cannot be read.
            None => Exit::Usage,
            _ => Exit::Failed,
        };
        CommandError { failures: vec![failure], exit }
    }
}

/// Runs something that needs the async runtime.
///
/// # Errors
/// What it returns; that no runtime can be made.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        CommandError::from_failure(Failure::new(Code(9005), format!("no threads can be made: {e}")))
    })?;
    let done = runtime.block_on(work);
    // A thread that reads the terminal cannot be ended; whatever had to be finished has been awaited.
    runtime.shutdown_background();
    done
}

/// An error as the engine names it.
pub(crate) fn coded(error: &impl Coded) -> CommandError {
    CommandError::from_failure(error.to_failure())
}
