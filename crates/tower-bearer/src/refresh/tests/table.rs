//! The rows of the decision's tables, and what stands in them.

use super::support::{Did, Found, World};
use crate::{observe::Reason, refresh::look::Want};

/// A case, the world before it, who looks and when; what is found, and what is to be done. A refresh is lost
/// 31 s after it began.
pub(super) type Row = (&'static str, World, Want, u64, Found, Did);

pub(super) fn check(rows: Vec<Row>) {
    for (case, mut world, want, now, found, did) in rows {
        assert_eq!(world.look(want, now), (found, did), "{case}");
    }
}

pub(super) fn wait(reason: Reason, at_most: u64) -> Found {
    Found::Wait {
        reason,
        at_most,
        fallback: false,
    }
}

pub(super) fn wait_or_fall_back(reason: Reason, at_most: u64) -> Found {
    Found::Wait {
        reason,
        at_most,
        fallback: true,
    }
}

pub(super) fn nothing() -> Did {
    Did::default()
}

pub(super) fn launches(reason: Reason, attempts: u32) -> Did {
    Did {
        launch: Some((reason, attempts)),
        ..nothing()
    }
}

pub(super) fn served_due() -> Did {
    Did {
        served_due: true,
        ..nothing()
    }
}

pub(super) fn rejects(generation: u64) -> Did {
    Did {
        rejected: Some(generation),
        ..nothing()
    }
}
