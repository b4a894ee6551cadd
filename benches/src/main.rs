//! Measures this project beside its peers, and prints what came of it: see `benches/run`.

use std::time::Duration;

use benches::{paired::Effort, peers};
use tokio::runtime::Runtime;

mod e2e;
mod exact;
mod herd;
mod machine;
mod outage;
mod plot;
mod proxy;
mod refresh;
mod report;
mod stamp;
mod steady;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(feature = "peers")]
    if let [first, address] = &args[..]
        && first == peers::kube::PLUGIN
    {
        if let Err(error) = peers::kube::plugin(address) {
            eprintln!("{error}");
            std::process::exit(1);
        }
        return;
    }
    let known = ["--quick", "--plot"];
    if let Some(other) = args.iter().find(|it| !known.contains(&it.as_str())) {
        eprintln!("unknown argument {other}; there are --quick and --plot");
        std::process::exit(2);
    }
    let quick = args.iter().any(|it| it == "--quick");
    let plots = args.iter().any(|it| it == "--plot");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let machine = machine::describe();
    let (report, names) = measure(&runtime, quick, plots);
    println!("Measured on {machine}.\n");
    println!("{}\n", versions());
    print!("{}", report.text(&names));
    // What peers left running is none of our business any more.
    runtime.shutdown_background();
}

fn measure(runtime: &Runtime, quick: bool, plots: bool) -> (report::Report, Vec<&'static str>) {
    let mut report = report::Report::default();
    let all = peers::all();
    let own = Effort {
        rounds: if quick { 31 } else { 101 },
        lots: 5,
        lot: Duration::from_micros(if quick { 500 } else { 2000 }),
    };
    let beside = Effort {
        rounds: if quick { 31 } else { 41 },
        lots: 5,
        lot: Duration::from_micros(if quick { 200 } else { 2000 }),
    };
    stamp::own(&mut report, runtime, own);
    let bars = stamp::peers(&mut report, runtime, &all, beside);
    exact::instructions(&mut report);
    exact::allocations(&mut report, if quick { 128 } else { 1024 });
    exact::dependencies(&mut report);
    herd::all(&mut report, runtime, &all);
    let traffic = refresh::measure(&mut report, runtime, &all, if quick { 4 } else { 20 });
    outage::measure(&mut report, runtime, &all, outage::Scale { quick });
    e2e::requests(
        &mut report,
        runtime,
        if quick { 31 } else { 101 },
        if quick { 320 } else { 3200 },
    );
    e2e::uploads(&mut report, runtime, 31, if quick { 8 } else { 1024 });
    proxy::measure(&mut report, runtime, quick);
    if plots {
        write_plot("cost-by-threads.svg", &plot::costs(&bars));
        write_plot("latency-around-a-refresh.svg", &plot::refresh(&traffic));
    }
    let mut names = vec!["tower-http"];
    names.extend(all.iter().skip(1).map(|peer| peer.name()));
    (report, names)
}

/// What is compared, in which version, and what of it is timed.
fn versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |package| machine::version(lock, package).unwrap_or("of an unknown version");
    let mut lines = vec![
        "| | version | timed |".to_owned(),
        "| --- | --- | --- |".to_owned(),
        format!(
            "| tower-http | {} | `AddAuthorizationLayer` |",
            version("tower-http")
        ),
    ];
    for peer in peers::all() {
        let version = peer.package().map_or("–", version);
        lines.push(format!("| {} | {version} | {} |", peer.name(), peer.path()));
    }
    lines.join("\n")
}

fn write_plot(name: &str, svg: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    match std::fs::write(&path, svg) {
        Ok(()) => eprintln!("wrote docs/{name}"),
        Err(error) => eprintln!("docs/{name}: {error}"),
    }
}
