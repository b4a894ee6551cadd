//! Drives the cache: looks, and then does what the decision asks for. It is above [`Core`], the task and
//! keep-warm, of which none knows it.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::{clock::Reading, observe::Ending};

use super::{
    cell::Standing,
    core::Core,
    decide::{Effects, Moment},
    look::{Look, Want},
    task,
    wait_list::Completion,
    warm,
};

impl Core {
    /// Looks for a token. A fresh one takes no lock, nor does a rejected one that cannot be replaced yet; a
    /// due one is served while a refresh begins.
    pub(crate) fn look(self: &Arc<Self>, want: Want) -> Look {
        let now = self.clock.now();
        let usable = self.cell.read(|entry| {
            let entry = entry?;
            let standing = entry.standing_for(want, now);
            let is_served = match standing {
                Standing::Fresh | Standing::Due => true,
                Standing::Rejected => self.is_quiet(now),
                _ => false,
            };
            is_served.then(|| (entry.token.clone(), standing))
        });
        let decided = match usable {
            Some((token, Standing::Fresh | Standing::Rejected)) => return Look::Serve(token),
            // Nobody waits for a lock while there is a usable token: whoever holds it begins the refresh, or
            // the next caller does.
            Some((token, _)) => self
                .try_decide(want, self.moment(now))
                .unwrap_or_else(|| (Look::Serve(token), Effects::served_due())),
            None => self.decide(want, self.moment(now)),
        };
        let (look, effects) = decided;
        self.perform(effects);
        look
    }

    /// Marks the token of `generation` as rejected if it is still the current one, and looks for another.
    pub(crate) fn reject(self: &Arc<Self>, generation: u64, want: Want) -> Look {
        self.look(want.rejecting(generation))
    }

    /// Keeps the token fresh from now on even while nobody asks.
    pub(crate) fn keep_warm(self: &Arc<Self>) {
        self.warm.want();
        self.host_keep_warm();
    }

    /// What a decision needs to know. It runs the source's code, so the caller holds no lock.
    fn moment(&self, now: Reading) -> Moment {
        Moment {
            now,
            epoch: self.epoch_now(),
            has_runtime: Handle::try_current().is_ok(),
        }
    }

    /// Does what follows from a decision. It runs foreign code, so the caller holds no lock.
    fn perform(self: &Arc<Self>, effects: Effects) {
        if let Some(refresh) = &effects.give_up {
            match &effects.failed {
                Some(error) => refresh.end(Completion::Failed(error.clone())),
                None => refresh.give_up(),
            }
        }
        if let Some(refresh) = effects.launch {
            task::launch(self, refresh);
        }
        if self.warm.needs_host() {
            self.host_keep_warm();
        }
        if effects.served_due {
            self.telemetry.served_due();
        }
        if let Some(generation) = effects.rejected {
            self.telemetry.rejected(generation);
        }
        if let Some(generation) = effects.complaint {
            self.telemetry.complained(generation);
        }
        if let Some(refresh) = effects.give_up {
            let now = self.clock.now();
            match effects.failed {
                Some(error) => self.report_failed(&refresh, error, now),
                None => self.report(&refresh, Ending::Abandoned, now),
            }
        }
    }

    fn host_keep_warm(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        self.warm.host(move || {
            // Between two looks the task does not keep the cache alive (G31).
            let core = core.upgrade()?;
            // The task keeps the token fresh for others, and needs none itself.
            drop(core.look(Want::ANY));
            Some(core.sleep(warm::pause(core.next_look())))
        });
    }
}
