//! What became of the files of a step that has ended.

use serde::{Deserialize, Serialize};

use super::super::path::RelPath;
use super::super::store::Pin;
use super::Layer;

/// So many things that were left out are named.
const MOST_NAMED: usize = 20;
/// With so many characters of their paths.
const LONGEST: usize = 200;

/// How much a step may have written. Sparse files count with their full length: reading them does
/// take that long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Files, folders, links and removals together.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// A file that does not fit is left out and named, instead of being an error. For what ends its run only: who went on
    /// would find an older one in its place.
    pub leaves_out: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { entries: 1_000_000, bytes: 16 * 1024 * 1024 * 1024, leaves_out: false }
    }
}

/// Something a step left that is not part of its layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Where.
    pub path: RelPath,
    /// What it was: `socket`, `fifo`, `device`, `changed while it was read`, `more than is kept`; `extended attributes` of a file or folder
    /// that is in the layer with those that it had before: they were more than are kept.
    pub what: String,
}

/// A layer and what was left out of it.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The layer, stored.
    pub layer: Layer,
    /// What is not in it.
    pub dropped: Vec<Dropped>,
    /// Keeps the layer from being collected until a run refers to it.
    pub pin: Pin,
}

impl Captured {
    /// What is not in the layer, for people; none where nothing is missing.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let shown = |dropped: &Dropped| format!("{} ({})", short(&dropped.path), dropped.what);
        let named: Vec<String> = self.dropped.iter().take(MOST_NAMED).map(shown).collect();
        let more = match self.dropped.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        (!named.is_empty()).then(|| named.join(", ") + &more)
    }
}

/// The beginning of a path that is too long for a line.
fn short(path: &RelPath) -> String {
    let path = path.to_string();
    match path.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", path.get(..end).unwrap_or_default()),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Store;
    use super::super::super::manifest::Manifest;
    use super::*;

    #[test]
    fn what_is_left_out_is_named_in_a_line() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let _adding = store.adding().unwrap();
        let manifest = Manifest::default();
        let id = store.add_tree(&manifest, &Default::default()).unwrap();
        let of = |number: usize, name: &str| {
            let path: RelPath = name.parse().unwrap();
            let dropped = vec![Dropped { path, what: "fifo".to_owned() }; number];
            let layer = Layer { id, manifest: Manifest::default() };
            Captured { layer, dropped, pin: store.pin_layer(&id).unwrap() }.left_out()
        };
        assert_eq!(of(0, "a"), None);
        assert_eq!(of(2, "a").as_deref(), Some("a (fifo), a (fifo)"));
        assert!(of(1_000_000, &"n".repeat(3_000)).unwrap().len() < 10_000);
        assert!(of(100, "a").unwrap().ends_with(", and 80 more"));
    }
}
