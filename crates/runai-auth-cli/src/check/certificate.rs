//! What a server's certificate says of itself.

use std::time::{Duration, UNIX_EPOCH};

use runai_auth::tower_bearer::ForeignText;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Describes a certificate: its owner, its issuer and its expiry.
pub(super) fn description(der: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "unreadable".into();
    };
    let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    let until = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(until));
    format!(
        "{}, by {}, until {until}",
        ForeignText::new(&certificate.subject().to_string()),
        ForeignText::new(&certificate.issuer().to_string())
    )
}
