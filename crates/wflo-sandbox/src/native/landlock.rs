//! A second wall around the file system: Landlock, at the newest ABI that kernel and crate know.
//!
//! The mounts already decide what can be written; this holds even if one of them is wrong.
//! A kernel without Landlock is reported by `doctor`, not refused: no promise rests on it alone.

use super::sys::Fault;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const NEWEST: ABI = ABI::V6;

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::new("restricting files with Landlock", libc::EINVAL, error.to_string())
}

/// Makes the rules for the root that this process is in; `None` on a kernel without Landlock.
///
/// # Errors
/// A rule that could not be made where Landlock exists.
pub(crate) fn prepare(writable: &[PathBuf]) -> Result<Option<OwnedFd>, Fault> {
    if super::sys::process::landlock_abi() <= 0 {
        return Ok(None);
    }
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(fault)?;
    let read = AccessFs::from_read(NEWEST);
    let device = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let mut rules = add(rules, Path::new("/"), read)?;
    rules = add(rules, Path::new("/dev"), device)?;
    rules = add(rules, Path::new("/proc"), read | AccessFs::WriteFile | AccessFs::Truncate)?;
    for path in writable {
        let all = AccessFs::from_all(NEWEST);
        rules = add(rules, path, if path.is_dir() { all } else { all & AccessFs::from_file(NEWEST) })?;
    }
    // `None` where the kernel can hold none of it; that was asked for above.
    Ok(rules.into())
}

fn add(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Fault> {
    let place = PathFd::new(path).map_err(fault)?;
    rules.add_rule(PathBeneath::new(place, access)).map_err(fault)
}
