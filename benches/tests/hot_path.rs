//! The price of a request through the layer, held where it is: counts are exact, so the margins are small.
//! What they are compared with is counted beside them. `scripts/hot-path` runs this.

use std::path::Path;

use benches::counted::{Allocations, instructions};

/// What a compiler or an allocator of another version may add, or another split of the program.
const MARGIN: f64 = 1.02;

/// How many instructions a request through one stack takes for each of another's: all of them, building the
/// request included, since the compiler shifts them between the stacks and their common ground.
fn ratio(ours: &str, other: &str) -> f64 {
    let program = Path::new(env!("CARGO_BIN_EXE_instructions"));
    let of = |stack| instructions(program, stack).expect("valgrind counts them");
    let ratio = of(ours) / of(other);
    println!("{ours} over {other}: {ratio:.3}");
    ratio
}

#[test]
fn f09_a_stamp_takes_no_more_instructions_than_it_did() {
    let ratio = ratio("ours", "static");
    assert!((0.5..=1.18 * MARGIN).contains(&ratio), "{ratio}");
}

#[test]
fn f09_a_request_that_may_be_sent_again_takes_no_more_instructions_than_it_did() {
    for (ours, floor, most) in [
        ("ours_retry", "floor", 1.10),
        ("ours_retry_client", "floor_client", 1.04),
    ] {
        let ratio = ratio(ours, floor);
        assert!((0.5..=most * MARGIN).contains(&ratio), "{ours}: {ratio}");
    }
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
