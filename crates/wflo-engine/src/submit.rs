//! Submission: a project and its inputs become a run, sealed and durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::definition::{Definition, check_inputs};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::ports::store::Op;
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_sandbox::{Preset, docker, workspace};

use crate::budgets::{self, Applied};
use crate::clouds;
use crate::containers::SDK_IN_IMAGE;
use crate::discovery::{self, Described};
use crate::error::EngineError;
use crate::images::{Held, Installed, Packages, System};
use crate::interpreter::{self, Interpreter, Language, Surroundings, elsewhere, unusable};
use crate::launch::{Backend, ByHand, Launch, Limits, Placeholder, Said};
use crate::program::Program;
use crate::runtime::Runtime;

mod code;
mod notices;
mod refused;
mod unread;

use code::{code_digest, definition_of, tool_files};
use notices::{Found, notices};
use refused::{agree, check_embedded, only_allowed, only_granted};

/// Where the definition comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Code: `workflow.py`, or `package.module:attribute`.
    Code(String),
    /// A definition that was read from YAML.
    Definition {
        /// What was read.
        definition: Value,
        /// Its file, relative to the project.
        file: Option<String>,
    },
    /// A program that is run as it is.
    Program {
        /// What was typed.
        argv: Vec<String>,
        /// What it needs.
        program: Box<Program>,
    },
}

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The project's folder.
    pub project: PathBuf,
    /// What to run.
    pub source: Source,
    /// The definition that a calling script has in memory: the file's must say the same.
    pub caller: Option<Value>,
    /// Its inputs.
    pub inputs: Value,
    /// What else it is started with; `launch` is filled in here.
    pub options: RunOptions,
    /// Limits of the settings.
    pub limits: Limits,
    /// The Python that runs code steps.
    pub python: Option<PathBuf>,
    /// What is installed for its steps, where the project names something.
    pub installed: Installed,
    /// The Node that runs those of a workflow in JavaScript.
    pub node: Option<PathBuf>,
    /// Names of host environment variables passed through.
    pub env: Vec<String>,
    /// Further files and folders to read: source and target.
    pub ro: Vec<(PathBuf, PathBuf)>,
    /// Files and folders that are written directly: source and target.
    pub rw: Vec<(PathBuf, PathBuf)>,
    /// Globs that are never seen.
    pub hide: Vec<String>,
    /// Hosts that steps may reach.
    pub allow_hosts: Vec<String>,
    /// Hosts that the user keeps out, whatever else says so.
    pub deny_hosts: Vec<String>,
    /// Hosts whose requests over TLS are looked at.
    pub inspect_hosts: Vec<String>,
    /// Secrets of hosts: what the settings call each, and the variable that its placeholder stands in.
    pub secrets: Vec<(String, String)>,
    /// For how long a connection to an unknown host is held while people are asked; at once refused where
    /// nothing is said.
    pub ask_hosts: Option<wflo_core::size::Millis>,
    /// Hosts, and parts of hosts, that people are asked about although a rule allows them.
    pub ask_rules: Vec<String>,
    /// What the user has let in for always, where people would be asked about it.
    pub told_hosts: Vec<String>,
    /// For how long a connection that such a rule names is held while people are asked.
    pub patience: wflo_core::size::Millis,
    /// Addresses that are no public ones and may be reached under the names of those hosts.
    pub allow_addresses: Vec<String>,
    /// What of that is said by hand, and is not the settings'.
    pub by_hand: ByHand,
    /// What people said of hosts, unasked, to the run that it retries; [`Runtime::retry`] knows.
    pub said_hosts: Vec<Said>,
    /// Limits must be enforced by the kernel.
    pub require_kernel: bool,
    /// What steps may ask the kernel for.
    pub preset: Preset,
    /// What the settings say about isolation; `options.backend` says what whoever starts it does.
    pub backend: Option<Backend>,
    /// What the settings say about containers.
    pub docker: docker::Options,
}

