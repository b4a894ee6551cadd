//! JWTs, signed with RS256 and verified.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};

/// The three signing keys. They are public, so only tests may trust them.
const TEST_KEYS: [&[u8]; 3] = [
    include_bytes!("../keys/test-key-1.pk8"),
    include_bytes!("../keys/test-key-2.pk8"),
    include_bytes!("../keys/test-key-3.pk8"),
];

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    /// The token's generation, which makes each token unique.
    pub(crate) jti: String,
}

/// The signing keys. They are numbered without end, and take turns.
#[derive(Debug)]
pub(crate) struct Keys(Vec<RsaKeyPair>);

impl Keys {
    pub(crate) fn load() -> std::io::Result<Self> {
        TEST_KEYS
            .iter()
            .map(|der| {
                RsaKeyPair::from_pkcs8(der)
                    .map_err(|error| std::io::Error::other(error.to_string()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn key(&self, number: usize) -> &RsaKeyPair {
        &self.0[number % self.0.len()]
    }

    /// Signs claims with the key of this number.
    pub(crate) fn sign(&self, number: usize, claims: &Claims) -> std::io::Result<String> {
        let head = format!(
            r#"{{"alg":"RS256","typ":"JWT","kid":"test-key-{}"}}"#,
            number % self.0.len() + 1
        );
        let claims = serde_json::to_vec(claims)?;
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let key = self.key(number);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .map_err(|_| std::io::Error::other("the test key cannot sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Returns the claims of a token that the key of this number has signed.
    pub(crate) fn verify(&self, number: usize, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = self.key(number).public_key().as_ref();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_signed_verifies() {
        let keys = Keys::load().unwrap();
        let claims = Claims {
            iss: "runai-fake".into(),
            sub: "ci-bot".into(),
            iat: 1,
            exp: Some(2),
            jti: "7".into(),
        };
        let token = keys.sign(0, &claims).unwrap();
        assert_eq!(keys.verify(0, &token).unwrap().jti, "7");
        assert_eq!(
            keys.verify(3, &token).unwrap().jti,
            "7",
            "three keys take turns"
        );
        assert!(keys.verify(1, &token).is_none());
        let mut forged: Vec<&str> = token.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(r#"{"iss":"x","sub":"root","iat":1,"jti":"7"}"#);
        forged[1] = &other;
        assert!(keys.verify(0, &forged.join(".")).is_none());
    }
}
