//! Time and ids from outside.

use jiff::Timestamp;

/// A moment on the two clocks that durable timers need.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Moment {
    /// Wall time.
    pub wall: Timestamp,
    /// Milliseconds since boot, suspend included.
    pub boot_ms: u64,
    /// Which boot.
    pub boot_id: String,
}

/// The only source of time and of ids.
pub trait Clock: Send + Sync {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// Both clocks.
    fn moment(&self) -> Moment;
    /// A fresh UUIDv7.
    fn uuid(&self) -> uuid::Uuid;
    /// A number in 0..1, for jitter.
    fn draw(&self) -> f64;
}
