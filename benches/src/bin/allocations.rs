//! Counts allocations per request, the bytes of a request that waits, and those that live during an upload.

use std::{
    alloc::System,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use benches::{
    allocs::{live, per_call},
    stacks,
    upload::Uploads,
    workload::{Noop, ORIGIN, request},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;
use tower_bearer::{BearerAuthLayer, TokenCache, source_fn};
use tower_layer::Layer;
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let mebibytes = std::env::args()
        .nth(1)
        .and_then(|it| it.parse().ok())
        .unwrap_or(1024);
    let runtime = Runtime::new().expect("a runtime");
    for name in stacks::NAMES {
        let (count, bytes) = per_call(ALLOCATOR, 10_000, stacks::named(&runtime, name, false)());
        println!("allocations {name} {count:.2} {bytes:.0}");
    }
    println!("layer {}", layering(&runtime));
    println!("waiting {}", waiting(&runtime));
    println!("peak {}", peak(&runtime, mebibytes));
}

/// The allocations of wrapping a service.
fn layering(runtime: &Runtime) -> usize {
    let layer = BearerAuthLayer::new(stacks::cache(runtime));
    let region = Region::new(ALLOCATOR);
    black_box(layer.layer(Noop));
    region.change().allocations
}

/// The bytes of a request that waits for a refresh, less those of the request.
fn waiting(runtime: &Runtime) -> usize {
    const MANY: usize = 1000;
    let _entered = runtime.enter();
    let cache = TokenCache::new(source_fn(|_| std::future::pending()));
    let layer = BearerAuthLayer::new(cache)
        .allow(ORIGIN)
        .expect("an origin");
    let mut service = layer.layer(Noop);
    let mut cx = Context::from_waker(Waker::noop());
    // The first begins the refresh.
    let mut first = Box::pin(service.call(request()));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    while service.cache().status().phase != tower_bearer::Phase::Refreshing {
        std::thread::sleep(Duration::from_millis(1));
    }
    let each = |make: &mut dyn FnMut() -> Pin<Box<dyn std::any::Any>>| {
        let mut kept = Vec::with_capacity(MANY);
        let region = Region::new(ALLOCATOR);
        for _ in 0..MANY {
            kept.push(make());
        }
        let live = live(&region);
        black_box(&kept);
        live / MANY
    };
    let with = each(&mut || {
        let mut response = Box::pin(service.call(request()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(response.as_mut().poll(&mut cx).is_pending());
        response
    });
    let without = each(&mut || Box::pin(request()));
    with - without
}

/// The bytes that live at most during an upload with replay on, beyond those before it.
fn peak(runtime: &Runtime, mebibytes: usize) -> usize {
    let cache = stacks::cache(runtime);
    runtime.block_on(async {
        let mut uploads = Uploads::new(cache).await.expect("a server");
        let region = Region::new(ALLOCATOR);
        let peak = Arc::new(AtomicUsize::new(0));
        let highest = peak.clone();
        uploads
            .with(mebibytes, move || {
                highest.fetch_max(live(&region), Relaxed);
            })
            .await;
        peak.load(Relaxed)
    })
}
