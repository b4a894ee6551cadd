//! What a server's certificate says of itself.

use std::time::{Duration, UNIX_EPOCH};

use runai_auth::Auth;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Describes a certificate: its owner, its issuer and its expiry. Without credentials nobody knows whether the names
/// repeat a secret, so they are not shown.
pub(super) fn description(der: &[u8], auth: Option<&Auth>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "unreadable".into();
    };
    let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    let until = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(until));
    match auth {
        Some(auth) => format!(
            "{}, by {}, until {until}",
            auth.foreign_text(&certificate.subject().to_string()),
            auth.foreign_text(&certificate.issuer().to_string())
        ),
        None => format!("until {until}; its names are not shown without credentials"),
    }
}
