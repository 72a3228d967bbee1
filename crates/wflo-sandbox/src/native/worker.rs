//! From fork to exec: the last steps before the program runs, each giving something up.

use super::clocks;
use super::exit::{Outcome, Usage};
use super::halt::Halt;
use super::spec::DEFAULT_PIDS;
use super::sys::process;
use super::sys::{At, Fault};
use super::wire::Notice;
use std::ffi::CString;
use std::io::{ErrorKind, Write as _};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How many descriptors a process of a sandbox may ask for, where its launcher may have that many.
const DESCRIPTORS: u64 = 16_384;

/// The program to be, with nothing left to look up but its file.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    /// Files that its home folder begins with.
    pub(crate) home: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) cwd: PathBuf,
    /// Descriptors for standard input, output and error; none is the null device.
    pub(crate) stdio: [Option<RawFd>; 3],
    /// Further descriptors, each with its number for the program.
    pub(crate) fds: Vec<(RawFd, RawFd)>,
    /// Whether standard input is the terminal that its session is to have.
    pub(crate) terminal: bool,
    /// What it is shut into, if it is isolated.
    pub(crate) walls: Option<Walls<'a>>,
}

/// What isolates one program, beside the namespaces that its pid 1 made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walls<'a> {
    /// User and group, inside and as the host sees them: of a user namespace that is to be made; `None`
    /// where somebody else has given the program its user already.
    pub(crate) ids: Option<((u32, u32), (u32, u32))>,
    pub(crate) pids: Option<u32>,
    /// The Landlock rules, where there is Landlock.
    pub(crate) rules: Option<RawFd>,
    pub(crate) filter: &'a [libc::sock_filter],
    /// Whether its clocks are to be its own.
    pub(crate) clocks: bool,
    /// Where a test may stop it.
    pub(crate) halt: Option<&'a Halt<'a>>,
}

/// Becomes the program. On failure says why through `report` and exits.
pub(crate) fn main(program: &Program<'_>, report: RawFd) -> ! {
    let (notice, report) = match become_program(program, report) {
        (Err(fault), report) => (Notice::Failed(fault), report),
        (Ok(errno), report) => (Notice::Ended(Outcome::NotExecuted(errno), Usage::default()), report),
    };
    // SAFETY: the number is the write end of the report pipe, open until exec.
    let report = unsafe { std::os::fd::BorrowedFd::borrow_raw(report) };
    let _ = rustix::io::write(report, &notice.encode());
    process::exit_now(1)
}

/// Gives the error number of the exec, and where the report pipe now is.
fn become_program(program: &Program<'_>, report: RawFd) -> (Result<i32, Fault>, RawFd) {
    let halt = |place| program.walls.iter().flat_map(|walls| walls.halt).for_each(|halt| halt.at(place));
    halt("worker");
    let own_user = program.walls.and_then(|walls| Some((walls.ids?, walls.clocks)));
    let entered = own_user.map_or(Ok(()), |(ids, clocks)| enter_user_namespace(ids, clocks));
    if let Err(fault) = entered.and_then(|()| limits(program.walls)) {
        return (Err(fault), report);
    }
    halt("limited");
    let (report, rules) = match descriptors(program, report) {
        Ok(moved) => moved,
        Err(error) => return (Err(error).step("placing descriptors"), report),
    };
    let _ = rustix::process::setsid();
    let rest = || {
        if program.terminal {
            // Opened by nobody before it, so it is no session's yet.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .step("giving the program its terminal")?;
        }
        furnish(program)?;
        rustix::process::chdir(&program.cwd)
            .at("entering the working directory", || program.cwd.display().to_string())?;
        if let Some(rules) = rules {
            process::restrict(rules).step("restricting files with Landlock")?;
        }
        process::unblock_signals();
        match program.walls {
            Some(walls) => process::install_filter(walls.filter).step("installing the system call filter"),
            None => Ok(()),
        }
    };
    match rest() {
        Err(fault) => (Err(fault), report),
        Ok(()) => (Ok(execute(program)), report),
    }
}

/// The sandbox's own user namespace: its user exists nowhere else, owns no other namespace, and
/// is counted apart from the host's processes of the same user.
fn enter_user_namespace(
    ((inside_uid, uid), (inside_gid, gid)): ((u32, u32), (u32, u32)),
    own_clocks: bool,
) -> Result<(), Fault> {
    let step = "making the sandbox's user";
    process::unshare(libc::CLONE_NEWUSER).step(step)?;
    // Only its owner may write the maps, and a process that is not dumpable has none.
    process::set_dumpable(true).step(step)?;
    write("/proc/self/setgroups", "deny").step(step)?;
    write("/proc/self/uid_map", &format!("{inside_uid} {uid} 1")).step(step)?;
    write("/proc/self/gid_map", &format!("{inside_gid} {gid} 1")).step(step)?;
    // The first process of a user namespace has every capability in it.
    if own_clocks {
        clocks::begin()?;
    }
    process::drop_bounding_set().step(step)?;
    process::drop_capabilities().step(step)
}

/// Writes a file that is there already, in one call.
pub(super) fn write(path: &str, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| {
        use std::io::Write;
        file.write_all(text.as_bytes())
    })
}

