//! What models were asked and said, for the spans of whoever has opted in: one call at a time.

use serde_json::{Map, Value};
use wflo_core::effect::EffectKey;
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::run::RunRecord;

use super::{Of, Span, attributes, calls};

/// Reads the contents of a run's spans.
pub(crate) struct Reader<'a> {
    store: &'a dyn Store,
    record: &'a RunRecord,
    /// The arguments of the tools that the last call's answer asks for: their spans follow it.
    last: Option<(EffectKey, Vec<Value>)>,
}

impl<'a> Reader<'a> {
    /// Of this run.
    pub(crate) fn new(store: &'a dyn Store, record: &'a RunRecord) -> Reader<'a> {
        Reader { store, record, last: None }
    }

    /// The span with what its call asked and was answered, or with its tool's arguments.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn filled(&mut self, span: &Span) -> Result<Span, StoreError> {
        let mut span = span.clone();
        match &span.of {
            None => {}
            Some(Of::Call(key)) => {
                let attributes = self.read(key).await?;
                span.attributes.extend(attributes);
            }
            Some(Of::Tool(key, nth)) => {
                if self.last.as_ref().is_none_or(|(last, _)| last != key) {
                    self.read(key).await?;
                }
                let arguments = self.last.as_ref().and_then(|(_, all)| all.get(*nth));
                span.attributes.extend(arguments.map(attributes::of_arguments).unwrap_or_default());
            }
        }
        Ok(span)
    }

    async fn read(&mut self, key: &EffectKey) -> Result<Map<String, Value>, StoreError> {
        let contents = calls::contents(self.store, self.record, key).await?;
        self.last = Some((key.clone(), calls::arguments(&contents.answered.messages)));
        Ok(attributes::of_content(&contents))
    }
}
