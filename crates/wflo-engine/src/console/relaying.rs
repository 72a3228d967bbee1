//! The tasks that pass bytes between a program that runs and its console.

use std::sync::{Arc, OnceLock};

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Streams;

/// The most that is read at once, in bytes.
pub(crate) const CHUNK: usize = 32 << 10;

/// The streams of a program that runs.
pub struct Relaying {
    /// How many tasks still bring output.
    left: Arc<watch::Sender<usize>>,
    tasks: JoinSet<()>,
    streams: Option<Arc<dyn Streams>>,
    lost: Lost,
}

/// Why output could not be passed on, once that is so.
pub(crate) type Lost = Arc<OnceLock<std::io::Error>>;

/// One of the tasks that bring output.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|left| *left -= 1);
    }
}

impl Relaying {
    /// Of a program with this console, or with none; nothing is passed on yet.
    pub fn new(streams: Option<Arc<dyn Streams>>) -> Self {
        Relaying {
            left: Arc::new(watch::channel(0).0),
            tasks: JoinSet::new(),
            streams,
            lost: Lost::default(),
        }
    }

    /// Begins a task that lasts until the end.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Begins one that brings output, until it has all come.
    pub(crate) fn bring(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.left.send_modify(|left| *left += 1);
        let counted = Counted(Arc::clone(&self.left));
        self.tasks.spawn(async move {
            task.await;
            drop(counted);
        });
    }

    /// Where it is said that output could not be passed on.
    pub(crate) fn lost(&self) -> Lost {
        Arc::clone(&self.lost)
    }

    /// Why some output was not taken, but for a reader that had enough.
    pub fn failure(&self) -> Option<String> {
        let lost = self.lost.get().filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
        lost.map(ToString::to_string)
    }

    /// Resolves once all that the program has said is passed on; it must have ended.
    pub async fn drained(&self) {
        if let Some(streams) = &self.streams {
            streams.over();
        }
        let _ = self.left.subscribe().wait_for(|left| *left == 0).await;
    }

    /// Ends it, whatever is on its way; a terminal is as it was before once the streams are dropped too.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// What is typed, or comes from a pipe, is passed to the program.
pub(crate) async fn feed(mut stdin: Sender, streams: Arc<dyn Streams>) {
    loop {
        let bytes = streams.read().await;
        // A program that has closed its input reads nothing more.
        if bytes.is_empty() || stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
