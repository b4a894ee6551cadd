//! Does the parser of challenges read what the slow and obvious one reads, and never panic?
//!
//! ```text
//! cargo +nightly fuzz run challenge
//! ```

#![no_main]

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;

// The parser is private to its crate, so its file is compiled in here.
#[allow(dead_code)]
#[path = "../../crates/tower-bearer/src/auth/challenge.rs"]
mod challenge;
#[path = "../../crates/tower-bearer/src/auth/challenge/slow.rs"]
mod slow;

use challenge::{Part, Parts};

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n') {
        let read: Vec<_> = Parts::new(line)
            .map(|part| match part {
                Part::Scheme(name) => slow::Part::Scheme(name.to_vec()),
                Part::Parameter { name, value } => {
                    slow::Part::Parameter(name.to_vec(), value.bytes().collect())
                }
                Part::Unknown => slow::Part::Unknown,
            })
            .collect();
        assert_eq!(read, slow::parse(line));
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    challenge::complaint(&headers);
});
