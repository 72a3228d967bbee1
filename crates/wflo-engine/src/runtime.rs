//! Everything of one process that drives runs, wired together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use wflo_core::error::{Coded, Failure};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::spender::Spenders;
use wflo_core::ports::store::Store;
use wflo_core::size::Bytes;
use wflo_data::Databases;
use wflo_gateway::cache::{Cache, CacheSettings};
use wflo_gateway::route::Routes;
use wflo_gateway::{Deadlines, Gateway, Limits};
use wflo_sandbox::workspace::{self, HideRules};

use crate::clouds::Clouds;
use crate::console::Console;
use crate::engine::{Engine, Options};
use crate::error::EngineError;
use crate::hosts::Hosts;
use crate::journal::Meters;
use crate::ledger::RunLedger;
use crate::live::Outside;
use crate::sandboxed::Sandboxes;
use crate::services::Services;
use crate::steps::Steps;

/// How a runtime is set up.
pub struct RuntimeOptions {
    /// Where locks, blobs and state live.
    pub data_dir: PathBuf,
    /// The project's folder.
    pub project: PathBuf,
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The file that it is in: who collects trees of workspaces asks there what runs need.
    pub storage: PathBuf,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Gateways that share budgets with the runs.
    pub spenders: Arc<dyn Spenders>,
    /// Named databases: name to URL.
    pub databases: BTreeMap<String, String>,
    /// Those whose writes may be approved although a part of them can neither be shown nor bound.
    pub unseen: BTreeSet<String>,
    /// Providers and prices.
    pub routes: Routes,
    /// Answers that are given again; none where nothing is said.
    pub cache: Option<CacheSettings>,
    /// The program that is its own sandbox launcher.
    pub launcher: PathBuf,
    /// The process's environment, for names that are passed through.
    pub environment: BTreeMap<OsString, OsString>,
    /// Globs of `[sandbox] hide`.
    pub hide: Vec<String>,
    /// Steps at once.
    pub max_steps: usize,
    /// The most that one run may journal.
    pub journal_limit: Bytes,
    /// Whether what is asked of models is kept.
    pub keeps_content: bool,
    /// What connections to hosts are made with.
    pub hosts: Hosts,
    /// Which cloud runs may be in, and the key to it.
    pub clouds: Arc<dyn Clouds>,
    /// What programs that are run as they are talk to; `None` where nobody is.
    pub console: Option<Arc<dyn Console>>,
}

/// Everything of one process that drives runs.
pub struct Runtime {
    /// Drives the runs.
    pub engine: Engine,
    /// Makes sandboxes and keeps workspaces.
    pub sandboxes: Arc<Sandboxes>,
    /// The model gateway.
    pub gateway: Gateway,
    /// The databases of the project.
    pub databases: Arc<Databases>,
    /// What looks at live sandboxes, and tells others of them.
    looking: Mutex<JoinSet<()>>,
}

impl Runtime {
    /// Opens databases and workspaces, makes the gateway, and starts the engine.
    ///
    /// # Errors
    /// When a database, the workspace store or the data directory cannot be used.
    pub async fn start(options: RuntimeOptions) -> Result<Runtime, EngineError> {
        let failed = |e: &dyn Coded| {
            EngineError::Failure(Failure {
                code: e.code().to_string(),
                message: e.to_string(),
                hint: e.hint(),
                place: None,
                traceback: None,
            })
        };
        let databases = Databases::open(&options.databases, &options.project, &wflo_data::Limits::default())
            .map_err(|e| failed(&e))?
            .allow_unseen(&options.unseen);
        let state = workspace::state_root(&options.project, &options.data_dir);
        let workspaces = workspace::Store::open(state).map_err(|e| failed(&e))?;
        workspaces.claim_for(&options.storage).map_err(|e| failed(&e))?;
        let rules = HideRules::new(&options.data_dir, &options.storage)
            .with_databases(databases.hidden_files())
            .with_globs(options.hide);
        let sandboxes = Sandboxes::new(options.launcher, Arc::new(workspaces), rules, options.environment);
        let sandboxes = Arc::new(sandboxes.in_clouds(options.clouds));
        let databases = Arc::new(databases);
        let services = Arc::new(Services {
            store: Arc::clone(&options.store),
            clock: Arc::clone(&options.clock),
            databases: Arc::clone(&databases),
            meters: Meters::new(options.journal_limit),
            settled: Arc::new(tokio::sync::Notify::new()),
            spenders: options.spenders,
            turns: crate::ledger::Turns::default(),
            keeps_content: options.keeps_content,
            hosts: options.hosts,
            gateway: std::sync::OnceLock::new(),
        });
        let cache = options.cache.map(|settings| Cache::new(settings, Arc::clone(&options.clock)));
        let (ledger, deadlines) = (Arc::new(RunLedger), Deadlines::default());
        let gateway = Gateway::caching(options.routes, ledger, cache, deadlines, Limits::default());
        // The services are new, so nobody has set it before.
        let _ = services.gateway.set(gateway.clone());
        let data_dir = options.data_dir.clone();
        let engine = Engine::start(Options {
            data_dir: options.data_dir,
            store: options.store,
            clock: options.clock,
            executor: Arc::new(Steps::new(services, Arc::clone(&sandboxes), options.console)),
            max_steps: options.max_steps,
            max_runs: 1_024,
            max_queued: 100_000,
        })
        .await?;
        let mut looking = JoinSet::new();
        looking.spawn(Arc::clone(&sandboxes.live).look());
        match Outside::open(&data_dir, engine.id()) {
            Ok(outside) => drop(looking.spawn(outside.answer(Arc::clone(&sandboxes.live)))),
            // Nothing of a run depends on it.
            Err(error) => {
                tracing::info!(%error, "what sandboxes take is not told to other processes");
            }
        }
        Ok(Runtime { engine, sandboxes, gateway, databases, looking: Mutex::new(looking) })
    }

    /// Ends everything; running model calls settle first.
    pub async fn shutdown(&self) {
        self.engine.shutdown().await;
        self.gateway.shutdown().await;
        let mut looking = std::mem::take(&mut *self.looking.lock().unwrap_or_else(PoisonError::into_inner));
        looking.shutdown().await;
    }
}
