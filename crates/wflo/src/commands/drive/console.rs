//! The streams of this command, as a program that is run as it is has them.
//!
//! On a terminal (standard input and output both are one) the program has a terminal of its own: what is typed
//! reaches it as it is, what it shows is let through by [`filter`]. Elsewhere its streams are pipes whose bytes
//! pass unchanged, save towards a terminal. While a question is open nothing passes either way: the program
//! waits in its writes, and the person's lines are answers.
//! **Architecture Invariant:** whatever ends a program or this command, short of SIGKILL, the terminal is left
//! in the modes in which it was found.

mod filter;
mod keyboard;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, watch};
use wflo_core::ports::BoxFuture;
use wflo_engine::console::{Console, Size, Stream, Streams};

use self::filter::Filter;
pub(super) use self::keyboard::Keyboard;
use super::terminal::is_behind;
use crate::commands::Context;

/// The most that is read at once, in bytes.
const CHUNK: usize = 32 << 10;
/// SIGCONT: the shell has had the terminal meanwhile.
const CONTINUED: i32 = 18;
/// What says what a terminal can do.
const OF_A_TERMINAL: [&str; 4] = ["TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"];

/// A stream of this command, whose use blocks no task; `None` for one that is closed.
fn own(stream: impl AsFd) -> Option<File> {
    let copy = rustix::io::fcntl_dupfd_cloexec(stream, 3).ok()?;
    Some(File::from_std(copy.into()))
}

/// Whether standard output and standard error are one: a terminal, or a file or pipe that both go to.
fn is_one() -> bool {
    let of = |stat: rustix::io::Result<rustix::fs::Stat>| stat.map(|stat| (stat.st_dev, stat.st_ino));
    match (of(rustix::fs::fstat(std::io::stdout())), of(rustix::fs::fstat(std::io::stderr()))) {
        (Ok(output), Ok(error)) => output == error,
        _ => false,
    }
}

/// The last byte, without the colours and cursors that are often reset behind it.
fn last_shown(bytes: &[u8]) -> Option<u8> {
    let is_part = |byte: &u8| (0x20..0x40).contains(byte);
    let mut rest = bytes;
    while let Some((end, before)) = rest.split_last().filter(|(end, _)| (0x40..0x7f).contains(*end)) {
        let begins = before.iter().rposition(|byte| !is_part(byte));
        match begins.and_then(|begins| before.get(..=begins)?.strip_suffix(b"\x1b[")) {
            Some(before) => rest = before,
            None => return Some(*end),
        }
    }
    rest.last().copied()
}

/// One of this command's outputs.
struct Sink {
    to: Option<File>,
    /// Where it is a terminal.
    filter: Option<Filter>,
    /// What the program had set is to be set again before anything else is shown.
    resumes: bool,
    /// Where this shows up where wflo's own words do: whether its last line is unended.
    broken: Option<Arc<AtomicBool>>,
}

impl Sink {
    fn new(stream: impl AsFd, terminal: bool, broken: Option<Arc<AtomicBool>>) -> Mutex<Sink> {
        let filter = terminal.then(Filter::default);
        Mutex::new(Sink { to: own(stream), filter, resumes: false, broken })
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.again().await;
        if let (Some(broken), Some(last)) = (&self.broken, last_shown(bytes)) {
            broken.store(last != b'\n', Ordering::Relaxed);
        }
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let to = self.to.as_mut().ok_or_else(closed)?;
        let Some(filter) = &mut self.filter else {
            to.write_all(bytes).await?;
            return to.flush().await;
        };
        let mut shown = Vec::with_capacity(bytes.len());
        filter.pass(bytes, &mut shown);
        to.write_all(&shown).await?;
        to.flush().await
    }

    /// Sets what the program had set before a question.
    async fn again(&mut self) {
        if let (Some(filter), Some(to), true) = (&self.filter, &mut self.to, self.resumes) {
            let _ = to.write_all(&filter.resume()).await;
            let _ = to.flush().await;
        }
        self.resumes = false;
    }

    /// Takes back what the program has set of the terminal.
    async fn calm(&mut self) {
        if let (Some(filter), Some(to)) = (&self.filter, &mut self.to) {
            let calm = filter.suspend();
            self.resumes = !calm.is_empty();
            let _ = to.write_all(&calm).await;
            let _ = to.flush().await;
        }
    }
}