/// A run that is ready to be accepted.
#[derive(Debug)]
pub struct Prepared {
    /// The run.
    pub record: RunRecord,
    /// What it runs.
    pub definition: Definition,
    /// Committed with it.
    pub ops: Vec<Op>,
    /// Trees that it needs from the start: its seal, and the layers of what it takes over.
    pub trees: Vec<String>,
    /// Keeps them from being collected until the run is committed.
    pub pins: Vec<workspace::Pin>,
    /// Keeps what is installed for it from being removed until then.
    pub held: Vec<Held>,
}

fn failed(error: &impl Coded) -> EngineError {
    EngineError::Failure(error.to_failure())
}

impl Runtime {
    /// Seals the project, reads the workflow, checks the inputs, and accepts the run.
    ///
    /// # Errors
    /// What is wrong with the project, the definition or the inputs; nothing was accepted then.
    pub async fn submit(&self, submission: Submission) -> Result<RunId, EngineError> {
        let prepared = self.prepare(submission).await?;
        self.accept(prepared).await
    }

    /// Accepts a prepared run: durable when this returns.
    ///
    /// # Errors
    /// Store errors; too many runs in the queue.
    pub async fn accept(&self, prepared: Prepared) -> Result<RunId, EngineError> {
        let Prepared { record, definition, ops, trees, pins, held } = prepared;
        let keep = Op::KeepTrees { run: record.id, trees };
        let accepted = self.engine.submit(record, &definition, [vec![keep], ops].concat()).await;
        drop((pins, held));
        accepted
    }

    /// Records a prepared run that nobody drives yet: `wflo runs resume` begins it. Durable when this
    /// returns.
    ///
    /// # Errors
    /// Store errors.
    pub async fn record(&self, prepared: Prepared) -> Result<RunId, EngineError> {
        let Prepared { mut record, definition, mut ops, trees, pins, held } = prepared;
        (record.engine, record.status) = (None, RunStatus::Pending);
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let digest = definition.digest().map_err(unreadable)?.to_string();
        let json = serde_json::to_value(&definition).map_err(unreadable)?;
        let run = record.id;
        let mut all = vec![
            Op::PutDefinition { digest: digest.clone(), definition: json },
            Op::CreateRun { run: Box::new(record), definition: digest },
            Op::KeepTrees { run, trees },
        ];
        all.append(&mut ops);
        let batch = wflo_core::ports::store::Batch { fence: None, ops: all };
        self.engine.store().commit(batch).await?;
        drop((pins, held));
        Ok(run)
    }

