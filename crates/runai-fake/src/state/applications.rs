//! Applications: their secrets and their access rules.

use std::collections::HashMap;

#[derive(Debug)]
pub(crate) struct Applications(HashMap<String, Application>);

#[derive(Debug)]
struct Application {
    secret: String,
    /// False if the application has no access rule.
    has_access: bool,
}

impl Applications {
    pub(super) fn new(applications: Vec<(String, String)>) -> Self {
        let applications = applications.into_iter().map(|(id, secret)| {
            let has_access = true;
            (id, Application { secret, has_access })
        });
        Self(applications.collect())
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Returns true if there is an application with this secret.
    pub(crate) fn authenticate(&self, id: &str, secret: &str) -> bool {
        self.0.get(id).is_some_and(|it| it.secret == secret)
    }

    /// Returns false if the application has no access rule. An unknown one counts as having one: an
    /// external token can be exchanged for a token of any name.
    pub(super) fn has_access(&self, id: &str) -> bool {
        self.0.get(id).is_none_or(|it| it.has_access)
    }

    /// Changes a secret. Returns false if there is no such application.
    pub(crate) fn set_secret(&mut self, id: &str, secret: &str) -> bool {
        let application = self.0.get_mut(id);
        application.map(|it| it.secret = secret.into()).is_some()
    }

    /// Gives or takes the access rule. Returns false if there is no such application.
    pub(crate) fn set_access(&mut self, id: &str, has_access: bool) -> bool {
        let application = self.0.get_mut(id);
        application.map(|it| it.has_access = has_access).is_some()
    }
}
