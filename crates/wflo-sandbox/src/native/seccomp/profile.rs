//! The filter as Docker, Podman and Kubernetes read it: the same tables, for libseccomp.
//!
//! Such a profile is a set of rules without an order, over whole 64-bit arguments, so each rule's checks are
//! turned into [`cubes`](super::cubes). What is allowed is exactly what the filter allows. What is refused has
//! the filter's error where a few rules can say so, and else the profile's own (ENOSYS).

use super::{Answer, Ruling, Screen, calls, cubes};
use serde_json::{Value, json as object};

/// How many rules a refusal may take to have its own error.
const FEW: usize = 8;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// The profile, for the architecture that this is built for. Another one's calls, 32-bit ones included, end
/// the program.
pub(crate) fn json(screen: Screen) -> Value {
    let mut rules = calls::rules(screen);
    rules.sort_by_key(|ruling| (ruling.name, ruling.number));
    let mut syscalls = Vec::new();
    let (whole, parted): (Vec<_>, Vec<_>) =
        rules.iter().partition(|ruling| matches!(ruling.rule, super::Rule::Always(_)));
    let mut answers: Vec<(Answer, Vec<&str>)> = Vec::new();
    for Ruling { name, rule, .. } in whole {
        let super::Rule::Always(answer) = rule else { continue };
        match answers.iter_mut().find(|(known, _)| known == answer) {
            Some((_, names)) => names.push(name),
            None => answers.push((*answer, vec![name])),
        }
    }
    syscalls.extend(answers.into_iter().map(|(answer, names)| entry(&names, answer, &[])));
    for Ruling { name, rule, .. } in parted {
        let regions = cubes::regions(rule);
        let count = |answer: Answer| regions.iter().filter(|(_, other)| *other == answer).count();
        for (region, answer) in &regions {
            if *answer == Answer::Allow || *answer == Answer::Errno(0) || count(*answer) <= FEW {
                let arguments: Vec<Value> = region
                    .iter()
                    .enumerate()
                    .filter(|(_, cube)| cube.mask != 0)
                    .map(|(index, cube)| {
                        object!({ "index": index, "value": cube.mask, "valueTwo": cube.value, "op": "SCMP_CMP_MASKED_EQ" })
                    })
                    .collect();
                syscalls.push(entry(&[name], *answer, &arguments));
            }
        }
    }
    object!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::ENOSYS,
        "archMap": [{ "architecture": ARCHITECTURE, "subArchitectures": [] }],
        "syscalls": syscalls,
    })
}

fn entry(names: &[&str], answer: Answer, arguments: &[Value]) -> Value {
    match answer {
        Answer::Allow => object!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": arguments }),
        Answer::Errno(errno) => {
            object!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": arguments })
        }
    }
}
