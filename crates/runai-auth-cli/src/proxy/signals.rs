//! The signals that a proxy minds.

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
    /// The ones from here on are a command's alone.
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

    /// That of SIGINT, which is all that there is here.
    #[cfg(not(unix))]
    fn number(self) -> u8 {
        2
    }

    /// The exit code of a process that it ended.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(128 + self.number())
    }
}

/// They are listened for from [`Signals::listen`] on.
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

    /// Those too that would end this process and leave its command alone.
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

    /// The next one.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses none.
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

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            // Without a handler it ends the program anyway.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Signals {
    /// The next one that is to end the process.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses none but a SIGHUP.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::HangUp => {}
                signal => return signal,
            }
        }
    }
}
