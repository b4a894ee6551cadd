//! Kubeconfigs, as far as they hold a login: found, merged and read as kubectl does.

mod error;
mod exec;
mod file;
mod login;
mod merged;
mod view;
mod write_back;
mod yaml;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    error::KubeconfigError,
    login::{LoginMethod, Oidc},
    merged::{Kubeconfig, User, load, paths},
    write_back::{can_write_back, write_back},
};
