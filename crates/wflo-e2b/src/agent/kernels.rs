//! Contexts of code: each has a kernel of its own, from its first code on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;
use serde::Serialize;
use serde_json::json;

use super::kernel::{self, Ended, Kernel};
use super::{Request, place};
use crate::ask::{BEGUN, Execute, NewContext, WhichContext};
use crate::fault::{Fault, Kind};

/// How many contexts there may be.
const MOST: usize = 16;
/// The one that code is run in when none is named.
const DEFAULT: &str = "python";

/// One context.
#[derive(Debug)]
struct Context {
    id: String,
    folder: PathBuf,
    /// Held while code runs: code of one context runs one after the other.
    kernel: Mutex<Option<Kernel>>,
    /// To end the kernel while code runs.
    group: Mutex<Option<Pid>>,
}

/// What is told of one.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    id: String,
    language: &'static str,
    cwd: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Kernels {
    all: Mutex<BTreeMap<String, Arc<Context>>>,
    made: AtomicU64,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    fn told(&self) -> Told {
        Told { id: self.id.clone(), language: "python", cwd: self.folder.display().to_string() }
    }

    /// Ends what runs, whoever waits for it.
    fn kill(&self) {
        if let Some(group) = held(&self.group).take() {
            kernel::kill(group);
        }
    }

    fn run(&self, asked: &Execute, request: &mut Request) -> Result<(), Fault> {
        let mut kernel = held(&self.kernel);
        let running = match &mut *kernel {
            Some(running) => running,
            none => none.insert(Kernel::start(&self.folder)?),
        };
        *held(&self.group) = running.group();
        let env = asked.env_vars.clone().unwrap_or_default();
        let ended = running.run(&asked.code, &env, request);
        if !matches!(ended, Ok(Ended::Ready)) {
            *kernel = None;
            *held(&self.group) = None;
        }
        ended.map(drop)
    }
}

impl Kernels {
    pub(super) fn create(&self, asked: NewContext) -> Result<Told, Fault> {
        python(asked.language.as_deref())?;
        let id = format!("python-{}", self.made.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(self.add(id, asked.cwd.as_deref().unwrap_or_default())?.told())
    }

    fn add(&self, id: String, folder: &str) -> Result<Arc<Context>, Fault> {
        let folder = place::absolute(folder)?;
        if !folder.is_dir() {
            return Err(Fault::invalid(format!("the working directory {} does not exist", folder.display())));
        }
        let mut all = held(&self.all);
        if let Some(there) = all.get(&id) {
            return Ok(Arc::clone(there));
        }
        if all.len() >= MOST {
            let why = format!("there are {MOST} contexts already: remove one");
            return Err(Fault::new(Kind::ResourceExhausted, why));
        }
        let (kernel, group) = (Mutex::new(None), Mutex::new(None));
        let context = Arc::new(Context { id: id.clone(), folder, kernel, group });
        all.insert(id, Arc::clone(&context));
        Ok(context)
    }

    fn find(&self, id: &str) -> Result<Arc<Context>, Fault> {
        let missing = || Fault::new(Kind::NotFound, format!("there is no context {id}"));
        held(&self.all).get(id).cloned().ok_or_else(missing)
    }

    pub(super) fn execute(&self, request: &mut Request, asked: Execute) -> Result<(), Fault> {
        python(asked.language.as_deref())?;
        let context = match &asked.context_id {
            Some(id) => self.find(id)?,
            None => self.add(DEFAULT.to_owned(), "")?,
        };
        request.answer(&json!({ "type": BEGUN }))?;
        context.run(&asked, request)
    }

    pub(super) fn list(&self) -> Vec<Told> {
        held(&self.all).values().map(|context| context.told()).collect()
    }

    pub(super) fn end(&self, which: &WhichContext) -> Result<(), Fault> {
        let context = self.find(&which.id)?;
        held(&self.all).remove(&which.id);
        context.kill();
        Ok(())
    }

    /// Its variables are gone; the next code begins anew.
    pub(super) fn restart(&self, which: &WhichContext) -> Result<(), Fault> {
        let context = self.find(&which.id)?;
        context.kill();
        *held(&context.kernel) = None;
        Ok(())
    }
}

fn python(language: Option<&str>) -> Result<(), Fault> {
    match language {
        None | Some("python" | "python3") => Ok(()),
        Some(other) => Err(Fault::new(
            Kind::Unimplemented,
            format!("there is no kernel for `{other}`: Python alone has one"),
        )),
    }
}