    /// Everything of [`Runtime::submit`] but the acceptance.
    ///
    /// # Errors
    /// As [`Runtime::submit`].
    pub async fn prepare(&self, submission: Submission) -> Result<Prepared, EngineError> {
        let project = submission.project.canonicalize().map_err(|e| {
            EngineError::Failure(Failure::new(Code(5100), format!("{}: {e}", submission.project.display())))
        })?;
        let around = self.sandboxes.surroundings(&project);
        let interpreter = interpreter_of(&submission, &around)?;
        let not_shown = match &interpreter {
            Some(python) if python.language == Language::Python => elsewhere(python, &around, &submission.ro),
            _ => Vec::new(),
        };
        let given = submission.options.backend.as_deref().and_then(Backend::named);
        let sealed = self.seal(&project, &submission.hide).await?;
        let (workflow, written) = match &submission.source {
            Source::Code(entry) => (Some(entry.clone()), None),
            Source::Definition { file, .. } => (None, file.clone()),
            Source::Program { .. } => (None, None),
        };
        let program = match &submission.source {
            Source::Program { program, .. } => Some((**program).clone()),
            Source::Code(_) | Source::Definition { .. } => None,
        };
        let mut launch = Launch {
            project,
            workflow,
            definition: written,
            interpreter,
            program,
            sealed: sealed.id.to_string(),
            sandbox: submission.limits,
            env: submission.env,
            ro: submission.ro,
            rw: submission.rw,
            hide: submission.hide,
            allow_hosts: submission.allow_hosts,
            deny_hosts: submission.deny_hosts,
            ask_hosts: submission.ask_hosts,
            patience: (!submission.ask_rules.is_empty()).then_some(submission.patience),
            ask_rules: submission.ask_rules,
            told_hosts: submission.told_hosts,
            inspect_hosts: submission.inspect_hosts,
            secrets: placeholders(submission.secrets)?,
            allow_addresses: submission.allow_addresses,
            by_hand: Some(submission.by_hand),
            said_hosts: submission.said_hosts,
            require_kernel: submission.require_kernel,
            preset: submission.preset,
            providers: Some(self.gateway.routes().addresses()),
            undone: Vec::new(),
            earlier: None,
            // What the code says cannot be known before it has been read somewhere.
            backend: Backend::choose(given, submission.backend, None)?,
            packages: None,
            system: submission.installed.system.as_ref().map(System::image),
            one_seed: true,
            docker: None,
            cloud: None,
        };
        if let Some(ready) = &submission.installed.python {
            let sdk = launch.interpreter.as_ref().and_then(|python| python.own_sdk(&around));
            launch.packages = Some(Packages { key: ready.record.key.clone(), tree: ready.record.tree, sdk });
            launch.interpreter = Some(ready.interpreter());
        }
        launch.check()?;
        if launch.backend == Backend::Docker {
            let sdk = launch.interpreter.as_ref().and_then(|python| python.sdk_files(&around));
            launch.docker = Some(self.sandboxes.containers(submission.docker, sdk).await?);
            if launch.in_image() {
                let own = launch.interpreter.take();
                let sdk = PathBuf::from(SDK_IN_IMAGE);
                launch.interpreter = own.map(|own| Interpreter::in_image(own.language, sdk));
            }
        }
        if launch.backend == Backend::E2b {
            let own = launch.interpreter.take();
            let sdk = own.as_ref().and_then(|python| python.sdk_files(&around));
            launch.cloud = Some(self.sandboxes.in_cloud(sdk)?);
            launch.interpreter = own.map(|own| Interpreter::in_image(own.language, clouds::sdk()));
        }
        let operators = launch.sandbox;
        launch.sandbox = operators.or_usual(launch.backend);
        // Containers are known by now.
        launch.check()?;
        let mut described = match submission.source {
            Source::Code(_) => match discovery::describe(&self.sandboxes, &launch).await {
                Ok(described) => described,
                Err(error) => return Err(self.explain(error, &launch, &not_shown).await),
            },
            Source::Definition { definition, .. } => {
                let files = tool_files(&definition);
                Described { definition, files, interpreter: String::new() }
            }
            Source::Program { argv, program } => {
                let definition = definition_of(&program.name, &argv);
                Described { definition, files: argv, interpreter: String::new() }
            }
        };
        let installed = &submission.installed;
        let python = installed.python.as_ref().map(|ready| &ready.record);
        for record in python.into_iter().chain(installed.system.as_ref().map(|system| &system.record)) {
            // Other packages are other code.
            described.interpreter.push_str(&format!(" {} {}", record.key, record.tree));
        }
        if let (Some(caller), Some(file)) = (&submission.caller, &launch.workflow) {
            agree(caller, &described.definition, file)?;
        }
        let definition = Definition::parse(&described.definition).map_err(EngineError::Invalid)?;
        check_embedded(&definition, &submission.options)?;
        self.check_models(&definition, submission.options.recording.is_some())?;
        let inputs = check_inputs(&definition, &submission.inputs).map_err(EngineError::Invalid)?;
        launch.sandbox = operators.with(&definition.sandbox);
        let asked = definition.sandbox.backend.as_deref().and_then(Backend::named);
        launch.backend = Backend::choose(given, submission.backend, asked)?;
        launch.check()?;
        launch.sandbox = launch.sandbox.or_usual(launch.backend);
        only_granted(&definition.sandbox.env, &launch.env)?;
        only_allowed(&definition.sandbox.allow_hosts, &launch)?;
        launch.hide.extend(definition.sandbox.hide.iter().cloned());
        let tree = self.sandboxes.store.tree(&sealed.digest);
        let (declared, given) = (definition.clone(), inputs.clone());
        let read =
            move || (code_digest(&tree, &described), unread::notice(&tree, &described, &declared, &given));
        let (code, unread) =
            tokio::task::spawn_blocking(read).await.map_err(|e| EngineError::Unreadable(e.to_string()))?;
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let digest = definition.digest().map_err(unreadable)?;
        let version =
            Digest::of_json(&serde_json::json!([digest.as_str(), code.as_str()])).map_err(unreadable)?;
        let mut options = submission.options;
        options.launch = serde_json::to_value(&launch).map_err(unreadable)?;
        let clock = self.engine.clock();
        let (id, now) = (RunId::from_uuid(clock.uuid()), clock.now());
        let record = RunRecord {
            id,
            workflow: definition.name.clone(),
            version,
            label: definition.version.clone(),
            code,
            inputs,
            options,
            status: RunStatus::Pending,
            outputs: None,
            error: None,
            retried_from: None,
            budget_key: budgets::run_key(id),
            trace_id: clock.uuid().simple().to_string(),
            lease_epoch: 1,
            engine: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        let mut ops = self.budget_ops(&record, &definition).await?;
        let found = Found { unread, not_shown: &not_shown, sealed: &sealed };
        let notices = notices(&launch, &submission.installed, found);
        let events: Vec<Event> = notices.into_iter().map(|body| Event { at: now, body }).collect();
        if !events.is_empty() {
            ops.push(Op::AppendEvents { run: id, events });
        }
        let (trees, pins) = (vec![sealed.id.to_string()], vec![sealed.pin]);
        let Installed { python, system } = submission.installed;
        let held =
            python.map(|ready| ready.held).into_iter().chain(system.map(|system| system.held)).collect();
        Ok(Prepared { record, definition, ops, trees, pins, held })
    }

    /// Why a file could not be described: when its interpreter ended without a word, that is asked whether
    /// it runs at all and has the SDK.
    async fn explain(&self, error: EngineError, launch: &Launch, not_shown: &[PathBuf]) -> EngineError {
        let silent = discovery::NOT_DESCRIBED.to_string();
        let (EngineError::Failure(failure), Some(interpreter)) = (&error, &launch.interpreter) else {
            return error;
        };
        let is_python = interpreter.language == Language::Python;
        if failure.code != silent
            || launch.backend != Backend::Native
            || !is_python
            || launch.packages.is_some()
        {
            return error;
        }
        let around = Surroundings { alone: true, ..self.sandboxes.surroundings(&launch.project) };
        let (program, ro, own) = (interpreter.program.clone(), launch.ro.clone(), self.sandboxes.program());
        let asked = tokio::task::spawn_blocking(move || {
            let interpreter = Interpreter::read(&program, &around).map_err(|e| unusable(&program, &e))?;
            let launcher = wflo_sandbox::Launcher::start(&own).map_err(|e| e.to_failure())?;
            let said = crate::ask::ask(&launcher, &interpreter, &ro)?;
            said.sdk.map(drop).map_err(|reason| unusable(&program, &reason))
        });
        match asked.await {
            Ok(Err(failure)) if not_shown.is_empty() => EngineError::Failure(failure),
            Ok(Err(failure)) => EngineError::Failure(failure.with_hint(format!(
                "its packages point at {}, which sandboxes do not show: install them instead, or name those folders \
                 under `ro` in [sandbox]",
                listed(not_shown)
            ))),
            Ok(Ok(())) | Err(_) => error,
        }
    }

    /// Opens the run's accounts. An account that outlives runs takes the limit that the definition now says.
    pub(crate) async fn budget_ops(
        &self,
        record: &RunRecord,
        definition: &Definition,
    ) -> Result<Vec<Op>, EngineError> {
        let now = self.engine.clock().now();
        // Standing budgets are opened by their first call.
        let accounts = budgets::accounts(record, definition, None, &[], now);
        let known =
            self.engine.store().budgets(accounts.iter().map(|a| a.budget.key.clone()).collect()).await?;
        let mut ops = Vec::new();
        for Applied { budget: account, .. } in accounts {
            let limit = account.limit;
            let before = known.iter().find(|b| b.id == account.id).map(|b| b.limit);
            match before {
                Some(before) if before != limit && !account.scope.is_of_a_run() => {
                    let (amount, by) = (limit.saturating_sub(before), record.id.to_string());
                    ops.push(Op::TopUp { budget: account.id, amount, by, at: now });
                }
                Some(_) => {}
                None => ops.push(Op::OpenBudget(Box::new(account))),
            }
        }
        Ok(ops)
    }

    async fn seal(&self, project: &Path, globs: &[String]) -> Result<workspace::Sealed, EngineError> {
        let (sandboxes, project, globs) = (Arc::clone(&self.sandboxes), project.to_owned(), globs.to_vec());
        let seal = move || {
            let hidden = sandboxes.hidden(&project, &globs)?;
            workspace::seal(&project, &hidden, &sandboxes.store).map_err(|e| failed(&e))
        };
        tokio::task::spawn_blocking(seal).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
    }

    /// Whether the project's code is still what a run was sealed with; a notice for the run if not.
    ///
    /// # Errors
    /// When the project cannot be read.
    pub async fn note_changed_code(&self, record: &RunRecord, epoch: u64) -> Result<bool, EngineError> {
        let launch: Launch = serde_json::from_value(record.options.launch.clone())
            .map_err(|e| EngineError::Unreadable(e.to_string()))?;
        if !launch.project.is_dir() {
            return Ok(false);
        }
        let now = self.seal(&launch.project, &launch.hide).await?;
        if now.id.to_string() == launch.sealed {
            return Ok(false);
        }
        let message =
            "the project has changed since this run was submitted; the run goes on with its sealed code"
                .to_owned();
        let body = EventBody::Notice { notice: "code.changed".to_owned(), message };
        let event = Event { at: self.engine.clock().now(), body };
        let batch = wflo_core::ports::store::Batch {
            fence: Some(wflo_core::ports::store::Fence { run: record.id, epoch }),
            ops: vec![Op::AppendEvents { run: record.id, events: vec![event] }],
        };
        self.engine.store().commit(batch).await?;
        Ok(true)
    }
}

/// What runs the code of a submission. A workflow without code may still run commands, beside a Python where
/// there is one.
fn interpreter_of(
    submission: &Submission,
    around: &Surroundings,
) -> Result<Option<Interpreter>, EngineError> {
    let Source::Code(entry) = &submission.source else {
        return Ok(submission.python.as_ref().and_then(|python| Interpreter::read(python, around).ok()));
    };
    let found = match (Language::of(entry), &submission.python, &submission.node) {
        (Language::Python, Some(python), _) => {
            Interpreter::read(python, around).map_err(|e| unusable(python, &e))
        }
        (Language::Python, None, _) => Err(interpreter::missing()),
        (Language::Node, _, Some(node)) => {
            Interpreter::node(node, around).map_err(|e| interpreter::unusable_node(node, &e))
        }
        (Language::Node, _, None) => Err(interpreter::no_node()),
    };
    found.map(Some).map_err(EngineError::Failure)
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// New placeholders, for one run.
fn placeholders(secrets: Vec<(String, String)>) -> Result<Vec<Placeholder>, EngineError> {
    let held = |(name, env)| Ok(Placeholder { name, env, placeholder: crate::sandboxed::token()? });
    secrets.into_iter().map(held).collect()
}
