//! Sends a number of requests through one stack, for callgrind to count the instructions of.

use benches::stacks;

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("the name of a stack");
    let requests = args
        .next()
        .and_then(|it| it.parse().ok())
        .expect("how many requests");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    stacks::named(&runtime, &name, false)()(requests);
}
