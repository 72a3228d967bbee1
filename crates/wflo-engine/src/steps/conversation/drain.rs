//! The end of what an attempt has on its way.

use std::time::Duration;

use tokio::task::JoinSet;

/// After how long it is said that something is still on its way.
const NOTICE: Duration = Duration::from_secs(60);

/// Waits until nothing is on its way any more, however long that takes: what outlived its attempt could
/// change the world behind the back of whatever follows. A write to a database cannot be called back, so
/// it holds its step's end up.
pub(super) async fn drain<T: 'static>(effects: &mut JoinSet<T>, step: &str) {
    loop {
        match tokio::time::timeout(NOTICE, effects.join_next()).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(_) => {
                let left = effects.len();
                tracing::warn!(
                    step,
                    left,
                    "the step has ended, and waits for effects that are still on their way"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_outlives_its_attempt() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (over, mut ended) = tokio::sync::watch::channel(false);
        let mut effects = JoinSet::new();
        // A write that blocks: no time-out and no abort reaches it.
        effects.spawn(async move {
            let write = tokio::task::spawn_blocking(move || released.recv().is_ok());
            let done = write.await.unwrap();
            over.send_replace(done);
        });
        let draining = tokio::spawn(async move { drain(&mut effects, "step").await });
        tokio::task::yield_now().await;
        assert!(!draining.is_finished());
        assert!(!*ended.borrow_and_update());
        release.send(()).unwrap();
        draining.await.unwrap();
        assert!(*ended.borrow(), "its end is known when the attempt ends");
    }
}
