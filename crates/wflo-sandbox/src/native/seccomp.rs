//! The system calls that a sandboxed program may make, as one BPF program.
//!
//! An allow-list: what is not named answers ENOSYS, as an older kernel would, so that programs
//! fall back; what is named and refused answers EPERM. Arguments are compared in the width that
//! the kernel reads. **Architecture Invariant:** another architecture's numbers, x32 included,
//! are never allowed: a foreign architecture kills the process.
//!
//! The program is a search tree, not a list: the kernel evaluates it for every system call number
//! when it is installed, and a list makes that the dearest step of starting a sandbox.

mod calls;
mod cubes;
mod profile;

pub(crate) use profile::json;

use super::preset::Preset;
use libc::{c_long, sock_filter};

/// What a filter depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) preset: Preset,
    /// The kernel counts the tree's memory. Without it, memory that belongs to no process cannot be seen by the
    /// supervisor and is not to be had.
    pub(crate) accounted: bool,
    /// Folders of the host can be written to. What is left there runs outside, where `nosuid` does not hold: it
    /// must not run as its owner.
    pub(crate) lasting: bool,
}

impl Screen {
    /// A container of other people's making: what will be mounted into it is not known.
    pub(crate) fn of_containers(preset: Preset) -> Self {
        Screen { preset, accounted: true, lasting: true }
    }
}

/// What a filter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call is made.
    Allow,
    /// The call is not made and gives this error number; 0 pretends success.
    Errno(i32),
}

/// A comparison of half an argument with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equal(u32),
    Differs(u32),
    /// Any of these bits is set.
    HasAny(u32),
    /// These bits, masked by the first, are the second.
    Masked(u32, u32),
    /// They are not.
    Unmasked(u32, u32),
}

/// One check of a call's arguments: the first that holds gives its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) argument: u32,
    /// Whether the upper half of the argument is meant.
    pub(crate) upper: bool,
    pub(crate) test: Test,
    pub(crate) then: Answer,
}

/// What is done about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    Always(Answer),
    Checked(Vec<Check>, Answer),
}

/// What is done about one call, by its name in the C library's headers and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruling {
    name: &'static str,
    number: Number,
    rule: Rule,
}

impl Ruling {
    fn new(name: &'static str, number: Number, rule: Rule) -> Self {
        Ruling { name: name.strip_prefix("SYS_").unwrap_or(name), number, rule }
    }
}

/// Whether a call is refused by name whatever its arguments.
pub(crate) fn refuses(preset: Preset, name: &str) -> bool {
    let refused = Rule::Always(Answer::Errno(libc::EPERM));
    calls::rules(Screen::of_containers(preset))
        .iter()
        .any(|ruling| ruling.name == name && ruling.rule == refused)
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// x32 calls have this bit in their number.
const FOREIGN: u32 = 0x4000_0000;

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(answer: Answer) -> sock_filter {
    match answer {
        Answer::Allow => op(RETURN, 0, 0, ALLOW),
        Answer::Errno(errno) => op(RETURN, 0, 0, ERRNO | errno as u32),
    }
}

/// Compiles the filter.
pub(crate) fn compile(screen: Screen) -> Vec<sock_filter> {
    let mut rules = calls::rules(screen);
    rules.sort_by_key(|ruling| ruling.number);
    // Where the answer changes, number by number: the leaves of the tree.
    let unknown = Rule::Always(Answer::Errno(libc::ENOSYS));
    let mut leaves: Vec<(u32, Rule)> = vec![(0, unknown.clone())];
    for Ruling { number, rule, .. } in rules {
        let number = number as u32;
        leaves.retain(|(start, _)| *start != number);
        leaves.extend([(number, rule), (number + 1, unknown.clone())]);
    }
    leaves.dedup_by(|next, before| next.1 == before.1);
    let mut program = vec![
        op(LOAD, 0, 0, 4),
        op(IF_EQUAL, 1, 0, ARCHITECTURE),
        op(RETURN, 0, 0, KILL_PROCESS),
        op(LOAD, 0, 0, 0),
        op(IF_AT_LEAST, 0, 1, FOREIGN),
        answer(Answer::Errno(libc::ENOSYS)),
    ];
    program.extend(tree(&leaves));
    program
}

/// The small filter of pid 1: it never executes, mounts, traces or connects again.
///
/// A short deny-list, because a long filter costs every start about 150 µs, and because pid 1 runs
/// no code but this crate's.
pub(crate) fn compile_for_init() -> Vec<sock_filter> {
    let mut program =
        vec![op(LOAD, 0, 0, 4), op(IF_EQUAL, 1, 0, ARCHITECTURE), op(RETURN, 0, 0, KILL_PROCESS)];
    program.push(op(LOAD, 0, 0, 0));
    for call in calls::NEVER_IN_INIT {
        program.extend([op(IF_EQUAL, 0, 1, *call as u32), answer(Answer::Errno(libc::EPERM))]);
    }
    program.push(answer(Answer::Allow));
    program
}

fn tree(leaves: &[(u32, Rule)]) -> Vec<sock_filter> {
    let middle = leaves.len() / 2;
    let (low, high) = leaves.split_at(middle);
    let (Some((start, rule)), false) = (high.first(), low.is_empty()) else {
        return high.first().map(|(_, rule)| leaf(rule)).unwrap_or_default();
    };
    let _ = rule;
    let (low, high) = (tree(low), tree(high));
    let mut program = match u8::try_from(low.len()) {
        Ok(length) => vec![op(IF_AT_LEAST, length, 0, *start)],
        Err(_) => vec![op(IF_AT_LEAST, 0, 1, *start), op(JUMP, 0, 0, low.len() as u32)],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn leaf(rule: &Rule) -> Vec<sock_filter> {
    let (checks, otherwise) = match rule {
        Rule::Always(given) => return vec![answer(*given)],
        Rule::Checked(checks, otherwise) => (checks, otherwise),
    };
    let mut program = Vec::new();
    for check in checks {
        // seccomp_data: number, architecture, instruction pointer, then six 64-bit arguments.
        program.push(op(LOAD, 0, 0, 16 + 8 * check.argument + if check.upper { 4 } else { 0 }));
        let jump = match check.test {
            Test::Equal(value) => op(IF_EQUAL, 0, 1, value),
            Test::Differs(value) => op(IF_EQUAL, 1, 0, value),
            Test::HasAny(bits) => op(IF_ANY, 0, 1, bits),
            Test::Masked(mask, value) => {
                program.push(op(AND, 0, 0, mask));
                op(IF_EQUAL, 0, 1, value)
            }
            Test::Unmasked(mask, value) => {
                program.push(op(AND, 0, 0, mask));
                op(IF_EQUAL, 1, 0, value)
            }
        };
        program.push(jump);
        program.push(answer(check.then));
    }
    program.push(answer(*otherwise));
    program
}

/// The number of a call as the tables hold it.
pub(crate) type Number = c_long;

#[cfg(test)]
mod tests;
