//! The secrets that went over the network last, which no text of another party may repeat.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tower_bearer::oauth2::{Issued, SecretText};

/// The newest secrets of one exchange. Older ones are forgotten, so that their memory is wiped.
#[derive(Debug, Default)]
pub(super) struct KnownSecrets(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    /// The secrets that the credentials hold beside those that they send.
    held: Vec<SecretText>,
    /// The secrets of the last grant: a client secret, a password, a refresh token.
    sent: Vec<SecretText>,
    access_token: Option<SecretText>,
    id_token: Option<SecretText>,
    refresh_token: Option<SecretText>,
}

impl KnownSecrets {
    /// Takes the secrets that are about to be sent.
    pub(super) fn sending(&self, secrets: Vec<SecretText>) {
        self.newest().sent = secrets;
    }

    /// Takes the secrets that the credentials hold.
    pub(super) fn holding(&self, secrets: Vec<SecretText>) {
        self.newest().held = secrets;
    }

    /// Takes the token that a fetch returned, whoever issued it.
    pub(super) fn returned(&self, token: &str) {
        let mut newest = self.newest();
        let known = newest.access_token.as_ref();
        if known.is_none_or(|known| known.expose_secret() != token) {
            newest.access_token = Some(token.into());
        }
    }

    /// Takes the tokens of an answer. One that the answer lacks stays as it was.
    pub(super) fn issued(&self, issued: &Issued) {
        self.returned(issued.token.expose_secret());
        let mut newest = self.newest();
        if let Some(token) = &issued.id_token {
            newest.id_token = Some(token.clone());
        }
        if let Some(token) = &issued.refresh_token {
            newest.refresh_token = Some(token.clone());
        }
    }

    /// Returns all of them.
    pub(super) fn all(&self) -> Vec<SecretText> {
        let newest = self.newest();
        let tokens = [
            &newest.access_token,
            &newest.id_token,
            &newest.refresh_token,
        ];
        let tokens = tokens.into_iter().flatten();
        let others = newest.held.iter().chain(&newest.sent);
        others.chain(tokens).cloned().collect()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
