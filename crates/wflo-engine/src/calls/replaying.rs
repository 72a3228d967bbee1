//! The recording that a step's attempt is answered from.

use std::collections::HashSet;
use std::path::Path;

use super::Calls;
use crate::error::EngineError;
use crate::recording::{Recording, RecordingError, Replaying, Said, place_of};

impl Calls {
    /// The step's answers of the run's recording; `None` for a run without one. A file that cannot be used
    /// is the inner error: the run waits for it.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn replaying(&self) -> Result<Option<&Result<Replaying, RecordingError>>, EngineError> {
        let Some(file) = self.attempt.context.record.options.recording.as_deref() else { return Ok(None) };
        let load = || async {
            let effects = self.services.store.run_effects(self.attempt.run).await?;
            let of_step = effects.iter().filter(|effect| effect.key.step == self.attempt.step);
            let used: HashSet<usize> = of_step.filter_map(place_of).collect();
            let recording = Recording::read(Path::new(file));
            Ok(recording.map(|recording| Replaying::of_step(recording, &self.attempt.step, used)))
        };
        self.replaying.get_or_try_init(load).await.map(Some)
    }

    /// The recorded time or random value of an effect, and its place in the recording.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn drawn(
        &self,
        fingerprint: &str,
    ) -> Result<Option<(usize, serde_json::Value)>, EngineError> {
        // A file that is not there holds up the call that needs it.
        let Some(Ok(replaying)) = self.replaying().await? else { return Ok(None) };
        Ok(match replaying.take(fingerprint) {
            Some((place, Said::Drawn { value })) => Some((place, value)),
            _ => None,
        })
    }
}
