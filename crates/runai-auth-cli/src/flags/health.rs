//! The flags of `health`.

use clap::Args;

/// Which proxy `health` asks.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// The proxy's --health-listen or --admin-listen address: http://127.0.0.1:PORT
    #[arg(long, value_name = "URL", env = "RUNAI_AUTH_HEALTH_URL")]
    pub(crate) url: Option<String>,
}
