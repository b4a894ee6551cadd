//! The price of a request through the layer, held where it is: counts are exact, so the margins are small.
//! What they are compared with is counted beside them. `scripts/hot-path` runs this.

use std::path::Path;

use benches::counted::{Allocations, instructions};

/// What a compiler or an allocator of another version may add.
const MARGIN: f64 = 1.04;

fn of(stack: &str) -> f64 {
    let program = Path::new(env!("CARGO_BIN_EXE_instructions"));
    instructions(program, stack).expect("valgrind counts them")
}

/// How much more instructions one stack adds to the bare one than another.
fn net_ratio(ours: &str, other: &str) -> f64 {
    let bare = of("bare");
    let ratio = (of(ours) - bare) / (of(other) - bare);
    println!("{ours} beyond bare is {ratio:.3} of {other}");
    ratio
}

#[test]
fn f09_a_stamp_costs_no_more_instructions_than_it_did() {
    let ratio = net_ratio("ours", "static");
    assert!((0.5..=2.43 * MARGIN).contains(&ratio), "{ratio}");
}

#[test]
fn f09_a_request_that_may_be_sent_again_costs_no_more_instructions_than_it_did() {
    let ratio = net_ratio("ours_retry", "floor");
    assert!((0.5..=1.20 * MARGIN).contains(&ratio), "{ratio}");
}

#[test]
fn f09_a_stamp_allocates_nothing() {
    let program = Path::new(env!("CARGO_BIN_EXE_allocations"));
    let counts = Allocations::count(program, 16).expect("it counts");
    for (ours, other) in [
        ("ours", "static"),
        ("ours_retry", "floor"),
        ("ours_retry_client", "floor_client"),
    ] {
        assert_eq!(counts.of(ours), counts.of(other), "{ours} beside {other}");
    }
    assert!(counts.waiting() <= 512.0, "{counts:?}");
    assert!(counts.peak_mib() <= 1.0, "{counts:?}");
}
