#![doc = include_str!("../README.md")]

mod answer;
mod api;
mod behaviour;
mod connection;
pub mod control;
mod fake;
mod gate;
mod handler;
mod journal;
mod jwt;
mod sent;
mod state;
mod tls;
mod v1;
mod v2;

pub use crate::{
    behaviour::{Behaviour, Fault, TokenShape},
    fake::{Builder, RunaiFake},
    gate::Gate,
    journal::{Exchange, Kind},
    state::Issued,
};
