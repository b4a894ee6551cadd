//! Guards the price of a request through the layer. Counts are exact, so the margins are small. Each is compared
//! with another stack's count from the same run. `scripts/hot-path` runs this.

use std::path::Path;

use benches::counted::{Allocations, instructions};

/// What another version of the compiler or the allocator may add, or another split of the program.
const MARGIN: f64 = 1.01;

/// Returns the instructions of a request through one stack for each instruction through another: all of them,
/// building the request included, because the compiler shifts instructions between the stacks and their
/// common ground.
fn ratio(ours: &str, other: &str) -> f64 {
    let program = Path::new(env!("CARGO_BIN_EXE_instructions"));
    let of = |stack| instructions(program, stack).expect("valgrind counts them");
    let ratio = of(ours) / of(other);
    println!("{ours} over {other}: {ratio:.3}");
    ratio
}

/// The default: a request that may be sent again, beside a retry that is written by hand. With a client as the
/// inner service it costs more than the layer alone: each request exchanges it for the one put aside, so that a
/// retry goes through a service in use (L39). A look at all header names is in it, since a `Host` header must name the
/// host that the token goes to (L25): 0.03. So is what tells who accepts a token and who rejects it (L01): 0.02.
#[test]
fn f09_a_request_takes_no_more_instructions_than_it_did() {
    for (ours, floor, most) in [
        ("ours_retry", "floor", 1.17),
        ("ours_retry_client", "floor_client", 1.14),
    ] {
        let ratio = ratio(ours, floor);
        assert!((0.5..=most * MARGIN).contains(&ratio), "{ours}: {ratio}");
    }
}

/// Without retries there is no path of its own: one more allocation was the price of deleting it. A copy of the URI is
/// in it, which names the target if it rejects the token (L01): 0.07.
#[test]
fn f09_without_retries_a_request_costs_little_more_than_a_static_header() {
    let ratio = ratio("ours", "static");
    assert!((0.5..=1.42).contains(&ratio), "{ratio}");
}

#[test]
fn f09_a_request_allocates_what_it_must() {
    let program = Path::new(env!("CARGO_BIN_EXE_allocations"));
    let counts = Allocations::count(program, 16).expect("it counts");
    for (ours, floor) in [
        ("ours_retry", "floor"),
        ("ours_retry_client", "floor_client"),
    ] {
        assert_eq!(counts.of(ours), counts.of(floor), "{ours} beside {floor}");
    }
    assert_eq!(counts.of("ours"), counts.of("static") + 1.0);
    assert!(counts.layer() <= 1.0, "{counts:?}");
    // The wait knows its request's target (L01) and the timer that does not need the runtime's (L10).
    assert!(counts.waiting() <= 640.0, "{counts:?}");
    assert!(counts.peak_mib() <= 1.0, "{counts:?}");
}
