//! Users: their passwords, sessions, refresh tokens and authorization codes.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;

use super::grant_error::{GrantError, Reason};

/// The lifetime of a refresh token, in seconds.
pub(crate) const REFRESH_TOKEN_LIFETIME: i64 = 30 * 24 * 3600;

#[derive(Debug)]
pub(crate) struct Users {
    /// Names and passwords, in the order of the builder's calls. The login page logs the first one in.
    users: Vec<(String, String)>,
    /// True if a refresh token can be used once.
    rotate_refresh_tokens: bool,
    sessions: Vec<Session>,
    refresh_tokens: HashMap<String, RefreshToken>,
    codes: HashMap<String, AuthorizationCode>,
    /// The number of codes so far.
    code_count: u64,
}

#[derive(Debug)]
struct Session {
    user: String,
    /// The client that started the session. `None` if any client can refresh it.
    client: Option<String>,
    ended: bool,
}

#[derive(Debug)]
struct RefreshToken {
    session: usize,
    expires_at: i64,
    used: bool,
}

/// What an authorization code was issued for.
#[derive(Debug)]
pub(crate) struct AuthorizationCode {
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    /// The S256 challenge, if the login request had one.
    pub(crate) challenge: Option<String>,
}

impl Users {
    pub(super) fn new(users: Vec<(String, String)>, rotate_refresh_tokens: bool) -> Self {
        Self {
            users,
            rotate_refresh_tokens,
            sessions: Vec::new(),
            refresh_tokens: HashMap::new(),
            codes: HashMap::new(),
            code_count: 0,
        }
    }

    /// Returns the user that the login page logs in.
    pub(crate) fn first(&self) -> Option<&str> {
        self.users.first().map(|(name, _)| name.as_str())
    }

    pub(crate) fn contains(&self, user: &str) -> bool {
        self.users.iter().any(|(name, _)| name == user)
    }

    pub(super) fn user_of(&self, session: usize) -> &str {
        &self.sessions[session].user
    }

    pub(super) fn has_ended(&self, session: usize) -> bool {
        self.sessions[session].ended
    }

    pub(super) fn start_session(&mut self, user: &str, client: Option<&str>) -> usize {
        self.sessions.push(Session {
            user: user.into(),
            client: client.map(str::to_owned),
            ended: false,
        });
        self.sessions.len() - 1
    }

    pub(super) fn end_sessions(&mut self) {
        for session in &mut self.sessions {
            session.ended = true;
        }
    }

    /// Starts a session of a user whose password is right.
    pub(super) fn log_in(
        &mut self,
        client: &str,
        user: &str,
        password: &str,
    ) -> Result<usize, GrantError> {
        let is_right = |(name, right): &(String, String)| name == user && right == password;
        if !self.users.iter().any(is_right) {
            return Err(Reason::Password.for_client(Some(user)));
        }
        Ok(self.start_session(user, Some(client)))
    }

    pub(super) fn new_refresh_token(&mut self, session: usize, now: i64) -> String {
        let token = format!("refresh-{}", self.refresh_tokens.len() + 1);
        let refresh_token = RefreshToken {
            session,
            expires_at: now.saturating_add(REFRESH_TOKEN_LIFETIME),
            used: false,
        };
        self.refresh_tokens.insert(token.clone(), refresh_token);
        token
    }

    pub(super) fn refresh_token_is_live(&self, token: &str, now: i64) -> bool {
        self.refresh_tokens
            .get(token)
            .is_some_and(|it| !it.used && now < it.expires_at && !self.has_ended(it.session))
    }

    /// Redeems a refresh token. Returns its session and, if refresh tokens rotate, the next one.
    ///
    /// A refresh token that comes a second time was stolen, so it ends its session.
    pub(super) fn redeem_refresh_token(
        &mut self,
        client: &str,
        token: &str,
        now: i64,
    ) -> Result<(usize, Option<String>), GrantError> {
        let Some(found) = self.refresh_tokens.get_mut(token) else {
            return Err(Reason::RefreshToken.for_client(None));
        };
        let id = found.session;
        let session = &mut self.sessions[id];
        let user = Some(session.user.as_str());
        if session.client.as_ref().is_some_and(|it| it != client) {
            return Err(Reason::RefreshToken.for_client(user));
        }
        let error = Reason::SessionEnded.for_client(user);
        if found.used {
            session.ended = true;
        }
        if session.ended || now >= found.expires_at {
            return Err(error);
        }
        found.used = self.rotate_refresh_tokens;
        let next = self
            .rotate_refresh_tokens
            .then(|| self.new_refresh_token(id, now));
        Ok((id, next))
    }

    pub(crate) fn new_code(&mut self, code: AuthorizationCode) -> String {
        self.code_count += 1;
        let text = format!("code-{}", self.code_count);
        self.codes.insert(text.clone(), code);
        text
    }

    /// Redeems an authorization code, and starts a session. Any attempt uses the code up.
    pub(super) fn redeem_code(
        &mut self,
        client: &str,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<usize, GrantError> {
        let Some(code) = self.codes.remove(code) else {
            return Err(Reason::Code.for_client(None));
        };
        if code.client != client || code.redirect_uri != redirect_uri {
            return Err(Reason::Code.for_client(Some(&code.user)));
        }
        // A code without a challenge needs no verifier, so one that comes is ignored.
        if let Some(challenge) = code.challenge {
            if verifier.map(s256) != Some(challenge) {
                return Err(Reason::Verifier.for_client(Some(&code.user)));
            }
        }
        Ok(self.start_session(&code.user, Some(client)))
    }
}

/// Returns the S256 challenge of a verifier (RFC 7636, section 4.2).
fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(s256(verifier), challenge);
    }

    #[test]
    fn a_refresh_token_expires() {
        let mut users = Users::new(Vec::new(), true);
        let session = users.start_session("a", None);
        let token = users.new_refresh_token(session, 10);
        let end = 10 + REFRESH_TOKEN_LIFETIME;
        assert!(users.refresh_token_is_live(&token, end - 1));
        assert!(!users.refresh_token_is_live(&token, end));
        assert!(users.redeem_refresh_token("c", &token, end).is_err());
        assert!(users.redeem_refresh_token("c", &token, end - 1).is_ok());
    }
}
