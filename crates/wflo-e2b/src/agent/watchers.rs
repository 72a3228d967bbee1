//! Folders that are watched for somebody who asks now and then.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::watch::{Asked, Event, Watch};
use crate::fault::{Fault, Kind};

/// How many events are kept until somebody asks.
const KEPT: usize = 10_000;
/// How many folders are watched so.
const MOST: usize = 64;

/// Answer to `CreateWatcher`, and what names one in `GetWatcherEvents` and `RemoveWatcher`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Which {
    watcher_id: String,
}

/// Answer to `GetWatcherEvents`.
#[derive(Debug, Serialize)]
pub(super) struct Events {
    events: Vec<Event>,
}

#[derive(Debug)]
struct Watcher {
    heard: Arc<Mutex<Heard>>,
    /// Closed, it ends the thread that listens.
    _alive: OwnedFd,
}

#[derive(Debug, Default)]
struct Heard {
    events: Vec<Event>,
    failed: Option<Fault>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    all: Mutex<(u64, BTreeMap<String, Watcher>)>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchers {
    pub(super) fn create(&self, asked: &Asked) -> Result<Which, Fault> {
        let mut watch = Watch::new(asked)?;
        let mut all = held(&self.all);
        if all.1.len() >= MOST {
            return Err(Fault::new(Kind::ResourceExhausted, format!("{MOST} folders are watched already")));
        }
        let (over, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| Fault::of_io("nothing more can be watched", &error.into()))?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listening = Arc::clone(&heard);
        let listen = move || {
            loop {
                let news = watch.next(over.as_fd());
                let mut heard = held(&listening);
                match news {
                    Ok(Some(events)) => heard.events.extend(events),
                    Ok(None) => return,
                    Err(fault) => {
                        heard.failed = Some(fault);
                        return;
                    }
                }
                if heard.events.len() > KEPT {
                    let why = format!("more than {KEPT} events were not asked for in time: watch it anew");
                    *heard =
                        Heard { events: Vec::new(), failed: Some(Fault::new(Kind::ResourceExhausted, why)) };
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(listen)
            .map_err(|error| Fault::of_io("nothing more can be watched", &error))?;
        all.0 += 1;
        let watcher_id = format!("w{}", all.0);
        all.1.insert(watcher_id.clone(), Watcher { heard, _alive: alive });
        Ok(Which { watcher_id })
    }

    /// What has happened since somebody asked last.
    pub(super) fn events(&self, which: &Which) -> Result<Events, Fault> {
        let all = held(&self.all);
        let missing = || Fault::new(Kind::NotFound, format!("there is no watcher {}", which.watcher_id));
        let mut heard = held(&all.1.get(&which.watcher_id).ok_or_else(missing)?.heard);
        match (std::mem::take(&mut heard.events), &heard.failed) {
            (events, Some(fault)) if events.is_empty() => Err(fault.clone()),
            (events, _) => Ok(Events { events }),
        }
    }

    pub(super) fn remove(&self, which: &Which) {
        held(&self.all).1.remove(&which.watcher_id);
    }
}
