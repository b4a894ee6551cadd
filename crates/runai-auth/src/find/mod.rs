//! Finds control planes and credentials: in the environment, and where they usually are.

mod discover;
mod env;
mod machine;

#[cfg(test)]
mod tests;
