//! Plans: how a test wants the next requests to be answered.

use std::collections::VecDeque;

use crate::{
    behaviour::Behaviour,
    endpoint_version::{Endpoint, EndpointVersion},
    gate::Barrier,
    journal::Kind,
};

/// What a test has planned for one request.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    Behave(Behaviour),
    Hold(Barrier),
}

#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// By [`Kind`].
    kinds: [Plan; 3],
    /// By [`EndpointVersion`]: the behaviour while nothing is queued.
    versions: [Option<Behaviour>; EndpointVersion::all().len()],
}

#[derive(Debug, Default)]
struct Plan {
    queue: VecDeque<Planned>,
    /// The behaviour while nothing is queued.
    always: Option<Behaviour>,
}

impl Plans {
    pub(crate) fn queue(&mut self, kind: Kind, planned: Planned) {
        self.kinds[kind as usize].queue.push_back(planned);
    }

    pub(crate) fn set_always(&mut self, kind: Kind, behaviour: Option<Behaviour>) {
        self.kinds[kind as usize].always = behaviour;
    }

    pub(crate) fn set_always_on_version(
        &mut self,
        version: EndpointVersion,
        behaviour: Option<Behaviour>,
    ) {
        self.versions[version as usize] = behaviour;
    }

    /// Takes the plan for a request. A queued one goes first, then that of the endpoint version, then
    /// that of the kind.
    pub(crate) fn next(&mut self, endpoint: Endpoint) -> Planned {
        let version = match endpoint {
            // A broken endpoint version still lets users log in.
            Endpoint::Login => None,
            _ => endpoint.version(),
        };
        let of_version = version.and_then(|version| self.versions[version as usize].as_ref());
        let plan = &mut self.kinds[endpoint.kind() as usize];
        plan.queue.pop_front().unwrap_or_else(|| {
            let always = of_version.or(plan.always.as_ref());
            Planned::Behave(always.cloned().unwrap_or_default())
        })
    }
}
