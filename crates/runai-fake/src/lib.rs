#![doc = include_str!("../README.md")]

mod answer;
mod api;
mod behaviour;
mod builder;
mod connection;
pub mod control;
mod fake;
mod form;
mod gate;
mod handler;
mod journal;
mod jwt;
mod keycloak;
mod oauth2;
mod secrets;
mod sent;
mod state;
mod tls;
mod v1;
mod v2;

pub use crate::{
    behaviour::{Behaviour, Fault, TokenShape},
    builder::Builder,
    fake::RunaiFake,
    form::EndpointVersion,
    gate::Gate,
    journal::{Exchange, Kind},
    state::Issued,
};
