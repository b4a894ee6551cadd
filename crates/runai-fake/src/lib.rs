#![doc = include_str!("../README.md")]

mod answer;
mod behaviour;
mod builder;
mod connection;
pub mod control;
mod endpoint_version;
mod fake;
mod flush_counter;
mod gate;
mod journal;
mod jwt;
mod response_body;
mod route;
mod server;
mod state;
mod tls;
mod wire;

pub use crate::{
    behaviour::{Behaviour, Fault, TokenShape},
    builder::Builder,
    endpoint_version::EndpointVersion,
    fake::RunaiFake,
    gate::Gate,
    journal::{Exchange, Kind},
    state::Issued,
};
