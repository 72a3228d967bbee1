//! Who calls, as whoever serves the gateway says it.
//!
//! Owns what the gateway knows of a caller besides its label. What the ledger knows of it stands in it, unseen
//! here.

use std::any::Any;
use std::sync::Arc;

use crate::gateway::Share;
use crate::serve::Connection;

/// Whether a caller is told of a model.
type Sees = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Who calls. The gateway passes it through and reads only the label.
#[derive(Clone)]
pub struct Caller {
    label: Arc<str>,
    /// What people call it, where that is another.
    name: Option<Arc<str>>,
    key: Option<Arc<str>>,
    /// The models that it is told of; all where nothing is said.
    sees: Option<Sees>,
    /// The name that it asks by, and the models that the operator lets that stand for.
    meant: Option<Arc<(String, Vec<String>)>>,
    connection: Option<Arc<Connection>>,
    /// With whom it shares kept answers; nobody, and it has none, where nothing is said.
    space: Option<Arc<str>>,
    /// The memory that its bodies take, where it leaves some to others.
    share: Option<Share>,
    inner: Arc<dyn Any + Send + Sync>,
}

impl Caller {
    /// A caller: a label for logs (a step's id), and whatever the ledger wants to find again.
    pub fn new<T: Any + Send + Sync>(label: &str, inner: T) -> Caller {
        let inner = Arc::new(inner);
        Caller {
            label: label.into(),
            name: None,
            key: None,
            sees: None,
            meant: None,
            connection: None,
            space: None,
            share: None,
            inner,
        }
    }

    /// The same caller, whom people call by this name: in logs it stands for the label.
    #[must_use]
    pub fn called(self, name: &str) -> Caller {
        Caller { name: Some(name.into()), ..self }
    }

    /// What people call it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same caller, who is told only of these models.
    #[must_use]
    pub fn seeing(self, sees: impl Fn(&str) -> bool + Send + Sync + 'static) -> Caller {
        Caller { sees: Some(Arc::new(sees)), ..self }
    }

    /// Whether it is told of a model.
    pub(crate) fn sees(&self, model: &str) -> bool {
        self.sees.as_ref().is_none_or(|sees| sees(model))
    }

    /// Whether it may be given an answer of a model: by the model's own name, or by the one that it asks by.
    pub(crate) fn may_be_given(&self, model: &str) -> bool {
        self.sees(model) || self.alias_for(model).is_some_and(|alias| self.sees(alias))
    }

    /// The same caller, who asks by a name that the operator lets stand for these models.
    pub(crate) fn asking(self, name: &str, models: Vec<String>) -> Caller {
        Caller { meant: Some(Arc::new((name.to_owned(), models))), ..self }
    }

    /// The alias that it asks by, if that stands for `model`.
    pub fn alias_for(&self, model: &str) -> Option<&str> {
        let (name, models) = self.meant.as_deref()?;
        models.iter().any(|meant| meant == model).then_some(name)
    }

    /// The same caller, who is one of several: of the memory for bodies it takes no more than it leaves free, together
    /// with all who have the same share.
    #[must_use]
    pub fn among_others(self, share: &Share) -> Caller {
        Caller { share: Some(share.clone()), ..self }
    }

    /// The memory that its bodies take, if it is one of several.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// The same caller on a listener that others can reach: only requests that carry `key` where a
    /// client puts its API key are the caller's, all others are refused.
    #[must_use]
    pub fn with_key(self, key: &str) -> Caller {
        Caller { key: Some(key.into()), ..self }
    }

    /// The same caller, who is given kept answers of this space: all callers of one space share them.
    #[must_use]
    pub fn sharing(self, space: &str) -> Caller {
        Caller { space: Some(space.into()), ..self }
    }

    /// The space of its kept answers, if it has any.
    pub(crate) fn space(&self) -> Option<&Arc<str>> {
        self.space.as_ref()
    }

    /// The same caller, on a connection of its own.
    pub(crate) fn on(self, connection: &Arc<Connection>) -> Caller {
        Caller { connection: Some(Arc::clone(connection)), ..self }
    }

    /// The connection that a stock client's call came on.
    pub fn connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    /// What a request must carry, if the listener alone does not say who calls.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What the ledger put in, if it is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.inner.downcast_ref()
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Caller").field(&self.label).finish()
    }
}