fn limits(walls: Option<Walls<'_>>) -> Result<(), Fault> {
    let step = "setting limits";
    // One byte, not none: a core dump into a pipe is stopped by 1 and not by 0 (core(5)).
    process::limit(libc::RLIMIT_CORE, 1, 1).step(step)?;
    if let Some(walls) = walls {
        // After the user namespace was made: now it counts this sandbox's tasks alone.
        let pids = u64::from(walls.pids.unwrap_or(DEFAULT_PIDS));
        process::limit(libc::RLIMIT_NPROC, pids, pids).step(step)?;
    }
    // A user's descriptors on their way count against whoever sends the next one: what a sandbox can have there
    // leaves most of its engine's room.
    let descriptors = process::most(libc::RLIMIT_NOFILE).step(step)? / 4;
    process::limit(libc::RLIMIT_NOFILE, 1_024, descriptors.clamp(1_024, DESCRIPTORS)).step(step)?;
    process::limit(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20).step(step)?;
    for (resource, most) in [
        (libc::RLIMIT_MSGQUEUE, 819_200),
        (libc::RLIMIT_SIGPENDING, 4_096),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
    ] {
        match process::limit(resource, most, most) {
            // A container's own kernel (gVisor) has neither the limit nor what it limits.
            Err(error)
                if error.raw_os_error() == Some(libc::EPERM)
                    && walls.is_some_and(|walls| walls.ids.is_none()) => {}
            limited => limited.step(step)?,
        }
    }
    // Where the host runs out of memory, sandboxes go first.
    write("/proc/self/oom_score_adj", "500").step(step)?;
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    Ok(())
}

/// Puts every descriptor at its number, the report pipe and the rules behind them, to be closed by
/// the exec, and closes all others at once.
fn descriptors(program: &Program<'_>, report: RawFd) -> std::io::Result<(RawFd, Option<RawFd>)> {
    let rules = program.walls.and_then(|walls| walls.rules);
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let null = std::os::fd::IntoRawFd::into_raw_fd(null);
    let standard = program.stdio.iter().enumerate().map(|(number, fd)| (fd.unwrap_or(null), number as RawFd));
    let wanted: Vec<(RawFd, RawFd)> = standard.chain(program.fds.iter().copied()).collect();
    let floor = wanted.iter().map(|(_, number)| number + 1).max().unwrap_or(3);
    // First away from every number that is wanted, then to the numbers.
    let mut moved = Vec::with_capacity(wanted.len());
    for (fd, number) in &wanted {
        moved.push((process::copy_above(*fd, floor)?, *number));
    }
    let report = process::copy_above(report, floor)?;
    let rules = rules.map(|rules| process::copy_above(rules, floor)).transpose()?;
    for (fd, number) in &moved {
        process::place(*fd, *number)?;
    }
    let mut keep: Vec<RawFd> = wanted.iter().map(|(_, number)| *number).collect();
    keep.push(report);
    keep.extend(rules);
    process::close_all_but(&mut keep);
    Ok((report, rules))
}

/// Writes the files of the home folder, as the program's user. One that is there is somebody's own.
fn furnish(program: &Program<'_>) -> Result<(), Fault> {
    let home = program.environment.iter().find_map(|line| line.strip_prefix(b"HOME="));
    let Some(home) = home.map(|home| Path::new(std::ffi::OsStr::from_bytes(home))) else { return Ok(()) };
    for (path, text) in &program.home {
        let path = home.join(path);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let begun = made
            .and_then(|()| std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path));
        match begun.and_then(|mut file| file.write_all(text)) {
            // With no room for a few lines the program will say so itself.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) => {}
            written => written.at("writing a file of its home folder", || path.display().to_string())?,
        }
    }
    Ok(())
}

/// Executes the program, searched in its own `PATH` when its name has no slash; gives the error.
fn execute(program: &Program<'_>) -> i32 {
    let text = |bytes: &Vec<u8>| CString::new(bytes.clone());
    let arguments: Result<Vec<CString>, _> = program.command.iter().map(text).collect();
    let environment: Result<Vec<CString>, _> = program.environment.iter().map(text).collect();
    let (Ok(arguments), Ok(environment)) = (arguments, environment) else { return libc::EINVAL };
    let Some(name) = program.command.first() else { return libc::ENOENT };
    let run = |file: &[u8]| match CString::new(file) {
        Ok(file) => process::execute(&file, &arguments, &environment).raw_os_error().unwrap_or(libc::EINVAL),
        Err(_) => libc::EINVAL,
    };
    if name.is_empty() || name.contains(&b'/') {
        return run(name);
    }
    let mut last = libc::ENOENT;
    let path = program.environment.iter().find_map(|line| line.strip_prefix(b"PATH=")).unwrap_or_default();
    for folder in path.split(|byte| *byte == b':').filter(|folder| folder.starts_with(b"/")) {
        match run(&[folder, b"/", name].concat()) {
            // A folder that cannot be searched is remembered; the search goes on.
            libc::ENOENT | libc::ENOTDIR => {}
            errno => last = errno,
        }
        if !matches!(last, libc::ENOENT | libc::EACCES) {
            break;
        }
    }
    last
}
