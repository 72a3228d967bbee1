//! The bytes between engine, launcher and pid 1: length-prefixed, read only with bounds checks.
//!
//! Both ends are the same binary, so there is no version; the frames never leave this host.

use super::exit::{Outcome, Usage};
use super::io::{Device, IoLimits};
use super::preset::Preset;
use super::spec::{Bind, Limits, View};
use super::sys::Fault;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use wflo_core::size::{Bytes, MilliCpus, Millis};

/// Builds a frame.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

/// Reads a frame; `None` when it ends early or holds what it cannot hold.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }
    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }
    pub(crate) fn text(&mut self, value: &OsStr) {
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(value.as_bytes());
    }
    pub(crate) fn path(&mut self, value: &Path) {
        self.text(value.as_os_str());
    }
    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
    pub(crate) fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(values.len() as u32);
        for value in values {
            write(self, value);
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.u8()? != 0)
    }
    pub(crate) fn text(&mut self) -> Option<OsString> {
        let length = self.u32()? as usize;
        Some(OsString::from_vec(self.take(length)?.to_vec()))
    }
    pub(crate) fn path(&mut self) -> Option<PathBuf> {
        self.text().map(PathBuf::from)
    }
    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }
    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(read(self)?);
        }
        Some(values)
    }
}

/// A request as the launcher gets it: a [`super::spec::Spec`] whose descriptors came beside it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) home: Vec<(PathBuf, OsString)>,
    pub(crate) workspace: Option<View>,
    pub(crate) beneath: Option<PathBuf>,
    pub(crate) ro: Vec<Bind>,
    pub(crate) rw: Vec<Bind>,
    pub(crate) limits: Limits,
    /// Those that limits on disks hold for.
    pub(crate) disks: Vec<Device>,
    /// Whether standard input, output and error came as descriptors.
    pub(crate) stdio: [bool; 3],
    /// The numbers inside of the descriptors that came after those.
    pub(crate) fds: Vec<RawFd>,
    /// Whether a descriptor to be held came before all of those.
    pub(crate) held: bool,
    pub(crate) model_listener: bool,
    pub(crate) egress_listener: bool,
    pub(crate) hostname: String,
    pub(crate) pts: bool,
    pub(crate) terminal: bool,
    pub(crate) preset: Preset,
}

fn write_bind(to: &mut Writer, bind: &Bind) {
    to.path(&bind.source);
    to.path(&bind.target);
    to.option(bind.mask.as_ref(), |to, mask| to.path(mask));
}

fn read_bind(from: &mut Reader<'_>) -> Option<Bind> {
    Some(Bind { source: from.path()?, target: from.path()?, mask: from.option(Reader::path)? })
}

fn read_string(from: &mut Reader<'_>) -> Option<String> {
    from.text()?.into_string().ok()
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.text(OsStr::new(&self.name));
        to.list(&self.command, |to, part| to.text(part));
        to.path(&self.cwd);
        to.list(&self.env, |to, (name, value)| {
            to.text(name);
            to.text(value);
        });
        to.list(&self.home, |to, (path, text)| {
            to.path(path);
            to.text(text);
        });
        to.option(self.workspace.as_ref(), |to, view| {
            to.list(&view.lowers, |to, lower| to.path(lower));
            to.path(&view.target);
        });
        to.option(self.beneath.as_ref(), |to, tree| to.path(tree));
        to.list(&self.ro, write_bind);
        to.list(&self.rw, write_bind);
        to.option(self.limits.memory, |to, limit| to.u64(limit.0));
        to.option(self.limits.cpus, |to, limit| to.u64(limit.0));
        to.option(self.limits.pids, Writer::u32);
        to.option(self.limits.disk, |to, limit| to.u64(limit.0));
        to.option(self.limits.inodes, Writer::u32);
        to.option(self.limits.timeout, |to, limit| to.u64(limit.0));
        let io = self.limits.io;
        to.option(io.read, |to, limit| to.u64(limit.0));
        to.option(io.write, |to, limit| to.u64(limit.0));
        to.option(io.read_ops, Writer::u32);
        to.option(io.write_ops, Writer::u32);
        to.list(&self.disks, |to, disk| {
            to.u32(disk.0);
            to.u32(disk.1);
        });
        self.stdio.iter().for_each(|given| to.flag(*given));
        to.list(&self.fds, |to, fd| to.u32(*fd as u32));
        to.flag(self.held);
        to.flag(self.model_listener);
        to.flag(self.egress_listener);
        to.text(OsStr::new(&self.hostname));
        to.flag(self.pts);
        to.flag(self.terminal);
        to.text(OsStr::new(self.preset.name()));
        to.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let from = &mut Reader::new(bytes);
        Some(Order {
            name: read_string(from)?,
            command: from.list(Reader::text)?,
            cwd: from.path()?,
            env: from.list(|from| Some((from.text()?, from.text()?)))?,
            home: from.list(|from| Some((from.path()?, from.text()?)))?,
            workspace: from
                .option(|from| Some(View { lowers: from.list(Reader::path)?, target: from.path()? }))?,
            beneath: from.option(Reader::path)?,
            ro: from.list(read_bind)?,
            rw: from.list(read_bind)?,
            limits: Limits {
                memory: from.option(Reader::u64)?.map(Bytes),
                cpus: from.option(Reader::u64)?.map(MilliCpus),
                pids: from.option(Reader::u32)?,
                disk: from.option(Reader::u64)?.map(Bytes),
                inodes: from.option(Reader::u32)?,
                timeout: from.option(Reader::u64)?.map(Millis),
                io: IoLimits {
                    read: from.option(Reader::u64)?.map(Bytes),
                    write: from.option(Reader::u64)?.map(Bytes),
                    read_ops: from.option(Reader::u32)?,
                    write_ops: from.option(Reader::u32)?,
                },
            },
            disks: from.list(|from| Some(Device(from.u32()?, from.u32()?)))?,
            stdio: [from.flag()?, from.flag()?, from.flag()?],
            fds: from.list(|from| from.u32().map(|fd| fd as RawFd))?,
            held: from.flag()?,
            model_listener: from.flag()?,
            egress_listener: from.flag()?,
            hostname: read_string(from)?,
            pts: from.flag()?,
            terminal: from.flag()?,
            preset: Preset::named(&read_string(from)?)?,
        })
    }
}

