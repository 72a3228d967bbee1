//! What a disk may hold after a loss of power, worked out from a record of all that was done to it.
//!
//! The record is written by `tests/faults/disk.c`, preloaded into the process under test. The model is
//! the strict reading of POSIX: what was flushed is there; of what was written since, any subset may be,
//! in any order, torn at each sector; a name is there for sure only once its folder was flushed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Makes `command` leave a record of what it does below `root` in `log`.
pub fn record(command: &mut Command, root: &Path, log: &Path) {
    command.env("LD_PRELOAD", library()).env("DISK_ROOT", root).env("DISK_LOG", log);
}

/// Makes the operations named by `what` fail for `command`; see `disk.c`.
pub fn fail(command: &mut Command, root: &Path, what: &str) {
    command.env("LD_PRELOAD", library()).env("DISK_ROOT", root).env("DISK_FAIL", what);
}

/// The preloaded library, built once a test process.
fn library() -> PathBuf {
    use std::sync::OnceLock;
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/disk.c");
        // Two test processes may build it at once; each has a file of its own.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&target, &source])
            .status();
        assert!(built.is_ok_and(|built| built.success()), "this test needs a C compiler named cc");
        target
    };
    BUILT.get_or_init(build).clone()
}

/// One thing that was done.
#[derive(Debug, Clone)]
pub enum Done {
    Created {
        inode: u64,
        name: PathBuf,
    },
    Folder {
        name: PathBuf,
    },
    /// The inode is known once it is played.
    Renamed {
        inode: u64,
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        name: PathBuf,
    },
    Written {
        inode: u64,
        at: usize,
        data: Vec<u8>,
    },
    Cut {
        inode: u64,
        length: usize,
    },
    Flushed {
        inode: u64,
        name: PathBuf,
    },
    Said(String),
}

/// Reads a record.
pub fn read(log: &Path) -> Vec<Done> {
    let bytes = fs::read(log).unwrap();
    let (mut rest, mut done) = (bytes.as_slice(), Vec::new());
    while let Some((head, after)) = rest.split_at_checked(25) {
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let (inode, offset, length) = (number(1), number(9) as usize, number(17) as usize);
        let (data, after) = after.split_at(length);
        rest = after;
        let text = || String::from_utf8_lossy(data).into_owned();
        let name = || PathBuf::from(text());
        done.push(match head[0] {
            b'c' => Done::Created { inode, name: name() },
            b'm' => Done::Folder { name: name() },
            b'r' => {
                let both = text();
                let (from, to) = both.split_once('\0').unwrap();
                Done::Renamed { inode: 0, from: from.into(), to: to.into() }
            }
            b'u' => Done::Removed { name: name() },
            b'w' => Done::Written { inode, at: offset, data: data.to_vec() },
            b't' => Done::Cut { inode, length: offset },
            b's' => Done::Flushed { inode, name: name() },
            b'a' => Done::Said(text()),
            other => panic!("a record of kind {other}"),
        });
    }
    done
}

/// What becomes of what was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All of it is there.
    Kept,
    /// Each sector and each name by chance.
    Torn,
}

#[derive(Default)]
struct File {
    flushed: Vec<u8>,
    since: Vec<Done>,
}

/// A disk as it is while the record is played.
#[derive(Default)]
pub struct Disk {
    files: HashMap<u64, File>,
    /// Names that are there for sure; folders have inode 0.
    names: BTreeMap<PathBuf, u64>,
    names_since: Vec<Done>,
    /// Names as the running system sees them.
    seen: BTreeMap<PathBuf, u64>,
}

impl Disk {
    pub fn play(&mut self, done: &Done) {
        let done = &match done {
            Done::Renamed { from, to, .. } => {
                let inode = self.seen.get(from).copied().unwrap_or(0);
                Done::Renamed { inode, from: from.clone(), to: to.clone() }
            }
            other => other.clone(),
        };
        change_name(&mut self.seen, done);
        match done {
            Done::Said(_) => {}
            Done::Written { inode, .. } | Done::Cut { inode, .. } => {
                self.files.entry(*inode).or_default().since.push(done.clone());
            }
            Done::Flushed { inode, name } => {
                if let Some(file) = self.files.get_mut(inode) {
                    for change in std::mem::take(&mut file.since) {
                        change_bytes(&mut file.flushed, &change, &mut |_| true);
                    }
                }
                let (here, elsewhere) = std::mem::take(&mut self.names_since)
                    .into_iter()
                    .partition(|change| in_folder(change, name));
                self.names_since = elsewhere;
                for change in Vec::<Done>::into_iter(here) {
                    change_name(&mut self.names, &change);
                }
            }
            Done::Created { inode, .. } => {
                self.files.insert(*inode, File::default());
                self.names_since.push(done.clone());
            }
            _ => self.names_since.push(done.clone()),
        }
    }

    /// Writes what may be there now into `target`; names are taken relative to `root`.
    pub fn image(&self, root: &Path, target: &Path, fate: Fate, chance: &mut impl FnMut() -> bool) {
        let mut keep = |_: usize| match fate {
            Fate::Lost => false,
            Fate::Kept => true,
            Fate::Torn => chance(),
        };
        let mut names = self.names.clone();
        for change in &self.names_since {
            if keep(0) {
                change_name(&mut names, change);
            }
        }
        for (name, inode) in &names {
            let Ok(place) = name.strip_prefix(root) else { continue };
            let path = target.join(place);
            // A folder without a name has lost what is in it.
            let reachable =
                name.ancestors().skip(1).take_while(|a| *a != root).all(|a| names.contains_key(a));
            if !reachable {
                continue;
            }
            if *inode == 0 {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            let file = &self.files[inode];
            let mut bytes = file.flushed.clone();
            for change in &file.since {
                change_bytes(&mut bytes, change, &mut keep);
            }
            fs::write(path, bytes).unwrap();
        }
    }
}

fn in_folder(change: &Done, folder: &Path) -> bool {
    let parent = |name: &Path| name.parent() == Some(folder);
    match change {
        Done::Created { name, .. } | Done::Folder { name } | Done::Removed { name } => parent(name),
        Done::Renamed { to, .. } => parent(to),
        _ => false,
    }
}

fn change_name(names: &mut BTreeMap<PathBuf, u64>, change: &Done) {
    match change {
        Done::Created { inode, name } => drop(names.insert(name.clone(), *inode)),
        Done::Folder { name } => drop(names.insert(name.clone(), 0)),
        Done::Removed { name } => drop(names.remove(name)),
        Done::Renamed { inode, from, to } => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        _ => {}
    }
}

fn change_bytes(bytes: &mut Vec<u8>, change: &Done, keep: &mut impl FnMut(usize) -> bool) {
    match change {
        Done::Cut { length, .. } if keep(0) => bytes.resize(*length, 0),
        Done::Written { at, data, .. } => {
            let mut from = 0;
            while from < data.len() {
                let to = data.len().min(from + SECTOR - (at + from) % SECTOR);
                if keep(from) {
                    bytes.resize(bytes.len().max(at + to), 0);
                    bytes[at + from..at + to].copy_from_slice(&data[from..to]);
                }
                from = to;
            }
        }
        _ => {}
    }
}
