//! Everything that can change while the control plane runs, and the steps that need several parts of it.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    applications::Applications,
    grant_error::{GrantError, Reason},
    plans::Plans,
    tokens::{Granted, Tokens},
    users::Users,
};
use crate::{behaviour::TokenShape, endpoint_version::EndpointVersion};

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) applications: Applications,
    pub(crate) users: Users,
    /// External tokens, and the application or user that each is exchanged for a token of.
    pub(super) external_tokens: HashMap<String, String>,
    pub(crate) tokens: Tokens,
    pub(crate) plans: Plans,
    /// The seconds by which the fake's clock is ahead of the machine's.
    pub(crate) clock_offset: i64,
    /// The token endpoint that the discovery document names instead of the fake's own.
    pub(crate) discovered_token_endpoint: Option<String>,
}

/// What a client presents to get a token: one variant for each grant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GrantRequest<'a> {
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
    /// A token of an external identity provider.
    External {
        token: &'a str,
    },
}

/// What a bearer token gives access to, and whose it is.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) status: AccessStatus,
    /// The token's generation and its owner, if the fake has issued it.
    pub(crate) owner: Option<(u64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessStatus {
    Granted,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
}

impl Memory {
    /// Returns the fake's time of day, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now.as_secs() as i64).saturating_add(self.clock_offset)
    }

    /// Checks a request for a token, and issues the token.
    pub(crate) fn grant(
        &mut self,
        request: GrantRequest<'_>,
        shape: Option<TokenShape>,
        version: EndpointVersion,
    ) -> Result<Granted, GrantError> {
        let now = self.now();
        let users = &mut self.users;
        let (session, refresh_token) = match request {
            GrantRequest::Application { id, secret } => {
                if !self.applications.authenticate(id, secret) {
                    return Err(Reason::Client.for_client(Some(id)));
                }
                return self.tokens.issue(id, None, shape, version, now);
            }
            GrantRequest::External { token } => {
                let client = self.external_tokens.get(token);
                let client = client.ok_or(Reason::ExternalToken.for_client(None))?;
                return self.tokens.issue(client, None, shape, version, now);
            }
            GrantRequest::Password {
                client,
                user,
                password,
            } => {
                let session = users.log_in(client, user, password)?;
                (session, Some(users.new_refresh_token(session, now)))
            }
            GrantRequest::Code {
                client,
                code,
                redirect_uri,
                verifier,
            } => {
                let session = users.redeem_code(client, code, redirect_uri, verifier)?;
                (session, Some(users.new_refresh_token(session, now)))
            }
            GrantRequest::Refresh { client, token } => {
                match users.redeem_refresh_token(client, token, now) {
                    Ok(redeemed) => redeemed,
                    Err(error) => {
                        self.revoke_ended();
                        return Err(error);
                    }
                }
            }
        };
        let user = self.users.user_of(session);
        let granted = self
            .tokens
            .issue(user, Some(session), shape, version, now)?;
        Ok(Granted {
            refresh_token,
            ..granted
        })
    }

    /// Returns what a bearer token gives access to.
    pub(crate) fn check(&self, bearer: Option<&str>) -> Access {
        let Some(issued) = bearer.and_then(|bearer| self.tokens.find(bearer)) else {
            return Access {
                status: AccessStatus::Unauthenticated,
                owner: None,
            };
        };
        // A user can have the name of an application, and needs no access rule.
        let is_application = issued.session.is_none();
        let status = if !self.tokens.is_valid(issued, self.now()) {
            AccessStatus::Unauthenticated
        } else if is_application && !self.applications.has_access(&issued.client) {
            AccessStatus::Forbidden
        } else {
            AccessStatus::Granted
        };
        Access {
            status,
            owner: Some((issued.generation, issued.client.clone())),
        }
    }

    /// Starts a session of a user, and returns its refresh token, which any client can use.
    pub(crate) fn refresh_token_for(&mut self, user: &str) -> String {
        let now = self.now();
        let session = self.users.start_session(user, None);
        self.users.new_refresh_token(session, now)
    }

    pub(crate) fn refresh_token_is_live(&self, token: &str) -> bool {
        self.users.refresh_token_is_live(token, self.now())
    }

    /// Ends all sessions, and revokes their tokens.
    pub(crate) fn end_sessions(&mut self) {
        self.users.end_sessions();
        self.revoke_ended();
    }

    /// Revokes the tokens of the sessions that have ended.
    fn revoke_ended(&mut self) {
        let users = &self.users;
        self.tokens
            .revoke(|it| it.session.is_some_and(|session| users.has_ended(session)));
    }
}
