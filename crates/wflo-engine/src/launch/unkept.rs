//! What a backend could not keep of what is asked for: refused before anything is run.

use wflo_core::error::{Code, Coded as _, Failure};
use wflo_sandbox::{Preset, e2b};

use super::{Backend, Launch};
use crate::error::EngineError;

/// The backend has no place for packages that were built here.
const NOT_FOR_BACKEND: Code = Code(5336);
/// What is asked for needs isolation, and there is none.
const NOT_ISOLATED: Code = Code(5008);

impl Launch {
    /// Refuses what the backend could not keep, before anything is run.
    ///
    /// # Errors
    /// Each setting that it could not keep.
    pub fn check(&self) -> Result<(), EngineError> {
        let refuse = |message: &str, hint: &str| Failure::new(NOT_ISOLATED, message).with_hint(hint);
        let mut problems = Vec::new();
        if self.packages.is_some() {
            problems.extend(no_place_for_packages(self.backend, self.in_image()));
        }
        if self.system.is_some() {
            problems.extend(no_place_for_programs(self.backend));
        }
        if self.backend == Backend::E2b {
            problems.extend(self.unkept_in_cloud());
        }
        if self.backend != Backend::None {
            return if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) };
        }
        if self.require_kernel {
            problems.push(refuse(
                "`require = \"kernel\"` and the backend \"none\" exclude each other: without isolation the kernel enforces nothing",
                "leave one of them out",
            ));
        }
        if !self.allow_hosts.is_empty() {
            problems.push(refuse(
                "allow_hosts needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave allow_hosts out, or use the backend \"native\"",
            ));
        }
        if !self.said_hosts.is_empty() {
            problems.push(refuse(
                "what was said with `wflo egress` to the run that is retried needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "start a new run, or use the backend \"native\"",
            ));
        }
        if !self.secrets.is_empty() {
            problems.push(refuse(
                "[secrets] needs isolation: with the backend \"none\" nothing stands between a step and a host",
                "leave it out, or use the backend \"native\"",
            ));
        }
        if self.ask_hosts.is_some() {
            problems.push(refuse(
                "unknown_hosts = \"ask\" needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave it out, or use the backend \"native\"",
            ));
        }
        if !self.ask_rules.is_empty() {
            problems.push(refuse(
                "ask_hosts needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave ask_hosts out, or use the backend \"native\"",
            ));
        }
        if self.preset == Preset::Strict {
            problems.push(refuse(
                "`preset = \"strict\"` needs isolation: with the backend \"none\" a step may ask the kernel for anything",
                "leave one of them out",
            ));
        }
        if self.sandbox.disk.is_some() {
            problems.push(refuse(
                "disk_limit needs isolation: with the backend \"none\" nothing bounds what a step writes",
                "leave disk_limit out, or use the backend \"native\"",
            ));
        }
        if self.sandbox.inodes.is_some() {
            problems.push(refuse(
                "inodes_limit needs isolation: with the backend \"none\" nothing bounds how many files a step makes",
                "leave inodes_limit out, or use the backend \"native\"",
            ));
        }
        for (source, target) in self.ro.iter().chain(&self.rw).filter(|(source, target)| source != target) {
            problems.push(refuse(
                &format!(
                    "with the backend \"none\" {} cannot be shown at {}",
                    source.display(),
                    target.display()
                ),
                "use the path that it has on this machine for both, or the backend \"native\"",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
    }

    /// What a cloud would not keep.
    fn unkept_in_cloud(&self) -> Vec<Failure> {
        let no_folder = "it sees no folder of this machine; what steps need belongs into the template";
        let asked = [
            (!self.ro.is_empty(), "`ro`", no_folder),
            (!self.rw.is_empty(), "`rw`", no_folder),
            (self.sandbox.disk.is_some(), "disk_limit", "the template decides how large its disk is"),
            (
                self.sandbox.inodes.is_some(),
                "inodes_limit",
                "the template decides how many files its disk has room for",
            ),
            (
                self.require_kernel,
                "`require = \"kernel\"`",
                "its kernel is the cloud's, and limits are watched over",
            ),
        ];
        let asked = asked.into_iter().filter(|(asked, ..)| *asked);
        asked.map(|(_, setting, why)| e2b::Error::Unkept { setting, why }.to_failure()).collect()
    }
}

/// Why packages that are installed here are none for steps of this backend; `None` where they are.
#[must_use]
pub fn no_place_for_packages(backend: Backend, is_image: bool) -> Option<Failure> {
    let (message, hint) = match backend {
        Backend::None => (
            "requirements are shown to sandboxes, and with the backend \"none\" there are none",
            "install them into the project's virtual environment, or use the backend \"native\"",
        ),
        Backend::Docker if is_image => (
            "requirements are installed for a Python of this machine, and steps of an image have its own",
            "install them into the image, or leave `image` or `requirements` out",
        ),
        Backend::E2b => (
            "requirements are installed for a Python of this machine, and steps in a cloud have the template's",
            "install them into the template, or leave `requirements` out",
        ),
        Backend::Native | Backend::Docker => return None,
    };
    Some(Failure::new(NOT_FOR_BACKEND, message).with_hint(hint))
}

/// Why programs of this machine's distribution are none for steps of this backend; `None` where they are.
#[must_use]
pub fn no_place_for_programs(backend: Backend) -> Option<Failure> {
    let (message, hint) = match backend {
        Backend::Native => return None,
        Backend::None => (
            "packages are shown to sandboxes, and with the backend \"none\" there are none",
            "install them on this machine, or use the backend \"native\"",
        ),
        Backend::Docker => (
            "packages are fetched for this machine's toolchain, which containers are not laid over",
            "use an `image` that has them and leave `packages` out, or use the backend \"native\"",
        ),
        Backend::E2b => (
            "packages are fetched for this machine, and steps in a cloud have the programs of their template",
            "install them into the template, and leave `packages` out",
        ),
    };
    Some(Failure::new(NOT_FOR_BACKEND, message).with_hint(hint))
}
