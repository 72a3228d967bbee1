//! What happens in a folder, as the kernel tells it.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entry::Entry;
use super::{Request, place};
use crate::fault::{Fault, Kind};

/// Of `WatchDir` and `CreateWatcher`. Network mounts do not exist here, so whether they are allowed says nothing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    #[serde(default)]
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    include_entry: bool,
}

/// `filesystem.FilesystemEvent`.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<Entry>,
}

/// How many folders one watch may look at.
const FOLDERS: usize = 8_192;

/// A folder that is being watched.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    root: PathBuf,
    recursive: bool,
    include_entry: bool,
    /// Where each of the kernel's watches is, below the root.
    folders: BTreeMap<i32, PathBuf>,
}

impl Watch {
    /// # Errors
    /// When there is no such folder, or the kernel watches no more.
    pub(super) fn new(asked: &Asked) -> Result<Watch, Fault> {
        let root = place::absolute(&asked.path)?;
        let found = std::fs::metadata(&root).map_err(|error| {
            Fault::of_io(&format!("the folder {} cannot be watched", root.display()), &error)
        })?;
        if !found.is_dir() {
            return Err(Fault::invalid(format!("the path {} is no folder", root.display())));
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| Fault::of_io("nothing more can be watched", &error.into()))?;
        let (recursive, include_entry) = (asked.recursive, asked.include_entry);
        let mut watch = Watch { inotify, root, recursive, include_entry, folders: BTreeMap::new() };
        watch.add(Path::new(""))?;
        Ok(watch)
    }

    /// Watches a folder, and those in it where that was asked for.
    fn add(&mut self, below: &Path) -> Result<(), Fault> {
        let mut waiting = vec![below.to_owned()];
        while let Some(below) = waiting.pop() {
            if self.folders.len() >= FOLDERS {
                return Err(Fault::new(
                    Kind::ResourceExhausted,
                    format!("more than {FOLDERS} folders are below it"),
                ));
            }
            let wanted = WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR
                | WatchFlags::DONT_FOLLOW;
            let folder = self.root.join(&below);
            match inotify::add_watch(&self.inotify, &folder, wanted) {
                Ok(watch) => drop(self.folders.insert(watch, below.clone())),
                // It has gone meanwhile, or is nobody's to look into.
                Err(_) if below != Path::new("") => continue,
                Err(error) => return Err(Fault::of_io("the folder cannot be watched", &error.into())),
            }
            if !self.recursive {
                break;
            }
            let inside = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = inside.filter(|found| found.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting.extend(folders.map(|found| below.join(found.file_name())));
        }
        Ok(())
    }

    /// Waits for events, or until `other` hangs up: then there are none.
    pub(super) fn next(&mut self, other: BorrowedFd<'_>) -> Result<Option<Vec<Event>>, Fault> {
        let failed = |error: rustix::io::Errno| Fault::of_io("the folder is watched no more", &error.into());
        loop {
            let watched = self.inotify.as_fd();
            let mut wanted = [PollFd::new(&watched, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
            match poll(&mut wanted, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed(error)),
                Ok(_) => {}
            }
            let [news, other] = wanted.map(|fd| !fd.revents().is_empty());
            if other {
                return Ok(None);
            }
            if news {
                return self.read().map(Some);
            }
        }
    }

    fn read(&mut self) -> Result<Vec<Event>, Fault> {
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut told = Vec::new();
        let inotify = self.inotify.try_clone().map_err(|error| Fault::of_io("watching ended", &error))?;
        let mut reader = Reader::new(&inotify, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    told.push((event.wd(), event.events(), name));
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::of_io("the folder is watched no more", &error.into())),
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        let mut events = Vec::new();
        for (watch, flags, name) in told {
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(Fault::new(
                    Kind::ResourceExhausted,
                    "more happened than was read: watch it anew",
                ));
            }
            if flags.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
                continue;
            }
            let (Some(folder), Some(name)) = (self.folders.get(&watch), name) else { continue };
            let below = folder.join(name);
            let is_new = flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            if self.recursive && is_new && flags.contains(ReadFlags::ISDIR) {
                self.add(&below)?;
            }
            events.extend(self.event(&below, flags));
        }
        Ok(events)
    }

    fn event(&self, below: &Path, flags: ReadFlags) -> Option<Event> {
        let kinds = [
            (ReadFlags::CREATE | ReadFlags::MOVED_TO, "EVENT_TYPE_CREATE"),
            (ReadFlags::MODIFY, "EVENT_TYPE_WRITE"),
            (ReadFlags::DELETE, "EVENT_TYPE_REMOVE"),
            (ReadFlags::MOVED_FROM, "EVENT_TYPE_RENAME"),
            (ReadFlags::ATTRIB, "EVENT_TYPE_CHMOD"),
        ];
        let (_, kind) = kinds.into_iter().find(|(mask, _)| flags.intersects(*mask))?;
        let entry = if self.include_entry { Entry::of(&self.root.join(below)).ok() } else { None };
        Some(Event { name: below.to_string_lossy().into_owned(), r#type: kind, entry })
    }
}

/// Tells of a folder for as long as somebody listens.
pub(super) fn stream(request: &mut Request, asked: &Asked) -> Result<(), Fault> {
    let mut watch = Watch::new(asked)?;
    request.answer(&json!({ "start": {} }))?;
    let other = request.stream.try_clone().map_err(|error| Fault::of_io("nobody listens", &error))?;
    while let Some(events) = watch.next(other.as_fd())? {
        for event in events {
            request.answer(&json!({ "filesystem": event }))?;
        }
    }
    Ok(())
}
