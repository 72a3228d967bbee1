//! What must hold when things go wrong: a killed process, a full disk, another program's lock, damage.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs, dead_code)]

#[path = "contract/all.rs"]
#[allow(unused_imports, unused_macros)]
mod contract;

#[path = "faults/child.rs"]
mod child;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/full.rs"]
mod full;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/ledger.rs"]
mod ledger;
#[path = "faults/lock.rs"]
mod lock;
#[path = "faults/power.rs"]
mod power;
