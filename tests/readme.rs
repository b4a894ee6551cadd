//! The README, so that its Rust is compiled and run with the tests.

#![doc = include_str!("../README.md")]