/// Where the listeners on the sandbox's loopback are, as far as there are any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) model: Option<u16>,
    pub(crate) egress: Option<u16>,
}

/// What the launcher and pid 1 tell the engine about one sandbox.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Launcher: pid 1 exists; comes with its descriptor.
    Forked { pid: u32 },
    /// Pid 1: the program has been executed; comes with the listeners, the upper layer and the
    /// merged view, as far as there are any.
    Running { owner: [u32; 6], ports: Ports, layers: bool },
    /// Either: it could not be made.
    Failed(Fault),
    /// Pid 1: the program has ended; the rest of the tree is about to.
    Ended(Outcome, Usage),
    /// Pid 1: what the tree uses now, as asked.
    Measured(Usage),
    /// Launcher: the tree is dead and its cgroups are gone. The last notice.
    Reaped { oom_kills: u64, usage: Usage },
}

impl Notice {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        match self {
            Notice::Forked { pid } => {
                to.u8(b'F');
                to.u32(*pid);
            }
            Notice::Running { owner, ports, layers } => {
                to.u8(b'R');
                owner.iter().for_each(|id| to.u32(*id));
                for port in [ports.model, ports.egress] {
                    to.option(port, |to, port| to.u32(u32::from(port)));
                }
                to.flag(*layers);
            }
            Notice::Failed(fault) => {
                to.u8(b'X');
                to.u32(fault.errno as u32);
                to.text(OsStr::new(fault.step.as_ref()));
                to.text(OsStr::new(&fault.detail));
            }
            Notice::Ended(outcome, usage) => {
                to.u8(b'E');
                outcome.write(&mut to);
                usage.write(&mut to);
            }
            Notice::Measured(usage) => {
                to.u8(b'U');
                usage.write(&mut to);
            }
            Notice::Reaped { oom_kills, usage } => {
                to.u8(b'Z');
                to.u64(*oom_kills);
                usage.write(&mut to);
            }
        }
        to.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let from = &mut Reader::new(bytes);
        Some(match from.u8()? {
            b'F' => Notice::Forked { pid: from.u32()? },
            b'R' => Notice::Running {
                owner: [from.u32()?, from.u32()?, from.u32()?, from.u32()?, from.u32()?, from.u32()?],
                ports: Ports {
                    model: from.option(|from| from.u32()?.try_into().ok())?,
                    egress: from.option(|from| from.u32()?.try_into().ok())?,
                },
                layers: from.flag()?,
            },
            b'X' => {
                let errno = from.u32()? as i32;
                let (step, detail) = (read_string(from)?, read_string(from)?);
                Notice::Failed(Fault { step: step.into(), errno, detail })
            }
            b'E' => Notice::Ended(Outcome::read(from)?, Usage::read(from)?),
            b'U' => Notice::Measured(Usage::read(from)?),
            b'Z' => Notice::Reaped { oom_kills: from.u64()?, usage: Usage::read(from)? },
            _ => return None,
        })
    }
}
