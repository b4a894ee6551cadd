//! Values that nobody can guess: the state and the verifier.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use tower_bearer::oauth2::SecretText;
use zeroize::Zeroizing;

use super::error::{LoginError, LoginErrorKind};

/// Returns 32 random bytes in base64url: 43 characters, as RFC 7636, section 4.1 advises for a verifier.
pub(super) fn secret() -> Result<SecretText, LoginError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| {
        let message = "the system provides no random numbers";
        LoginError::new(LoginErrorKind::System, message)
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()).into())
}

/// Returns the S256 challenge of a verifier (RFC 7636, section 4.2).
pub(super) fn challenge(verifier: &SecretText) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose_secret().as_bytes()))
}

/// Returns whether a text is the secret. It compares their digests, so that its time does not reveal how much
/// of a guess was right.
pub(super) fn is_same(text: &str, secret: &SecretText) -> bool {
    let hashed = |text: &str| digest(&SHA256, text.as_bytes());
    hashed(text).as_ref() == hashed(secret.expose_secret()).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_of_the_rfcs_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        assert_eq!(
            challenge(&verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_secret_is_long_and_another_each_time() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(one.expose_secret().len(), 43);
        assert!(one != other && is_same(one.expose_secret(), &one));
        assert!(!is_same(other.expose_secret(), &one) && !is_same("", &one));
    }
}
