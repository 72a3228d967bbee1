//! What an interpreter is, as far as packages are concerned: asked in a sandbox, and remembered.
//!
//! It is asked once for each file that it is: the answer is kept under the file's place, size, times and inode,
//! so that whoever finds packages that are there starts nothing.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::error::Coded as _;
use wflo_core::size::{Bytes, Millis};
use wflo_sandbox::workspace::HideRules;
use wflo_sandbox::{Launcher, Limits, Spec, Stdio};

use super::error::ImageError;
use super::shown::Shown;
use super::store::Images;
use crate::interpreter::Interpreter;

/// How long it may take, in milliseconds.
const DEADLINE: u64 = 20_000;

const QUESTION: &str = "
import json, platform, sys, sysconfig
print(json.dumps({
    'version': '%d.%d.%d' % sys.version_info[:3],
    'tag': sys.implementation.cache_tag or '',
    'abi': sysconfig.get_config_var('SOABI') or '',
    'platform': sysconfig.get_platform(),
    'libc': ' '.join(platform.libc_ver()),
}))
";

/// What packages depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its file: what an environment is made of refers to it.
    #[serde(default)]
    pub(super) program: PathBuf,
    /// `3.11.7`.
    pub(super) version: String,
    /// `cpython-311`.
    pub(super) tag: String,
    /// `cpython-311-x86_64-linux-gnu`.
    pub(super) abi: String,
    /// `linux-x86_64`.
    pub(super) platform: String,
    /// `glibc 2.36`.
    pub(super) libc: String,
}

/// What the interpreter is, without asking it.
pub(super) fn known(images: &Images, base: &Interpreter) -> Option<Identity> {
    let text = std::fs::read(place(images, &base.program)?).ok()?;
    serde_json::from_slice(&text).ok().filter(|known: &Identity| known.program == base.program)
}

/// What the interpreter is; blocks.
pub(super) fn of(
    images: &Images,
    launcher: &Path,
    base: &Interpreter,
    rules: &HideRules,
) -> Result<Identity, ImageError> {
    if let Some(known) = known(images, base) {
        return Ok(known);
    }
    let unusable = |why: String| ImageError::NoInterpreter { program: base.program.clone(), why };
    let launcher = Launcher::start(launcher).map_err(|e| ImageError::Failure(e.to_failure()))?;
    let program = base.program.clone().into_os_string();
    let mut spec = Spec::new([program, "-I".into(), "-c".into(), QUESTION.into()]);
    let shown = Shown::of(&base.folders, rules, images.store())?;
    spec.ro = shown.binds();
    spec.limits = Limits {
        memory: Some(Bytes(1 << 30)),
        pids: Some(64),
        timeout: Some(Millis(DEADLINE)),
        ..Limits::default()
    };
    let (answer, answer_in) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| ImageError::Broken(e.to_string()))?;
    spec.stdout = Stdio::Fd(answer_in);
    let sandbox = launcher.launch(spec).map_err(|e| ImageError::Failure(e.to_failure()))?;
    sandbox.wait().map_err(|e| ImageError::Failure(e.to_failure()))?;
    let text = said(answer).map_err(|e| unusable(e.to_string()))?;
    let mut identity: Identity =
        serde_json::from_slice(&text).map_err(|_| unusable("it does not say what it is".to_owned()))?;
    identity.program.clone_from(&base.program);
    if let Some(place) = place(images, &base.program) {
        // Not known is asked again: whoever is killed here has lost nothing.
        let text = serde_json::to_vec(&identity).map_err(|e| ImageError::Broken(e.to_string()))?;
        let part = place.with_extension(format!("{}.part", rustix::process::getpid().as_raw_nonzero()));
        let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &place));
        written.map_err(ImageError::io(&place))?;
    }
    Ok(identity)
}

/// What a dead program has left in a pipe: not more than a pipe holds.
fn said(pipe: OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let mut text = vec![0; 64 << 10];
    let read = rustix::io::read(&pipe, &mut text)?;
    text.truncate(read);
    Ok(text)
}

/// Where its answer is kept, by what its file is now.
fn place(images: &Images, program: &Path) -> Option<PathBuf> {
    let about = program.metadata().ok()?;
    let text = format!(
        "{}\0{} {} {} {}.{} {}.{}",
        program.display(),
        about.dev(),
        about.ino(),
        about.len(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec()
    );
    let name = blake3::hash(text.as_bytes()).to_hex();
    Some(images.folder("interpreters").join(format!("{}.json", &name[..32])))
}
