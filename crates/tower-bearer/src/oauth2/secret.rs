//! Texts that no log, error or dump may show.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// A secret: a client secret, a password, a refresh token.
///
/// Clones share one allocation, which is wiped when the last of them is dropped. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Arc<Zeroizing<String>>);

impl SecretText {
    /// Returns the secret itself.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// Takes the text over without a copy.
impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p06_a_secret_lies_in_memory_once() {
        let text = "s3cr3t".to_owned();
        let place = text.as_ptr();
        let secret = SecretText::from(text);
        let clone = secret.clone();
        assert_eq!(secret.expose_secret().as_ptr(), place);
        assert_eq!(clone.expose_secret().as_ptr(), place);
        assert_eq!(clone, SecretText::from("s3cr3t"));
        assert_ne!(clone, SecretText::from("another"));
    }
}
