//! One step: what it changes at its path.
//!
//! Owns the look before a change and the look after it, and each change of the file system that a step can be. Which
//! steps are done, and in which order, is its parent's.

use std::os::fd::AsRawFd;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::super::super::attributes;
use super::super::super::beneath;
use super::super::super::error::IoAt;
use super::super::super::path::RelPath;
use super::super::journal::{Op, State};
use super::stage::{self, Slot};
use super::stand::{MADE, OPEN, is_tagging, is_under_way, stands};
use super::{Halt, Hands};

impl Hands<'_> {
    pub(super) fn step(&self, slot: Slot, op: &Op) -> Result<(), Halt> {
        self.stage.crash_point()?;
        let now = self.entry(&op.path)?;
        if stands(now.as_ref(), op, op.to.as_ref()) {
            return Ok(());
        }
        let cut_short = now.as_ref().is_some_and(|now| is_under_way(now, op));
        if !(stands(now.as_ref(), op, op.from.as_ref()) || cut_short)
            || self.place.hidden_still(&op.path)?.is_some()
        {
            return Err(Halt::Blocked);
        }
        match (&op.from, &op.to) {
            (Some(from), Some(to)) if from.entry.kind == to.entry.kind => {
                // Other names of the file, which may lie outside of the project, keep their mode.
                match self.stage.holds(slot)? {
                    true => self.replace(slot, &op.path, from),
                    false => self.set(op, to),
                }
            }
            (None, Some(to)) if to.entry.is_dir() && cut_short => self.set(op, to),
            (None, Some(to)) if to.entry.is_dir() => self.make_folder(&op.path, to),
            (Some(from), None) if from.entry.is_dir() => self.remove_folder(op),
            (None, Some(_)) => self.put(slot, &op.path),
            (Some(from), Some(_)) => self.replace(slot, &op.path, from),
            (Some(from), None) => self.remove(slot, &op.path, from),
            (None, None) => Ok(()),
        }
    }

    fn parent<'p>(&self, path: &'p RelPath) -> Result<(std::os::fd::OwnedFd, &'p [u8]), Halt> {
        match beneath::open_parent(self.place.root(), path) {
            Err(error) if beneath::is_absent(&error) => Err(Halt::Blocked),
            other => Ok(other.at("open the folder of", &self.place.shown(path))?),
        }
    }

    /// Sets a mode, and the attributes of a folder where the step changes them.
    fn set(&self, op: &Op, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(&op.path);
        let found = beneath::look(self.place.root(), op.path.as_bytes()).at("open", &shown)?;
        let (found, stat) = found.ok_or(Halt::Blocked)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink || is_shared(&stat) {
            return Err(Halt::Blocked);
        }
        // The magic link of the descriptor is the very file that was looked at.
        let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
        let set = |mode: u32| rustix::fs::chmod(magic.as_str(), Mode::from_raw_mode(mode));
        let mut now = stat.st_mode & 0o7777;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && self.attributes && is_tagging(op) {
            // Somebody else's cannot be opened, and then refuses the attributes.
            if now & 0o200 == 0 && set(now | OPEN).is_ok() {
                now |= OPEN;
                self.stage.crash_point()?;
            }
            self.set_attributes(&found, &op.path, to)?;
        }
        if now & 0o777 == to.entry.mode {
            return Ok(());
        }
        Ok(set(to.entry.mode).at("set the mode of", &shown)?)
    }

    /// Of a folder that is there. One that refuses some, which a trial of another file did not show, is without.
    fn set_attributes(
        &self,
        folder: &impl std::os::fd::AsFd,
        path: &RelPath,
        to: &State,
    ) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let all = attributes::change(folder, &to.entry.attributes).at("set the attributes of", &shown)?;
        self.stage.crash_point()?;
        if !all {
            self.bare.borrow_mut().insert(path.clone());
        }
        Ok(())
    }

    fn make_folder(&self, path: &RelPath, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(MADE)) {
            Err(Errno::EXIST) => return Err(Halt::Blocked),
            other => other.at("create the folder", &shown)?,
        }
        self.stage.crash_point()?;
        let dir = beneath::open_dir(&parent, name).at("open the folder", &shown)?;
        if self.attributes {
            self.set_attributes(&dir, path, to)?;
        }
        stage::own_like(&dir, &parent, None).at("give away", &shown)?;
        Ok(rustix::fs::fchmod(&dir, Mode::from_raw_mode(to.entry.mode)).at("set the mode of", &shown)?)
    }

    fn remove_folder(&self, op: &Op) -> Result<(), Halt> {
        let (parent, name) = self.parent(&op.path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) if op.may_stay => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Err(Halt::Blocked),
            other => Ok(other.at("remove the folder", &self.place.shown(&op.path))?),
        }
    }

    fn put(&self, slot: Slot, path: &RelPath) -> Result<(), Halt> {
        let (parent, name) = self.parent(path)?;
        self.stage.own_like(slot, &parent, None)?;
        self.rename(&self.stage.folder(), &slot.new_name(), &parent, name, path)
    }

    fn replace(&self, slot: Slot, path: &RelPath, from: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let (parent, name) = self.parent(path)?;
        self.stage.own_like(slot, &parent, Some(name))?;
        let staged = slot.new_name();
        let folder = self.stage.folder();
        match rustix::fs::renameat_with(folder, &*staged, &parent, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(Halt::Blocked),
            // A file system without exchange: the check just before is what there is.
            Err(Errno::INVAL | Errno::NOSYS) => {
                return Ok(rustix::fs::renameat(folder, &*staged, &parent, name).at("replace", &shown)?);
            }
            Err(error) => Err(error).at("replace", &shown)?,
        }
        self.stage.crash_point()?;
        if self.stage.is_expected(&staged, from, self.place)? {
            self.stage.remove(&staged)?;
            return Ok(());
        }
        rustix::fs::renameat_with(folder, &*staged, &parent, name, RenameFlags::EXCHANGE)
            .at("put back", &shown)?;
        Err(Halt::Blocked)
    }

    fn remove(&self, slot: Slot, path: &RelPath, from: &State) -> Result<(), Halt> {
        let (parent, name) = self.parent(path)?;
        let taken = slot.old_name();
        self.rename(&parent, name, &self.stage.folder(), &taken, path)?;
        self.stage.crash_point()?;
        if self.stage.is_expected(&taken, from, self.place)? {
            self.stage.remove(&taken)?;
            return Ok(());
        }
        self.rename(&self.stage.folder(), &taken, &parent, name, path)?;
        Err(Halt::Blocked)
    }

    /// Renames without replacing anything.
    fn rename(
        &self,
        from: &impl std::os::fd::AsFd,
        old: &[u8],
        to: &impl std::os::fd::AsFd,
        new: &[u8],
        path: &RelPath,
    ) -> Result<(), Halt> {
        match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::NOENT) => Err(Halt::Blocked),
            other => Ok(other.at("rename", &self.place.shown(path))?),
        }
    }
}

/// Whether a file has several names. The links of a folder are not such.
pub(super) fn is_shared(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) != FileType::Directory && stat.st_nlink > 1
}
