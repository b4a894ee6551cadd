//! The signals that a proxy minds.

use std::process::ExitCode;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    HangUp,
    Interrupt,
    Terminate,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HangUp => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
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
    streams: [(Signal, tokio::signal::unix::Signal); 3],
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};

        let listen = |which, kind| Ok::<_, Failure>((which, signal(kind).map_err(Failure::other)?));
        Ok(Self {
            streams: [
                listen(Signal::HangUp, SignalKind::hangup())?,
                listen(Signal::Interrupt, SignalKind::interrupt())?,
                listen(Signal::Terminate, SignalKind::terminate())?,
            ],
        })
    }

    /// The next one.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses none.
    pub(crate) async fn next(&mut self) -> Signal {
        let [hang_up, interrupt, terminate] = &mut self.streams;
        tokio::select! {
            _ = hang_up.1.recv() => hang_up.0,
            _ = interrupt.1.recv() => interrupt.0,
            _ = terminate.1.recv() => terminate.0,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {})
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
