//! People: their passwords, their sessions, and what they hold to get another token.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;

/// How long a refresh token can be used, in seconds.
pub(crate) const REFRESH_LIFETIME: i64 = 30 * 24 * 3600;

/// Why somebody gets no token, and who it was, where that is known.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) client: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Reason {
    /// The client's secret is wrong.
    Client,
    /// The user's password is wrong.
    Password,
    /// There is no such refresh token, or another client has it.
    Refresh,
    /// The refresh token is spent, or its session has ended.
    Ended,
    /// The authorization code is none, spent, or of another client or redirect.
    Code,
    /// The code was asked for with a challenge, and its verifier is missing or another one.
    Verifier,
    /// The outside token is not known.
    Outside,
    /// The fake itself failed.
    Broken(String),
}

impl Reason {
    pub(crate) fn of(self, client: Option<&str>) -> Refusal {
        let client = client.map(str::to_owned);
        Refusal {
            reason: self,
            client,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Client => "Invalid client credentials",
            Self::Password => "Invalid user credentials",
            Self::Refresh => "Invalid refresh token",
            Self::Ended => "Session not active",
            Self::Code => "Code not valid",
            Self::Verifier => "PKCE verification failed",
            Self::Outside => "Invalid external token",
            Self::Broken(error) => error,
        }
    }
}

#[derive(Debug)]
pub(crate) struct People {
    /// In the order in which they were told: the first is the one that the login page logs in.
    users: Vec<(String, String)>,
    outside: HashMap<String, String>,
    rotate: bool,
    sessions: Vec<Session>,
    refresh: HashMap<String, Refresh>,
    codes: HashMap<String, Code>,
    /// How many codes there were.
    coded: u64,
}

#[derive(Debug)]
struct Session {
    user: String,
    /// The client that it was started with; `None`: any.
    client: Option<String>,
    ended: bool,
}

#[derive(Debug)]
struct Refresh {
    session: usize,
    expires_at: i64,
    spent: bool,
}

#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    /// The S256 challenge, if it was asked for with one.
    pub(crate) challenge: Option<String>,
}

impl People {
    pub(crate) fn new(
        users: Vec<(String, String)>,
        outside: Vec<(String, String)>,
        rotate: bool,
    ) -> Self {
        Self {
            users,
            outside: outside.into_iter().collect(),
            rotate,
            sessions: Vec::new(),
            refresh: HashMap::new(),
            codes: HashMap::new(),
            coded: 0,
        }
    }

    /// The user whom the login page logs in without asking.
    pub(crate) fn first(&self) -> Option<&str> {
        self.users.first().map(|(name, _)| name.as_str())
    }

    pub(crate) fn has(&self, user: &str) -> bool {
        self.users.iter().any(|(name, _)| name == user)
    }

    pub(crate) fn user_of(&self, session: usize) -> &str {
        &self.sessions[session].user
    }

    pub(crate) fn has_ended(&self, session: usize) -> bool {
        self.sessions[session].ended
    }

    /// Whom an outside token is exchanged for a token of.
    pub(crate) fn outside(&self, token: &str) -> Result<String, Refusal> {
        let client = self.outside.get(token).cloned();
        client.ok_or_else(|| Reason::Outside.of(None))
    }

    pub(crate) fn start(&mut self, user: &str, client: Option<&str>) -> usize {
        self.sessions.push(Session {
            user: user.into(),
            client: client.map(str::to_owned),
            ended: false,
        });
        self.sessions.len() - 1
    }

    pub(crate) fn end_all(&mut self) {
        for session in &mut self.sessions {
            session.ended = true;
        }
    }

    pub(crate) fn log_in(
        &mut self,
        client: &str,
        user: &str,
        password: &str,
    ) -> Result<usize, Refusal> {
        let is_right = |(name, right): &(String, String)| name == user && right == password;
        if !self.users.iter().any(is_right) {
            return Err(Reason::Password.of(Some(user)));
        }
        Ok(self.start(user, Some(client)))
    }

    /// A refresh token for a session.
    pub(crate) fn refresh_token(&mut self, session: usize, now: i64) -> String {
        let token = format!("refresh-{}", self.refresh.len() + 1);
        let refresh = Refresh {
            session,
            expires_at: now.saturating_add(REFRESH_LIFETIME),
            spent: false,
        };
        self.refresh.insert(token.clone(), refresh);
        token
    }

    pub(crate) fn is_live(&self, token: &str, now: i64) -> bool {
        self.refresh
            .get(token)
            .is_some_and(|it| !it.spent && now < it.expires_at && !self.sessions[it.session].ended)
    }

    /// The session of a refresh token and the token that takes its place, if one does. One that is
    /// used a second time has been stolen, before or now, so it ends its session.
    pub(crate) fn refresh(
        &mut self,
        client: &str,
        token: &str,
        now: i64,
    ) -> Result<(usize, Option<String>), Refusal> {
        let Some(found) = self.refresh.get_mut(token) else {
            return Err(Reason::Refresh.of(None));
        };
        let id = found.session;
        let session = &mut self.sessions[id];
        let user = Some(session.user.as_str());
        if session.client.as_ref().is_some_and(|it| it != client) {
            return Err(Reason::Refresh.of(user));
        }
        let refusal = Reason::Ended.of(user);
        if found.spent {
            session.ended = true;
        }
        if session.ended || now >= found.expires_at {
            return Err(refusal);
        }
        found.spent = self.rotate;
        let next = self.rotate.then(|| self.refresh_token(id, now));
        Ok((id, next))
    }

    pub(crate) fn code(&mut self, code: Code) -> String {
        self.coded += 1;
        let text = format!("code-{}", self.coded);
        self.codes.insert(text.clone(), code);
        text
    }

    /// The session that a code starts. A code is good for one attempt, right or wrong.
    pub(crate) fn redeem(
        &mut self,
        client: &str,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<usize, Refusal> {
        let Some(code) = self.codes.remove(code) else {
            return Err(Reason::Code.of(None));
        };
        if code.client != client || code.redirect_uri != redirect_uri {
            return Err(Reason::Code.of(Some(&code.user)));
        }
        // A verifier that nobody asked for says nothing.
        if let Some(challenge) = code.challenge {
            if verifier.map(s256) != Some(challenge) {
                return Err(Reason::Verifier.of(Some(&code.user)));
            }
        }
        Ok(self.start(&code.user, Some(client)))
    }
}

/// The challenge to a verifier (RFC 7636, section 4.2).
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
    fn a_refresh_token_grows_old() {
        let mut people = People::new(Vec::new(), Vec::new(), true);
        let session = people.start("a", None);
        let token = people.refresh_token(session, 10);
        assert!(people.is_live(&token, 9 + REFRESH_LIFETIME));
        assert!(!people.is_live(&token, 10 + REFRESH_LIFETIME));
        assert!(people.refresh("c", &token, 10 + REFRESH_LIFETIME).is_err());
        assert!(people.refresh("c", &token, 9 + REFRESH_LIFETIME).is_ok());
    }
}
