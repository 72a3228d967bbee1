//! An environment of Python packages, as pip installs it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use wflo_sandbox::workspace::Pin;
use wflo_sandbox::{EGRESS_PORT, Outcome, Preset, Spec};

use super::super::error::ImageError;
use super::super::identity::Identity;
use super::super::store::{Held, Kind, Record};
use super::super::{Builder, Building, PYTHON, Progress, Wanted};
use super::network::Sight;
use super::{Work, installed, last_lines, once};
use crate::interpreter::Interpreter;

/// What runs inside.
const INSTALL: &str = include_str!("install.py");
/// How it ends where there is no pip.
const NO_PIP: i32 = 93;
/// The descriptor on which it is told what to install: nothing of it lies in a file of this machine.
const ASKED: i32 = 3;

/// Builds the packages of `key`, or finds them built once nobody else does; whether it built them.
pub(in super::super) async fn python(
    builder: &Builder,
    key: &str,
    wanted: &Wanted,
    base: &Interpreter,
    identity: &Identity,
    building: Building,
    told: &mpsc::Sender<Progress>,
) -> Result<(Record, Held, bool), ImageError> {
    let make = async || install(builder, key, wanted, base, identity, told).await;
    once(builder, key, building, told, make).await
}

/// Installs into a sandbox, and seals what it wrote.
async fn install(
    builder: &Builder,
    key: &str,
    wanted: &Wanted,
    base: &Interpreter,
    identity: &Identity,
    told: &mpsc::Sender<Progress>,
) -> Result<(Record, Pin), ImageError> {
    let sight = Sight::prepare(builder, wanted).await?;
    let asked = json!({
        "target": PYTHON,
        "indexes": wanted.index.filled(|name| sight.placeholder(name)),
        "source_builds": wanted.source_builds,
        "certificates": sight.bundle(),
        "requirements": wanted.requirements.lines(),
        "constraints": wanted.requirements.constraints(),
    });
    let asked = handed(&asked.to_string()).map_err(|e| ImageError::Broken(e.to_string()))?;
    let program = base.program.clone().into_os_string();
    let mut spec = Spec::new([program, "-I".into(), "-c".into(), INSTALL.into()]);
    spec.env = environment();
    spec.preset = if wanted.source_builds { Preset::Build } else { Preset::Default };
    spec.fds = vec![(asked, ASKED)];
    let work = Work {
        spec,
        target: PYTHON,
        disk: wanted.disk,
        folders: base.folders.clone(),
        binds: Vec::new(),
        rules: sight.rules(wanted),
        sight,
        shortens: false,
    };
    let worked = work.run(builder, told).await?;
    let what = wanted.requirements.named();
    if let Some(error) = worked.out_of_room(&what, wanted.disk) {
        return Err(error);
    }
    match worked.outcome {
        Outcome::Exited(0) => {}
        Outcome::Exited(NO_PIP) => return Err(ImageError::NoPip { program: base.program.clone() }),
        outcome => {
            let why = reason(&worked.said).unwrap_or_else(|| format!("it ended ({outcome:?})"));
            let said = last_lines(&worked.said);
            return Err(ImageError::Failed { what, why, said, refused: worked.refused });
        }
    }
    let captured = worked.seal(&builder.images, wanted.disk).await?;
    let images = Arc::clone(&builder.images);
    let named = tokio::task::spawn_blocking(move || {
        let tree = images.store().tree(&captured.layer.id);
        let packages = installed::packages(&tree, &captured.layer.manifest);
        (captured, packages)
    });
    let (captured, packages) = named.await.map_err(|e| ImageError::Broken(e.to_string()))?;
    let record = Record {
        key: key.to_owned(),
        kind: Kind::Python,
        tree: captured.layer.id,
        python: Some(base.program.clone()),
        version: identity.version.clone(),
        requirements: wanted.requirements.lines().to_vec(),
        packages,
        files: Vec::new(),
        left_out: Vec::new(),
        bytes: captured.layer.manifest.bytes(),
        at: builder.clock.now(),
    };
    Ok((record, captured.pin))
}

fn environment() -> Vec<(OsString, OsString)> {
    let proxy = format!("http://127.0.0.1:{EGRESS_PORT}");
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
    names.map(|name| (name.into(), proxy.clone().into())).to_vec()
}

/// A text to be read from a descriptor.
fn handed(text: &str) -> std::io::Result<OwnedFd> {
    use std::io::Seek as _;
    let mut file = File::from(rustix::fs::memfd_create("wflo-build", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// The last line in which it says what went wrong.
fn reason(said: &str) -> Option<String> {
    // It announces a traceback like that, whose last line says more.
    let errors = || {
        let errors = said.lines().rev().filter_map(|line| line.trim().strip_prefix("ERROR: "));
        errors.filter(|line| *line != "Exception:")
    };
    let last =
        errors().find(|line| !line.starts_with("Could not find a version")).or_else(|| errors().next());
    last.or_else(|| said.lines().next_back()).map(|line| line.chars().take(300).collect())
}