/// The streams of this command.
pub(crate) struct Outer {
    keyboard: Option<Arc<Keyboard>>,
    /// The program is to have a terminal.
    screen: bool,
    variables: Vec<(OsString, OsString)>,
    stdin: Mutex<Option<File>>,
    output: Mutex<Sink>,
    error: Mutex<Sink>,
    /// With `--json`, standard output is for events.
    json: bool,
    asking: watch::Sender<bool>,
    attached: AtomicBool,
    redraw: Notify,
}

impl Outer {
    /// For the programs of runs.
    pub(crate) fn new(context: &Context<'_>) -> Self {
        Outer::with(context, context.printer.json_wanted())
    }

    /// For a command whose output is all that comes.
    pub(crate) fn of_command(context: &Context<'_>) -> Self {
        Outer::with(context, false)
    }

    fn with(context: &Context<'_>, json: bool) -> Self {
        let (stdin, output) = (std::io::stdin(), std::io::stdout().is_terminal());
        let is_behind = is_behind(&stdin);
        let input = stdin.is_terminal() && !is_behind;
        let beside = context.printer.broken_line();
        let keyboard = if input { Keyboard::open().map(Arc::new) } else { None };
        let variable = |name: &str| Some((name.into(), context.environment.get(name)?.into()));
        Outer {
            screen: keyboard.is_some() && output && !json,
            keyboard,
            variables: OF_A_TERMINAL.into_iter().filter_map(variable).collect(),
            // To read there would stop this process.
            stdin: Mutex::new(own(stdin).filter(|_| !is_behind)),
            output: Sink::new(std::io::stdout(), output, is_one().then(|| Arc::clone(&beside))),
            error: Sink::new(std::io::stderr(), std::io::stderr().is_terminal(), Some(beside)),
            json,
            asking: watch::channel(false).0,
            attached: AtomicBool::new(false),
            redraw: Notify::new(),
        }
    }

    /// The size of the terminal that a program is to have; `None` for pipes.
    pub(crate) fn size(&self) -> Option<Size> {
        Some(self.keyboard.as_ref().filter(|_| self.screen)?.size())
    }

    /// Variables that say what that terminal is.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// Where lines come from, where a program has the terminal's input or may come to have it.
    pub(super) fn keyboard(&self) -> Option<Arc<Keyboard>> {
        self.keyboard.clone()
    }

    /// Whether a program has the screen: nothing else may be shown on it.
    pub(super) fn is_on_screen(&self) -> bool {
        self.screen && self.attached.load(Ordering::SeqCst)
    }

    /// Takes the terminal for a question, from the program and from one that comes while it is open. Returns once
    /// nothing of the program's is on its way to it.
    pub(crate) async fn pause(&self) {
        self.asking.send_replace(true);
        let (mut output, mut error) = (self.output.lock().await, self.error.lock().await);
        output.calm().await;
        error.calm().await;
        if let Some(keyboard) = self.keyboard.as_ref().filter(|_| self.screen) {
            keyboard.cooked();
        }
    }

    /// Begins a page for a question: nothing of what a program has drawn stands beside it, and all of that
    /// is still there when one scrolls up, as are the ends of a long question.
    pub(super) fn turn_page(&self) {
        let is_dumb = |(name, value): &(OsString, OsString)| name == "TERM" && value == "dumb";
        if self.variables.iter().any(is_dumb) {
            return;
        }
        let error = std::io::stderr();
        let rows = match rustix::termios::tcgetwinsize(&error) {
            Ok(size) if size.ws_row > 0 => size.ws_row,
            Ok(_) => Keyboard::USUAL.rows,
            Err(_) => return,
        };
        let page = format!("\x1b[{rows};1H{}\x1b[H\x1b[J", "\n".repeat(rows.into()));
        let _ = error.lock().write_all(page.as_bytes());
    }

    /// Gives the terminal back to the program, which draws itself again.
    pub(crate) fn resume(&self) {
        if !*self.asking.borrow() {
            return;
        }
        if self.is_on_screen()
            && let Some(keyboard) = &self.keyboard
        {
            keyboard.raw();
        }
        self.asking.send_replace(false);
        self.redraw.notify_one();
    }

