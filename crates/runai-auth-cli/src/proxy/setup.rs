//! What a proxy is made of, and how flags say it.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tracing::warn;

use super::{
    guard::{Filter, HostRule},
    key::Key,
    listen::Address,
    metrics,
};
use crate::{
    failure::Failure,
    flags::{ProxyArgs, RuleArgs},
};

/// What a proxy is made of.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) listen: Address,
    pub(crate) admin: Option<Address>,
    pub(crate) health: Option<Address>,
    pub(crate) key: Option<Key>,
    pub(crate) allow_host: Vec<HostRule>,
    /// The recorder, if something serves metrics. The token cache must be made after it.
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) filter: Filter,
    pub(crate) rules: &'a RuleArgs,
    /// How long requests in flight may take once the proxy stops.
    pub(crate) grace: Duration,
}

impl<'a> Setup<'a> {
    /// Reads the flags of `proxy`. Reports every mistake in them before the first token request.
    pub(crate) fn from_flags(args: &'a ProxyArgs) -> Result<Self, Failure> {
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let listen = match given(&args.listen) {
            Some(text) => Address::parse(text, "--listen")?,
            None => Address::default_socket()?,
        };
        let key = match &args.inbound_key_file {
            Some(path) => Some(Key::file(path.clone())?),
            None => None,
        };
        check_exposure(args, &listen, key.is_some())?;
        let admin = match given(&args.admin_listen) {
            Some(text) => Some(local(Address::parse(text, "--admin-listen")?)?),
            None => None,
        };
        let health = match given(&args.health_listen) {
            Some(text) => Some(Address::parse(text, "--health-listen")?),
            None => None,
        };
        let hosts = args.allow_host.iter().filter(|text| !text.is_empty());
        let metrics = match admin.is_some() || health.is_some() {
            true => Some(metrics::install_recorder()?),
            false => None,
        };
        Ok(Self {
            listen,
            admin,
            health,
            key,
            allow_host: hosts
                .map(|text| HostRule::parse(text))
                .collect::<Result<_, _>>()?,
            metrics,
            filter: Filter::new(&args.rules)?,
            rules: &args.rules,
            grace: args.grace,
        })
    }
}

/// Refuses an address that other machines reach without a key, and warns about one that other users reach.
fn check_exposure(args: &ProxyArgs, listen: &Address, has_key: bool) -> Result<(), Failure> {
    let Address::Tcp(address) = listen else {
        return Ok(());
    };
    let is_remote = !address.ip().is_loopback();
    if is_remote && !(args.allow_remote && has_key) {
        return Err(Failure::usage(
            format!("other machines can reach {address}"),
            "Give both --allow-remote and --inbound-key-file, or listen on 127.0.0.1",
        ));
    }
    if !has_key {
        warn!(
            "any user of this machine can act as the application: give --inbound-key-file, or listen on a \
             socket"
        );
    }
    Ok(())
}

/// Accepts only an address that no other machine reaches.
fn local(address: Address) -> Result<Address, Failure> {
    match address {
        Address::Tcp(it) if it.ip().is_loopback() => Ok(address),
        _ => Err(Failure::usage(
            "--admin-listen is for this machine only",
            "Write 127.0.0.1:PORT; --health-listen is for probes from other machines",
        )),
    }
}
