//! Whether whoever asked has gone.
//!
//! Owns how a ledger hears of it while a call waits: nothing was sent then, so nothing is owed, and what waits on
//! would keep its body and its place for nobody.

use tokio_util::sync::CancellationToken;

/// Resolves once whoever asked has gone. Cheap to clone; all clones are of one call.
#[derive(Debug, Clone, Default)]
pub struct Gone(CancellationToken);

impl Gone {
    /// Of a call that somebody waits for to the end.
    pub fn never() -> Gone {
        Gone::default()
    }

    /// Nobody waits for the call any longer.
    pub fn go(&self) {
        self.0.cancel();
    }

    /// Whether nobody does.
    pub fn is_gone(&self) -> bool {
        self.0.is_cancelled()
    }

    /// What is waited for, unless whoever asked goes first: `wait` is left in the middle then, and must be fit for that.
    pub async fn unless<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = self.0.cancelled() => None,
        }
    }
}
