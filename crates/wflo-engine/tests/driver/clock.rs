//! Clocks that jump: timers are due by the boot clock within a boot, whatever the wall clock is set to,
//! and by the wall clock after another boot. Leases know no clock at all.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use wflo_core::event::Wait;
use wflo_core::id::RunId;
use wflo_core::ports::clock::{Clock, Moment};
use wflo_core::run::RunStatus;
use wflo_engine::EngineError;
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::End;

use crate::support::{Host, Script, open, step, succeeded, until_stopped, workflow};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The host's clocks, moved.
#[derive(Default)]
struct Moved {
    real: SystemClock,
    by: Mutex<By>,
}

/// Seconds that each clock is ahead, and the boot that is claimed.
#[derive(Default, Clone)]
struct By {
    wall: i64,
    boot: i64,
    boot_id: Option<&'static str>,
}

impl Moved {
    fn by(wall: i64, boot: i64, boot_id: Option<&'static str>) -> Arc<Moved> {
        Arc::new(Moved { real: SystemClock::default(), by: Mutex::new(By { wall, boot, boot_id }) })
    }

    fn set(&self, wall: i64, boot: i64) {
        let mut by = self.by.lock().unwrap();
        (by.wall, by.boot) = (wall, boot);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let by = jiff::SignedDuration::from_secs(self.by.lock().unwrap().wall);
        self.real.now() + by
    }

    fn moment(&self) -> Moment {
        let by = self.by.lock().unwrap().clone();
        let real = self.real.moment();
        let boot_id = by.boot_id.map_or(real.boot_id, str::to_owned);
        // Another boot's clock begins near zero.
        let boot_ms = if by.boot_id.is_some() { 60_000 } else { real.boot_ms };
        let boot_ms = boot_ms.saturating_add_signed(by.boot * 1_000);
        Moment { wall: real.wall + jiff::SignedDuration::from_secs(by.wall), boot_ms, boot_id }
    }

    fn uuid(&self) -> uuid::Uuid {
        self.real.uuid()
    }

    fn draw(&self) -> f64 {
        self.real.draw()
    }
}

/// A step that sleeps an hour on its first attempt.
fn sleeper() -> Arc<Script> {
    let script = Arc::new(Script::default());
    script.on("sleeper", |attempt, _| async move {
        if attempt.attempt > 1 {
            return succeeded(&attempt.step);
        }
        let due = attempt.context.record.created_at + Duration::from_secs(3600);
        End::Suspended { on: vec![Wait::Timer { path: "0".into(), seq: 0, due }] }
    });
    script.on("nap", |attempt, _| async move {
        if attempt.attempt > 1 {
            return succeeded(&attempt.step);
        }
        let due = attempt.context.record.created_at;
        End::Suspended { on: vec![Wait::Timer { path: "0".into(), seq: 0, due }] }
    });
    script
}

fn host(dir: &Path, script: &Arc<Script>, clock: &Arc<Moved>) -> Host {
    Host::with_clock(dir, script, open(dir), 8, Arc::clone(clock) as _)
}

/// Another run's timer comes and goes: the engine has looked at its clocks since they were moved.
fn look_at_the_clock(host: &Host) {
    let nap = host.submit(&workflow(vec![step("nap", &[])]));
    assert_eq!(host.finish(nap), RunStatus::Completed);
}

fn sleeping(host: &Host) -> RunId {
    let run = host.submit(&workflow(vec![step("sleeper", &[])]));
    host.until_status(run, RunStatus::Waiting);
    run
}

#[test]
fn a_wall_clock_that_is_set_moves_no_timer() {
    for wall in [-DAY, DAY, 10 * 365 * DAY] {
        let dir = tempfile::tempdir().unwrap();
        let (script, clock) = (sleeper(), Moved::by(0, 0, None));
        let host = host(dir.path(), &script, &clock);
        let run = sleeping(&host);
        clock.set(wall, HOUR - 60);
        look_at_the_clock(&host);
        assert_eq!((host.status(run), script.times("sleeper")), (RunStatus::Waiting, 1), "{wall}: too early");
        clock.set(wall, HOUR + 60);
        look_at_the_clock(&host);
        assert_eq!(host.finish(run), RunStatus::Completed, "{wall}");
    }
}

#[test]
fn an_engine_that_takes_over_in_the_same_boot_waits_by_the_boot_clock() {
    for wall in [-DAY, DAY] {
        let dir = tempfile::tempdir().unwrap();
        let (script, clock) = (sleeper(), Moved::by(0, 0, None));
        let first = host(dir.path(), &script, &clock);
        let run = sleeping(&first);
        first.kill();
        clock.set(wall, HOUR - 60);
        let second = host(dir.path(), &script, &clock);
        second.block_on(second.engine.drive(run)).unwrap();
        look_at_the_clock(&second);
        assert_eq!(
            (second.status(run), script.times("sleeper")),
            (RunStatus::Waiting, 1),
            "{wall}: too early"
        );
        clock.set(wall, HOUR + 60);
        look_at_the_clock(&second);
        assert_eq!(second.finish(run), RunStatus::Completed, "{wall}");
    }
}

#[test]
fn after_another_boot_the_wall_clock_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (script, clock) = (sleeper(), Moved::by(0, 0, None));
    let first = host(dir.path(), &script, &clock);
    let run = sleeping(&first);
    first.kill();
    // Not yet by the wall clock, whatever the new boot's clock says.
    let early = Moved::by(HOUR - 60, 50 * DAY, Some("another boot"));
    let second = host(dir.path(), &script, &early);
    second.block_on(second.engine.drive(run)).unwrap();
    look_at_the_clock(&second);
    assert_eq!((second.status(run), script.times("sleeper")), (RunStatus::Waiting, 1), "too early");
    second.kill();
    let late = Moved::by(HOUR + 60, 0, Some("a third boot"));
    let third = host(dir.path(), &script, &late);
    third.block_on(third.engine.drive(run)).unwrap();
    assert_eq!(third.finish(run), RunStatus::Completed);
}

#[test]
fn a_question_expires_by_the_boot_clock() {
    for wall in [-DAY, DAY] {
        let dir = tempfile::tempdir().unwrap();
        let (script, clock) = (sleeper(), Moved::by(0, 0, None));
        let host = host(dir.path(), &script, &clock);
        let mut gate = json!({"name": "gate", "type": "approval"});
        gate["timeout_seconds"] = json!(3600);
        gate["on_timeout"] = json!("reject");
        let run = host.submit(&workflow(vec![gate]));
        host.until_status(run, RunStatus::Waiting);
        clock.set(wall, HOUR - 60);
        look_at_the_clock(&host);
        assert_eq!((host.status(run), host.pending(run).len()), (RunStatus::Waiting, 1), "{wall}: too early");
        clock.set(wall, HOUR + 60);
        look_at_the_clock(&host);
        host.until_status(run, RunStatus::Rejected);
    }
}

#[test]
fn a_lease_knows_no_clock() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    script.on("busy", |attempt, _| async move { until_stopped(&attempt).await });
    let first = host(dir.path(), &script, &Moved::by(0, 0, None));
    let run = first.submit(&workflow(vec![step("busy", &[])]));
    first.until("it runs", || script.times("busy") == 1);
    for wall in [-10 * 365 * DAY, 10 * 365 * DAY] {
        let other = host(dir.path(), &script, &Moved::by(wall, 0, Some("another boot")));
        let refused = other.block_on(other.engine.drive(run));
        assert!(matches!(refused, Err(EngineError::DrivenElsewhere { .. })), "{refused:?}");
        assert!(other.block_on(other.engine.left_behind()).unwrap().is_empty());
    }
}
