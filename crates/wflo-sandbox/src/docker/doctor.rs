//! Whether containers work here, found by really starting one.

use super::{DaemonSays, Docker, Options, ask, resolve};
use crate::native::exit::Outcome;
use crate::native::{Finding, Spec, State};
use crate::workspace::Store;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use wflo_core::error::Coded as _;

/// Starts a container of this host's own toolchain on the daemon at `host`; `program` as for
/// [`Docker::start`]. A daemon that does not answer is nothing that is missing: the native sandbox needs none.
pub fn doctor(program: &Path, host: &str) -> Finding {
    let finding = |state, detail: String, fix: Option<String>| Finding { name: "docker", state, detail, fix };
    let daemon = match ask(host, async |api| DaemonSays::of(&api).await) {
        Ok(daemon) => daemon,
        Err(error) => return finding(State::Untested, error.to_string(), error.hint()),
    };
    let runtimes = daemon.runtimes.join(", ");
    let gvisor =
        if daemon.runtimes.iter().any(|name| name.starts_with("runsc")) { "" } else { "; no gVisor (runsc)" };
    match probe(program, host) {
        Ok(Outcome::Exited(0)) => {
            let detail =
                format!("a container was started and ended as it should; runtimes {runtimes}{gvisor}");
            finding(State::Ok, detail, None)
        }
        Ok(outcome) => {
            let fix = "run `wflo sandbox exec --sandbox docker -- true` and see what it says".to_owned();
            finding(
                State::Degraded,
                format!("a container was started and `true` ended: {outcome:?}"),
                Some(fix),
            )
        }
        Err(error) => finding(State::Degraded, error.to_string(), error.hint()),
    }
}

fn probe(program: &Path, host: &str) -> Result<Outcome, crate::native::Error> {
    let io = |source| super::Error::Io { what: "making a folder", source };
    let folder = tempfile::tempdir().map_err(io)?;
    let store = Arc::new(Store::open(folder.path())?);
    let options = Options::default();
    let image = resolve(host, &options, &BTreeMap::new())?;
    let docker = Docker::start(program, host, &store, &options, &image)?;
    docker.make_none_ahead();
    Ok(docker.launch(Spec::new(["true"]), None)?.wait()?.outcome)
}
