//! One thread that sleeps for the whole process, so that no sleep needs the timer of a caller's runtime.
//!
//! A runtime without a timer cannot be recognised but by tokio's panic, and a timer is gone with its
//! runtime. This thread is started by the first sleep, and it is never in the way: it is parked until a
//! sleep ends.

use std::{future::pending, sync::OnceLock, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    time::Sleep,
};

/// Sleeps on the thread's timer.
///
/// Where the system refuses the thread, the caller's runtime has to have a timer.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    let _entered = handle().map(Handle::enter);
    tokio::time::sleep(duration)
}

fn handle() -> Option<&'static Handle> {
    static HANDLE: OnceLock<Option<Handle>> = OnceLock::new();
    HANDLE.get_or_init(start).as_ref()
}

fn start() -> Option<Handle> {
    let runtime = Builder::new_current_thread().enable_time().build().ok()?;
    let handle = runtime.handle().clone();
    let drive = move || runtime.block_on(pending::<()>());
    let thread = thread::Builder::new().name("tower-bearer-timer".into());
    thread.spawn(drive).ok()?;
    Some(handle)
}
