//! Who gets a token, and what a token is good for.

use super::{
    people::{Reason, Refusal},
    shared::{Inner, Issued, State},
};
use crate::{
    behaviour::TokenShape,
    jwt::{Claims, Keys},
};

/// What somebody shows to get a token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof<'a> {
    Application {
        id: &'a str,
        secret: &'a str,
    },
    Password {
        client: &'a str,
        user: &'a str,
        password: &'a str,
    },
    Refresh {
        client: &'a str,
        token: &'a str,
    },
    Code {
        client: &'a str,
        code: &'a str,
        redirect_uri: &'a str,
        verifier: Option<&'a str>,
    },
    /// A token of an outside identity provider.
    Outside {
        token: &'a str,
    },
}

/// What a token answer is made of.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) generation: u64,
    /// The application or the user whose token it is.
    pub(crate) client: String,
    /// Whether it is a user's.
    pub(crate) is_person: bool,
    pub(crate) refresh_token: Option<String>,
    /// The value for `expiresIn` or `expires_in`, where one is sent.
    pub(crate) expires_in: Option<serde_json::Value>,
    pub(crate) token_type: String,
}

/// What a bearer is good for.
#[derive(Debug)]
pub(crate) enum Access {
    Granted,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
}

impl State {
    /// Looks at a proof and issues what it is good for, in one go: of two requests with one refresh
    /// token the second has to find it spent.
    pub(crate) fn grant(
        &self,
        proof: Proof<'_>,
        shape: Option<TokenShape>,
        v1: bool,
    ) -> Result<Grant, Refusal> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = inner.now();
        let people = &mut inner.people;
        let (session, refresh_token) = match proof {
            Proof::Application { id, secret } => {
                if !inner.knows(id, secret) {
                    return Err(Reason::Client.of(Some(id)));
                }
                return inner.issue(&self.keys, id, None, shape, v1);
            }
            Proof::Outside { token } => {
                let client = people.outside(token)?;
                return inner.issue(&self.keys, &client, None, shape, v1);
            }
            Proof::Password {
                client,
                user,
                password,
            } => {
                let session = people.log_in(client, user, password)?;
                (session, Some(people.refresh_token(session, now)))
            }
            Proof::Code {
                client,
                code,
                redirect_uri,
                verifier,
            } => {
                let session = people.redeem(client, code, redirect_uri, verifier)?;
                (session, Some(people.refresh_token(session, now)))
            }
            Proof::Refresh { client, token } => match people.refresh(client, token, now) {
                Ok(refreshed) => refreshed,
                Err(refusal) => {
                    inner.revoke_ended();
                    return Err(refusal);
                }
            },
        };
        let user = inner.people.user_of(session).to_owned();
        let grant = inner.issue(&self.keys, &user, Some(session), shape, v1)?;
        Ok(Grant {
            refresh_token,
            ..grant
        })
    }

    /// What a bearer is good for, with the generation and whose it is if it is one of ours.
    pub(crate) fn check(&self, bearer: Option<&str>) -> (Access, Option<(u64, String)>) {
        let inner = self.lock();
        let Some((bearer, issued)) = bearer.and_then(|bearer| {
            let at = *inner.by_token.get(bearer)?;
            Some((bearer, &inner.issued[at]))
        }) else {
            return (Access::Unauthenticated, None);
        };
        let owner = Some((issued.generation, issued.client.clone()));
        let now = inner.now();
        let authentic = if issued.signed {
            self.keys
                .verify(inner.key_turn, bearer)
                .is_some_and(|claims| claims.exp.is_none_or(|exp| now < exp))
        } else {
            now < issued.expires_at
        };
        let access = match inner.applications.get(&issued.client) {
            _ if issued.revoked || !authentic => Access::Unauthenticated,
            // A name that a user has too must not take the application's rule from it.
            Some(application) if issued.session.is_none() && !application.granted => {
                Access::Forbidden
            }
            _ => Access::Granted,
        };
        (access, owner)
    }
}

impl Inner {
    /// Whether there is such an application with such a secret.
    pub(super) fn knows(&self, id: &str, secret: &str) -> bool {
        let application = self.applications.get(id);
        application.is_some_and(|it| it.secret == secret)
    }

    /// Revokes the tokens of the sessions that have ended.
    pub(super) fn revoke_ended(&mut self) {
        for issued in &mut self.issued {
            let ended = issued.session.is_some_and(|it| self.people.has_ended(it));
            issued.revoked |= ended;
        }
    }

    fn issue(
        &mut self,
        keys: &Keys,
        client: &str,
        session: Option<usize>,
        shape: Option<TokenShape>,
        v1: bool,
    ) -> Result<Grant, Refusal> {
        let now = self.now();
        let lifetime = match shape {
            Some(TokenShape::Lifetime(seconds)) => seconds,
            _ => self.lifetime.as_secs(),
        };
        let lifetime = i64::try_from(lifetime).unwrap_or(i64::MAX / 2);
        let (iat, exp) = match shape {
            Some(TokenShape::Expired) => (now - lifetime - 60, now - 60),
            _ => (now, now.saturating_add(lifetime)),
        };
        let generation = self.issued.len() as u64 + 1;
        let last = self
            .issued
            .iter()
            .rev()
            .find(|it| it.client == client && it.session.is_some() == session.is_some());
        let repeated = match (&shape, last) {
            (Some(TokenShape::Same), Some(last)) => Some(last.clone()),
            _ => None,
        };
        let claims = Claims {
            iss: "runai-fake".into(),
            sub: client.into(),
            iat,
            exp: (shape != Some(TokenShape::NoExp)).then_some(exp),
            jti: generation.to_string(),
        };
        let (token, generation) = match (&shape, repeated) {
            (_, Some(last)) => (last.token, last.generation),
            (Some(TokenShape::Opaque), _) => (format!("opaque-token-{generation}"), generation),
            (Some(TokenShape::Raw(text)), _) => (text.clone(), generation),
            _ => match keys.sign(self.key_turn, &claims) {
                Ok(token) => (token, generation),
                Err(error) => return Err(Reason::Broken(error.to_string()).of(Some(client))),
            },
        };
        let signed = !matches!(shape, Some(TokenShape::Opaque | TokenShape::Raw(_)));
        // The same text again is the same token, with the generation that it has.
        let known = self.by_token.get(&token).copied();
        let generation = known.map_or(generation, |at| self.issued[at].generation);
        if known.is_none() {
            let at = self.issued.len();
            self.by_token.insert(token.clone(), at);
            self.issued.push(Issued {
                generation,
                client: client.into(),
                token: token.clone(),
                expires_at: exp,
                revoked: false,
                signed,
                session,
            });
        }
        let told = !v1 || self.v1_expires_in || matches!(shape, Some(TokenShape::Opaque));
        Ok(Grant {
            token,
            generation,
            client: client.into(),
            is_person: session.is_some(),
            refresh_token: None,
            expires_in: match shape {
                Some(TokenShape::ExpiresIn(ref value)) => Some(value.clone()),
                Some(TokenShape::NoExp) => None,
                _ => told.then(|| (exp - now).into()),
            },
            token_type: match shape {
                Some(TokenShape::TokenType(kind)) => kind,
                _ => "Bearer".into(),
            },
        })
    }
}
