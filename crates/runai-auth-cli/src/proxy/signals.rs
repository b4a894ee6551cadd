//! The signals that the proxy and `exec` handle.

use std::process::ExitCode;
#[cfg(unix)]
use std::{future::poll_fn, task::Poll};

#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    HangUp,
    Interrupt,
    Terminate,
    /// Only `exec` handles this one and those below, and passes them on.
    Quit,
    User1,
    User2,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HangUp => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Quit => "SIGQUIT",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        }
    }

    #[cfg(unix)]
    fn kind(self) -> SignalKind {
        match self {
            Self::HangUp => SignalKind::hangup(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
            Self::Quit => SignalKind::quit(),
            Self::User1 => SignalKind::user_defined1(),
            Self::User2 => SignalKind::user_defined2(),
        }
    }

    #[cfg(unix)]
    fn number(self) -> u8 {
        u8::try_from(self.kind().as_raw_value()).unwrap_or_default()
    }

    /// Returns the number of SIGINT, the only signal here.
    #[cfg(not(unix))]
    fn number(self) -> u8 {
        2
    }

    /// Returns the exit code of a process that this signal ended.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(128 + self.number())
    }
}

/// Receives signals from [`Signals::listen`] on.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    streams: Vec<(Signal, tokio::signal::unix::Signal)>,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::of(&[Signal::HangUp, Signal::Interrupt, Signal::Terminate])
    }

    /// Also receives the signals that would end this process and leave its command running.
    pub(crate) fn listen_for_command() -> Result<Self, Failure> {
        Self::of(&[
            Signal::HangUp,
            Signal::Interrupt,
            Signal::Terminate,
            Signal::Quit,
            Signal::User1,
            Signal::User2,
        ])
    }

    fn of(signals: &[Signal]) -> Result<Self, Failure> {
        let listen = |which: &Signal| Ok((*which, signal(which.kind()).map_err(Failure::other)?));
        let streams = signals.iter().map(listen).collect::<Result<_, Failure>>()?;
        Ok(Self { streams })
    }

    /// Returns the next signal.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no signal.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (which, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return Poll::Ready(*which);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    pub(crate) fn listen_for_command() -> Result<Self, Failure> {
        Self::listen()
    }

    /// Returns the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            // Without a handler, the signal ends the program anyway.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Returns the next signal that should end the process.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no signal but SIGHUP.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::HangUp => {}
                signal => return signal,
            }
        }
    }
}
