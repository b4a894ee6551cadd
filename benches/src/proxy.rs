//! The proxy beside nginx.

use crate::report::{Report, Value};

pub fn measure(report: &mut Report, _quick: bool) {
    report.put(
        "proxy_cpu_vs_nginx",
        Value::Skipped("the command `runai-auth proxy` is not there".into()),
    );
}
