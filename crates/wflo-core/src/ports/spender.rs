//! What processes that spend ahead of the store leave behind when they die.
//!
//! Owns the question alone: who waits for a budget asks it, and knows nothing of logs and locks.

use super::BoxFuture;

/// Looks for spenders that are dead.
pub trait Spenders: Send + Sync {
    /// Brings in what dead ones have left, and says how many they were. What cannot be read stays held, and is said
    /// in the log of whoever asks.
    fn recover_dead(&self) -> BoxFuture<'_, usize>;
}
