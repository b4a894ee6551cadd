//! The pure decisions, in tables and in every interleaving of a few threads.

mod complete;
mod decide;
mod interleavings;
mod quiet;
mod reject;
mod support;
mod table;
