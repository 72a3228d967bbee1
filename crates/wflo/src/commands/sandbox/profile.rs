//! `wflo sandbox profile`: the policy of sandboxes, as other engines read it.

use crate::cli::{ProfileArgs, ProfileFormat};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;

/// Prints it.
pub(crate) fn run(args: &ProfileArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    match args.format {
        ProfileFormat::SeccompJson => {
            let profile = wflo_sandbox::seccomp_profile(args.preset);
            printer.line(format_args!("{profile:#}"));
            printer.object(&profile);
        }
        ProfileFormat::Apparmor => {
            let profile = wflo_sandbox::apparmor_profile(args.preset);
            printer.line(profile.trim_end());
            printer.object(&Text { profile: &profile });
        }
    }
    Ok(Exit::Success)
}

/// What `--json` prints of a profile that is no JSON.
#[derive(serde::Serialize)]
struct Text<'a> {
    profile: &'a str,
}