    async fn until(&self, asking: bool) {
        let mut now = self.asking.subscribe();
        let _ = now.wait_for(|now| *now == asking).await;
    }
}

impl Console for Outer {
    fn attach(self: Arc<Self>) -> io::Result<Arc<dyn Streams>> {
        self.attached.store(true, Ordering::SeqCst);
        // A question from before its time has the terminal until it is answered.
        if let Some(keyboard) = self.keyboard.as_ref().filter(|_| self.screen && !*self.asking.borrow()) {
            keyboard.raw();
            // One that came in between has found nothing to take.
            if *self.asking.borrow() {
                keyboard.cooked();
            }
        }
        Ok(Arc::new(Connection { outer: self, over: AtomicBool::new(false) }))
    }
}

/// One program's connection.
struct Connection {
    outer: Arc<Outer>,
    over: AtomicBool,
}

impl Streams for Connection {
    fn terminal(&self) -> Option<Size> {
        self.outer.size()
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.outer.variables.clone()
    }

    fn resized(&self) -> BoxFuture<'_, Size> {
        Box::pin(async {
            let changed = async |number: i32| match signal(SignalKind::from_raw(number)) {
                Ok(mut signal) => drop(signal.recv().await),
                Err(_) => std::future::pending().await,
            };
            let Some(keyboard) = &self.outer.keyboard else { return std::future::pending().await };
            tokio::select! {
                () = changed(SignalKind::window_change().as_raw_value()) => {}
                () = self.outer.redraw.notified() => self.outer.output.lock().await.again().await,
                () = changed(CONTINUED) => if !*self.outer.asking.borrow() {
                    keyboard.raw();
                },
            }
            keyboard.size()
        })
    }

    fn read(&self) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(async {
            let Some(keyboard) = &self.outer.keyboard else {
                let mut buffer = vec![0; CHUNK];
                let read = match self.outer.stdin.lock().await.as_mut() {
                    Some(stdin) => stdin.read(&mut buffer).await.unwrap_or(0),
                    None => 0,
                };
                buffer.truncate(read);
                return buffer;
            };
            loop {
                self.outer.until(false).await;
                tokio::select! {
                    biased;
                    () = self.outer.until(true) => {}
                    read = keyboard.read() => return read,
                }
            }
        })
    }

    fn write<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let sink = match stream {
                Stream::Output if !self.outer.json => &self.outer.output,
                Stream::Output | Stream::Error => &self.outer.error,
            };
            loop {
                let mut sink = sink.lock().await;
                if !*self.outer.asking.borrow() || self.over.load(Ordering::SeqCst) {
                    return sink.put(bytes).await;
                }
                drop(sink);
                self.outer.until(false).await;
            }
        })
    }

    fn over(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.outer.resume();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outer.attached.store(false, Ordering::SeqCst);
        // Nobody writes any more: the tasks that did are gone with what they had of this.
        reset(&self.outer.output, std::io::stdout());
        reset(&self.outer.error, std::io::stderr());
        if let Some(keyboard) = self.outer.keyboard.as_ref().filter(|_| self.outer.screen) {
            keyboard.cooked();
        }
    }
}

/// Takes back what a program that is gone has left of a terminal. Nothing can be reported when that is gone.
fn reset(sink: &Mutex<Sink>, mut to: impl io::Write) {
    if let Ok(mut sink) = sink.try_lock()
        && let Some(filter) = &mut sink.filter
    {
        let _ = to.write_all(&std::mem::take(filter).suspend()).and_then(|()| to.flush());
        sink.resumes = false;
    }
}

#[cfg(test)]
mod tests {
    use super::last_shown;

    #[test]
    fn what_resets_a_terminal_ends_no_line() {
        for (text, last) in [
            ("a", b'a'),
            ("a\n", b'\n'),
            ("a\n\x1b[0m\x1b[?25h", b'\n'),
            ("\x1b[31mab", b'b'),
            ("x[0m", b'm'),
        ] {
            assert_eq!(last_shown(text.as_bytes()), Some(last), "{text:?}");
        }
        assert_eq!(last_shown(b"\x1b[0m"), None);
        assert_eq!(last_shown(b""), None);
    }
}
