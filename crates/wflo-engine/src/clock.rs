//! The machine's clocks, and ids made from them.

use std::sync::OnceLock;

use jiff::Timestamp;
use wflo_core::ports::clock::{Clock, Moment};

/// The host's clocks.
#[derive(Debug, Default)]
pub struct SystemClock {
    boot_id: OnceLock<String>,
}

impl SystemClock {
    fn boot_id(&self) -> &str {
        self.boot_id.get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default()
        })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the port's implementation")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn moment(&self) -> Moment {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let millis = boot.tv_sec.saturating_mul(1_000).saturating_add(boot.tv_nsec / 1_000_000);
        Moment {
            wall: self.now(),
            boot_ms: u64::try_from(millis).unwrap_or(0),
            boot_id: self.boot_id().to_owned(),
        }
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }

    fn draw(&self) -> f64 {
        let mut bytes = [0_u8; 8];
        // Without random bytes the fraction is 0: jitter is lost, nothing else.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let bits = u64::from_le_bytes(bytes) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}
