//! A program's streams, and the copy of them that is kept: a terminal of its own, or pipes.

use std::io;
use std::sync::Arc;

use crate::console::{Pipes, Relaying, Screen, Stream, Streams};
use crate::output::Output;
use crate::sandboxed::{Ask, Shape};

/// Our ends of a program's streams.
enum Ends {
    Pipes(Pipes),
    Terminal(Screen),
}

/// The streams of a program that has not begun.
pub(super) struct Relay {
    ends: Ends,
    streams: Option<Arc<dyn Streams>>,
    output: Output,
}

impl Relay {
    /// Makes a program's streams, and the beginning of what its sandbox is asked to be.
    pub(super) fn prepare(streams: Option<Arc<dyn Streams>>, output: Output) -> io::Result<(Relay, Ask)> {
        if let Some(streams) = &streams
            && let Some(size) = streams.terminal()
        {
            let (screen, slave) = Screen::open(size)?;
            let (stdin, stdout) = (slave.try_clone()?, slave.try_clone()?);
            let mut ask = Ask::new(Shape::new(Vec::new()), stdout, slave);
            (ask.stdin, ask.shape.terminal) = (Some(stdin), true);
            ask.shape.env = streams.variables();
            let relay = Relay { ends: Ends::Terminal(screen), streams: Some(Arc::clone(streams)), output };
            return Ok((relay, ask));
        }
        let mut pipes = Pipes::default();
        let (stdout, stderr) = (pipes.output(Stream::Output)?, pipes.output(Stream::Error)?);
        let mut ask = Ask::new(Shape::new(Vec::new()), stdout, stderr);
        if streams.is_some() {
            ask.stdin = Some(pipes.input()?);
        }
        Ok((Relay { ends: Ends::Pipes(pipes), streams, output }, ask))
    }

    /// Begins to pass bytes on. To be called once the program has its ends.
    pub(super) fn start(self) -> io::Result<Relaying> {
        let Relay { ends, streams, output } = self;
        let mut relaying = Relaying::new(streams.clone());
        match ends {
            Ends::Terminal(screen) => {
                if let Some(streams) = &streams {
                    screen.join(streams, Some(output), &mut relaying)?;
                }
            }
            Ends::Pipes(pipes) => pipes.join(streams.as_ref(), Some(&output), &mut relaying)?,
        }
        Ok(relaying)
    }
}
