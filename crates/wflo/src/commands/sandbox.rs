//! `wflo sandbox …`. Linux only; elsewhere the refusal names what to do.

#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod exec;

#[cfg(target_os = "linux")]
pub(crate) use self::{doctor::run as doctor, doctor::summary, exec::run as exec};

#[cfg(not(target_os = "linux"))]
pub(crate) use self::elsewhere::{doctor, exec, summary};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use crate::cli::ExecArgs;
    use crate::commands::Context;
    use crate::commands::doctor::Check;
    use crate::exit::Exit;
    use crate::failure::{CliError, CommandError};

    fn refuse() -> CommandError {
        CliError::OtherSystem { system: std::env::consts::OS }.into()
    }

    pub(crate) fn exec(_args: &ExecArgs, _context: &Context<'_>) -> Result<Exit, CommandError> {
        Err(refuse().exiting(Exit::NoSandbox))
    }

    pub(crate) fn doctor(_context: &Context<'_>) -> Result<Exit, CommandError> {
        Err(refuse())
    }

    /// The system itself is the check that fails here.
    pub(crate) fn summary() -> Vec<Check> {
        Vec::new()
    }
}
