//! What a keeper says, taken apart and handed out.

use super::pumps::{self, Inbox, Pumps, Window};
use super::{CONNECTIONS, Piece, Setup, Shared, WORDS, gone};
use crate::native::exit::Exit;
use crate::native::sys::Fault;
use crate::native::wire::Notice;
use crate::remote::files::{Entry, Intake};
use crate::remote::frame::{Decoder, FIRST_FD, Frame, Kind, STDIO, WINDOW};
use crate::remote::loopback::Loopback;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The thread that reads.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) out: mpsc::WeakSender<Frame>,
    pub(super) runtime: Handle,
    pub(super) given: mpsc::UnboundedReceiver<Setup>,
    pub(super) inboxes: HashMap<u32, (Arc<Inbox>, Arc<Window>)>,
    pub(super) pumps: Option<Pumps>,
    pub(super) loopback: Option<Arc<Loopback>>,
    pub(super) ports: [Option<u16>; 2],
}

impl Reader {
    pub(super) fn read(mut self, mut incoming: mpsc::Receiver<Piece>) {
        let mut decoder = Decoder::default();
        'all: while let Some(piece) = incoming.blocking_recv() {
            let bytes = match piece {
                Piece::Frames(bytes) => bytes,
                Piece::Words(words) => {
                    self.words(&words);
                    continue;
                }
            };
            decoder.push(&bytes);
            loop {
                let taken = match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => self.take(frame),
                    Err(_) => None,
                };
                // What says such a thing is no keeper of ours any more.
                if taken.is_none() {
                    break 'all;
                }
            }
        }
        for (inbox, window) in self.inboxes.values() {
            inbox.end();
            window.close();
        }
        gone(&self.shared);
    }

    fn words(&self, more: &[u8]) {
        let mut state = self.shared.state();
        let room = (WORDS + self.shared.hushed.longest()).saturating_sub(state.words.len());
        state.words.extend(String::from_utf8_lossy(more).chars().take(room));
    }

    /// `None` for what no keeper says.
    fn take(&mut self, frame: Frame) -> Option<()> {
        match frame.kind {
            Kind::Ready => self.shared.change(|state| state.ready = Some(frame.bytes)),
            Kind::Notice => self.notice(&Notice::decode(&frame.bytes)?)?,
            Kind::Data => match self.inboxes.get(&frame.stream) {
                Some((inbox, _)) => inbox.push(&frame.bytes)?,
                None => self.say(Frame::credit(frame.stream, frame.bytes.len())),
            },
            Kind::End => {
                if let Some((inbox, _)) = self.inboxes.get(&frame.stream) {
                    inbox.end();
                }
            }
            Kind::Credit => {
                let taken = frame.taken()?;
                if let Some((_, window)) = self.inboxes.get(&frame.stream) {
                    window.open(taken);
                }
            }
            Kind::Open => self.connection(frame.stream, usize::from(*frame.bytes.first()?))?,
            Kind::Entry => {
                let entry = Entry::decode(&frame.bytes)?;
                self.files(|intake| intake.entry(entry));
            }
            Kind::Piece => self.files(|intake| intake.piece(&frame.bytes)),
            Kind::Captured => {
                let said = || self.shared.hushed.told(&String::from_utf8_lossy(&frame.bytes), 300);
                let said = (frame.stream != 0).then(said);
                self.shared.change(|state| {
                    let finished = state.intake.take().map(Intake::finish);
                    let result = match (said, finished) {
                        (Some(said), _) => Err(io::Error::other(said)),
                        (None, Some(finished)) => finished,
                        // It failed here before, which has been said.
                        (None, None) => return,
                    };
                    state.captured = Some(result);
                });
            }
            _ => return None,
        }
        Some(())
    }

    fn notice(&mut self, notice: &Notice) -> Option<()> {
        match notice {
            Notice::Running { ports, .. } => {
                self.set_up();
                self.shared.change(|state| state.running = Some(*ports));
            }
            Notice::Ended(outcome, usage) => {
                let exit = Exit { outcome: *outcome, usage: *usage };
                self.set_up();
                // Whoever waits to send it something does not have to any more.
                self.pumps = None;
                self.shared.change(|state| {
                    state.exit.get_or_insert(exit);
                });
                let _ = self.shared.news.send(b".");
            }
            Notice::Measured(usage) => self.shared.change(|state| state.measured = Some(*usage)),
            Notice::Failed(fault) => {
                let told = |text: &str| self.shared.hushed.told(text, WORDS);
                let step = told(&fault.step).into();
                let fault = Fault { step, errno: fault.errno, detail: told(&fault.detail) };
                self.shared.change(|state| state.failed = Some(fault));
            }
            _ => return None,
        }
        Some(())
    }

    /// Starts to move the bytes of the program's descriptors.
    fn set_up(&mut self) {
        let Ok(setup) = self.given.try_recv() else { return };
        (self.loopback, self.ports) = (setup.loopback, setup.ports);
        let Ok(pumps) = Pumps::new(self.out.clone(), self.runtime.clone()) else { return };
        for (stream, fd, reads, writes) in setup.fds {
            let ends = if setup.terminal { (true, true) } else { (reads, writes) };
            // Of a terminal all three are one.
            if setup.terminal && stream != STDIO[0] && stream < FIRST_FD {
                continue;
            }
            let (inbox, window) = (Arc::new(Inbox::default()), Arc::new(Window::new(WINDOW)));
            self.inboxes.insert(stream, (Arc::clone(&inbox), Arc::clone(&window)));
            let shared = Arc::clone(&self.shared);
            let output = STDIO.contains(&stream) && ends.1;
            let written = move |bytes: Option<usize>| match bytes {
                Some(bytes) => {
                    shared.moved.fetch_add(bytes as u64, Ordering::SeqCst);
                }
                None if output => shared.change(|state| state.writers = state.writers.saturating_sub(1)),
                None => {}
            };
            if output {
                self.shared.change(|state| state.writers += 1);
            }
            let terminal = setup.terminal && stream == STDIO[0];
            if pumps.descriptor(stream, fd, ends, terminal, (&inbox, &window), written).is_err() {
                inbox.end();
            }
        }
        self.pumps = Some(pumps);
    }

    fn connection(&mut self, stream: u32, which: usize) -> Option<()> {
        if self.inboxes.contains_key(&stream) {
            return None;
        }
        self.inboxes.retain(|_, (inbox, _)| !inbox.is_over());
        if self.inboxes.len() > CONNECTIONS {
            return None;
        }
        let port = self.ports.get(which).copied().flatten();
        let connected =
            port.zip(self.loopback.as_ref()).and_then(|(port, loopback)| loopback.connect(port).ok());
        let Some(connected) = connected else {
            // Nobody serves it: it ends at once.
            self.say(Frame::new(Kind::End, stream, []));
            return Some(());
        };
        let (inbox, window) = (Arc::new(Inbox::default()), Arc::new(Window::new(WINDOW)));
        self.inboxes.insert(stream, (Arc::clone(&inbox), Arc::clone(&window)));
        pumps::connection(&self.runtime, self.out.clone(), stream, connected, inbox, window);
        Some(())
    }

    fn files(&self, take: impl FnOnce(&mut Intake) -> io::Result<()>) {
        self.shared.change(|state| {
            if let Some(intake) = &mut state.intake
                && let Err(error) = take(intake)
            {
                // The rest of it has no place.
                state.intake = None;
                state.captured = Some(Err(error));
            }
        });
    }

    /// Never waits for longer than it takes the keeper to read.
    fn say(&self, frame: Frame) {
        if let Some(out) = self.out.upgrade() {
            let _ = out.blocking_send(frame);
        }
    }
}
