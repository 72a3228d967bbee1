//! What isolates the steps of a run, and who may choose it.

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};

use crate::error::EngineError;

/// The workflow and the settings name different backends.
const BACKENDS_DIFFER: Code = Code(1012);

/// What keeps steps from the rest of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Linux namespaces, made by wflo itself.
    #[default]
    Native,
    /// Containers.
    Docker,
    /// Sandboxes of a cloud that speaks E2B's API.
    E2b,
    /// Nothing; asked for by name.
    None,
}

impl Backend {
    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Native => "native",
            Backend::Docker => "docker",
            Backend::E2b => "e2b",
            Backend::None => "none",
        }
    }

    /// The backend with a name.
    pub fn named(name: &str) -> Option<Backend> {
        [Backend::Native, Backend::Docker, Backend::E2b, Backend::None]
            .into_iter()
            .find(|backend| backend.name() == name)
    }

    /// Whoever starts the run decides, by an option or by the settings. A workflow may insist on a
    /// backend, and does not choose one: its definition comes from code that is not trusted, which must
    /// not take off the walls around itself.
    ///
    /// # Errors
    /// When the workflow wants another one.
    pub fn choose(
        given: Option<Backend>,
        settings: Option<Backend>,
        workflow: Option<Backend>,
    ) -> Result<Backend, EngineError> {
        if let Some(given) = given {
            return Ok(given);
        }
        let chosen = settings.unwrap_or_default();
        match workflow.filter(|wanted| *wanted != chosen) {
            None => Ok(chosen),
            Some(wanted) => {
                let message = format!(
                    "the workflow says backend=\"{}\", and it is started with \"{}\"",
                    wanted.name(),
                    chosen.name()
                );
                let hint = format!(
                    "a workflow cannot choose this by itself: say it yourself, with --sandbox {} or as backend under [sandbox] in wflo.toml",
                    wanted.name()
                );
                Err(EngineError::Invalid(vec![Failure::new(BACKENDS_DIFFER, message).with_hint(hint)]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_the_run_decides_and_nobody_else_lowers_a_wall() {
        let choose = |given, settings, workflow| Backend::choose(given, settings, workflow).ok();
        let (native, none) = (Some(Backend::Native), Some(Backend::None));
        assert_eq!(choose(None, None, None), native);
        assert_eq!(choose(None, none, None), none);
        assert_eq!(choose(None, None, none), None, "code does not take off a wall");
        assert_eq!(choose(None, native, none), None);
        assert_eq!(choose(None, none, none), none);
        assert_eq!(choose(None, none, native), None);
        assert_eq!(choose(native, none, none), native);
        assert_eq!(choose(none, native, native), none);
    }

    #[test]
    fn a_run_of_an_earlier_release_is_isolated() {
        assert_eq!(Backend::default(), Backend::Native);
        assert_eq!(Backend::named("none"), Some(Backend::None));
        assert_eq!(Backend::named("docker"), Some(Backend::Docker));
        assert_eq!(Backend::named("e2b"), Some(Backend::E2b));
        assert_eq!(Backend::named("gvisor"), None);
    }
}
