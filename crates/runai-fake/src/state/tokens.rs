//! Access tokens: issues, finds, validates and revokes them.

use std::{collections::HashMap, io, time::Duration};

use super::grant_error::{GrantError, Reason};
use crate::{
    behaviour::TokenShape,
    endpoint_version::EndpointVersion,
    jwt::{Claims, Keys},
};

/// An access token that the fake has issued. [`RunaiFake::issued`](crate::RunaiFake::issued) returns
/// them all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issued {
    /// The token's number, from 1. [`RunaiFake::revoke`](crate::RunaiFake::revoke) takes it.
    pub generation: u64,
    /// The application or user that the token was issued to.
    pub client: String,
    /// The token's text.
    pub token: String,
    /// The time of its expiry, in seconds since 1970.
    pub expires_at: i64,
    /// True if it was revoked.
    pub revoked: bool,
    /// True for a JWT of the fake's. Any other token is known by its text only.
    signed: bool,
    /// The session that it belongs to, if it is a user's.
    pub(super) session: Option<usize>,
}

/// The contents of a successful token answer.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) token: String,
    pub(crate) generation: u64,
    /// The application or user that the token belongs to.
    pub(crate) client: String,
    /// True if the token belongs to a user's session.
    pub(crate) is_user: bool,
    pub(crate) refresh_token: Option<String>,
    /// The value of `expiresIn` or `expires_in`, if it is sent.
    pub(crate) expires_in: Option<serde_json::Value>,
    pub(crate) token_type: String,
}

#[derive(Debug)]
pub(crate) struct Tokens {
    keys: Keys,
    /// The number of the key that signs.
    active_key: usize,
    lifetime: Duration,
    v1_expires_in: bool,
    issued: Vec<Issued>,
    /// The index in `issued` of each text.
    by_text: HashMap<String, usize>,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration, v1_expires_in: bool) -> io::Result<Self> {
        Ok(Self {
            keys: Keys::load()?,
            active_key: 0,
            lifetime,
            v1_expires_in,
            issued: Vec::new(),
            by_text: HashMap::new(),
        })
    }

    pub(crate) fn issued(&self) -> &[Issued] {
        &self.issued
    }

    pub(super) fn find(&self, text: &str) -> Option<&Issued> {
        Some(&self.issued[*self.by_text.get(text)?])
    }

    /// Returns true if a token is not revoked, not expired, and signed by the active key.
    pub(super) fn is_valid(&self, issued: &Issued, now: i64) -> bool {
        let is_current = if issued.signed {
            self.keys
                .verify(self.active_key, &issued.token)
                .is_some_and(|claims| claims.exp.is_none_or(|exp| now < exp))
        } else {
            now < issued.expires_at
        };
        is_current && !issued.revoked
    }

    /// Revokes the tokens for which `is_meant` returns true.
    pub(crate) fn revoke(&mut self, is_meant: impl Fn(&Issued) -> bool) {
        for issued in &mut self.issued {
            issued.revoked |= is_meant(issued);
        }
    }

    pub(crate) fn rotate_signing_key(&mut self) {
        self.active_key += 1;
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    pub(super) fn issue(
        &mut self,
        client: &str,
        session: Option<usize>,
        shape: Option<TokenShape>,
        version: EndpointVersion,
        now: i64,
    ) -> Result<Granted, GrantError> {
        let lifetime = match shape {
            Some(TokenShape::Lifetime(seconds)) => seconds,
            _ => self.lifetime.as_secs(),
        };
        let lifetime = i64::try_from(lifetime).unwrap_or(i64::MAX / 2);
        let (iat, exp) = match shape {
            Some(TokenShape::Expired) => (now - lifetime - 60, now - 60),
            _ => (now, now.saturating_add(lifetime)),
        };
        let is_user = session.is_some();
        let next = self.issued.len() as u64 + 1;
        let claims = Claims {
            iss: "runai-fake".into(),
            sub: client.into(),
            iat,
            exp: (shape != Some(TokenShape::NoExp)).then_some(exp),
            jti: next.to_string(),
        };
        let token = match (&shape, self.last_of(client, is_user)) {
            (Some(TokenShape::Same), Some(last)) => last.token.clone(),
            (Some(TokenShape::Opaque), _) => format!("opaque-token-{next}"),
            (Some(TokenShape::Raw(text)), _) => text.clone(),
            _ => self
                .keys
                .sign(self.active_key, &claims)
                .map_err(|error| Reason::Internal(error.to_string()).for_client(Some(client)))?,
        };
        // A text that comes again is the same token, and keeps its generation.
        let generation = self.find(&token).map_or(next, |known| known.generation);
        if generation == next {
            self.by_text.insert(token.clone(), self.issued.len());
            self.issued.push(Issued {
                generation,
                client: client.into(),
                token: token.clone(),
                expires_at: exp,
                revoked: false,
                signed: !matches!(shape, Some(TokenShape::Opaque | TokenShape::Raw(_))),
                session,
            });
        }
        // Only an opaque token's lifetime cannot be read from the token.
        let sends_expires_in = version != EndpointVersion::V1
            || self.v1_expires_in
            || shape == Some(TokenShape::Opaque);
        let expires_in = match &shape {
            Some(TokenShape::ExpiresIn(value)) => Some(value.clone()),
            Some(TokenShape::NoExp) => None,
            _ => sends_expires_in.then(|| (exp - now).into()),
        };
        let token_type = match shape {
            Some(TokenShape::TokenType(token_type)) => token_type,
            _ => "Bearer".into(),
        };
        Ok(Granted {
            token,
            generation,
            client: client.into(),
            is_user,
            refresh_token: None,
            expires_in,
            token_type,
        })
    }

    /// Returns the last token of an application or user.
    fn last_of(&self, client: &str, is_user: bool) -> Option<&Issued> {
        let mut latest_first = self.issued.iter().rev();
        latest_first.find(|it| it.client == client && it.session.is_some() == is_user)
    }
}
