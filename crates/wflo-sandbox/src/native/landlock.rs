//! A second wall around the file system: Landlock, at the newest ABI that kernel and crate know.
//!
//! The mounts already decide what can be written; this holds even if one of them is wrong.
//! A kernel without Landlock is reported by `doctor`, not refused: no promise rests on it alone.

use super::sys::Fault;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NEWEST: ABI = ABI::V6;

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::new("restricting files with Landlock", libc::EINVAL, error.to_string())
}

/// Makes the rules for the root that this process is in; `None` on a kernel without Landlock.
///
/// # Errors
/// As [`Rules::begin`] and [`Rules::allow`].
pub(crate) fn prepare(writable: &[PathBuf]) -> Result<Option<OwnedFd>, Fault> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", folder, Mode::empty()).map_err(fault)?;
    let mut rules = Rules::begin(root.as_fd())?;
    rules.allow(writable)?;
    Ok(rules.complete())
}

/// Rules that can still be added to; none on a kernel without Landlock.
#[derive(Debug)]
pub(crate) struct Rules(Option<RulesetCreated>);

impl Rules {
    /// The rules for what every program may: read beneath `root`, and use its devices and processes.
    ///
    /// # Errors
    /// A rule that could not be made where Landlock exists.
    pub(crate) fn begin(root: BorrowedFd<'_>) -> Result<Self, Fault> {
        if super::sys::process::landlock_abi() <= 0 {
            return Ok(Rules(None));
        }
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
            .and_then(Ruleset::create)
            .map_err(fault)?;
        let read = AccessFs::from_read(NEWEST);
        let device = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        let own = read | AccessFs::WriteFile | AccessFs::Truncate;
        let mut rules = Rules(Some(rules));
        for (name, access) in [(".", read), ("dev", device), ("proc", own)] {
            let place = rustix::fs::openat(root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            rules.add(place, Path::new(name), access)?;
        }
        Ok(rules)
    }

    /// Lets these paths of the root that this process is in be written.
    ///
    /// # Errors
    /// A rule that could not be made.
    pub(crate) fn allow(&mut self, writable: &[PathBuf]) -> Result<(), Fault> {
        writable.iter().try_for_each(|path| {
            let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            self.add(place, path, AccessFs::from_all(NEWEST))
        })
    }

    /// The rules as they are handed to the kernel; `None` where it can hold none of them.
    pub(crate) fn complete(self) -> Option<OwnedFd> {
        self.0.and_then(Into::into)
    }

    /// A file gets what of `access` files can have.
    fn add(
        &mut self,
        place: rustix::io::Result<OwnedFd>,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> Result<(), Fault> {
        let Some(rules) = &mut self.0 else { return Ok(()) };
        let named = |error| fault(format!("{}: {error}", path.display()));
        let place = place.map_err(named)?;
        let found = rustix::fs::fstat(&place).map_err(named)?;
        let folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let access = if folder { access } else { access & AccessFs::from_file(NEWEST) };
        rules.add_rule(PathBeneath::new(place, access)).map(drop).map_err(fault)
    }
}
