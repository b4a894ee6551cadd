//! The proxy beside nginx with a fixed header: CPU seconds per request, one worker each, in alternation.

use std::{
    convert::Infallible,
    fs,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use benches::{
    paired::ratios,
    stats::{median, middle},
    workload::token,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::report::{Report, Value};

/// Where nginx listens. It cannot say which free port it found.
const NGINX_PORT: u16 = 39_471;

/// Each of both, how often and for how many seconds.
const ROUNDS: usize = 8;
const LASTS: u32 = 3;

pub fn measure(report: &mut Report, runtime: &Runtime, quick: bool) {
    if quick {
        let why = "it takes a minute; see a whole run".into();
        report.put("proxy_cpu_vs_nginx", Value::Skipped(why));
        return;
    }
    let value = match compare(report, runtime) {
        Ok(value) => value,
        Err(why) => Value::Skipped(why),
    };
    report.put("proxy_cpu_vs_nginx", value);
}

fn compare(report: &mut Report, runtime: &Runtime) -> Result<Value, String> {
    let nginx = found("nginx")?;
    let wrk = found("wrk")?;
    let proxy = proxy_program()?;
    let upstream = runtime.block_on(upstream()).map_err(text)?;
    let files = Files::new()?;
    let nginx = Running::nginx(&nginx, &files, upstream)?;
    let proxy = Running::proxy(&proxy, &files, upstream)?;
    let mut costs = [Vec::new(), Vec::new()];
    let mut seen = [Vec::new(), Vec::new()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for half in 0..2 {
            let which = (round + half) % 2;
            let server = [&nginx, &proxy][which];
            let before = server.cpu()?;
            let load = load(&wrk, &server.url)?;
            let cpu = server.cpu()? - before;
            if round > 0 {
                costs[which].push(cpu / load.requests * 1e6);
                seen[which].push(load);
            }
        }
    }
    for (which, name) in ["nginx", "runai-auth proxy"].into_iter().enumerate() {
        let of = |pick: fn(&Load) -> f64| middle(&seen[which].iter().map(pick).collect::<Vec<_>>());
        report.note(format!(
            "{name}: {:.1} µs of CPU a request, {:.0} requests a second, latency {:.2} ms in the median and {:.2} ms for the slowest hundredth.",
            middle(&costs[which]),
            of(|it| it.requests) / f64::from(LASTS),
            of(|it| it.median_ms),
            of(|it| it.p99_ms),
        ));
    }
    Ok(Value::Measured(median(&ratios(&costs[1], &costs[0]))))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn found(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("{name} is not installed"))
}

/// `runai-auth`, if it has the command `proxy`.
fn proxy_program() -> Result<PathBuf, String> {
    let program = std::env::var_os("RUNAI_AUTH").ok_or("runai-auth was not built")?;
    let help = Command::new(&program).args(["proxy", "--help"]).output();
    match help.is_ok_and(|it| it.status.success()) {
        true => Ok(program.into()),
        false => Err("this runai-auth has no command `proxy`".into()),
    }
}

/// A server that answers each request with a small JSON. Its port.
async fn upstream() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let answer = service_fn(|_: Request<Incoming>| async {
                    let body = Full::new(Bytes::from_static(b"{\"clusters\":[]}"));
                    Ok::<_, Infallible>(Response::new(body))
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    Ok(port)
}

/// What both are configured with; gone when dropped.
struct Files(PathBuf);

impl Files {
    fn new() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("bench-proxy-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(text)?;
        Ok(Self(folder))
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        fs::write(&path, content).map_err(text)?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server under load.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn nginx(program: &Path, files: &Files, upstream: u16) -> Result<Self, String> {
        let folder = files.0.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/{name};"))
            .join("\n");
        let config = format!(
            "worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n{temporary}\naccess_log off; keepalive_requests 1000000000;\n\
             upstream api {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{NGINX_PORT};\n\
             location / {{ proxy_pass http://api; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer {}\"; }} }} }}\n",
            token()
        );
        let config = files.write("nginx.conf", &config)?;
        let child = Command::new(program)
            .arg("-c")
            .arg(config)
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let server = Self {
            child,
            url: format!("http://127.0.0.1:{NGINX_PORT}/api/v1/clusters"),
        };
        for _ in 0..100 {
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, NGINX_PORT)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("nginx does not listen".into())
    }

    fn proxy(program: &Path, files: &Files, upstream: u16) -> Result<Self, String> {
        let token = files.write("token", token())?;
        let mut child = Command::new(program)
            .args(["proxy", "--listen", "127.0.0.1:0", "--method", "token-file"])
            .arg("--token-file")
            .arg(token)
            .args(["--base-url", &format!("http://127.0.0.1:{upstream}")])
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        let mut server = Self {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(text)?;
        let line: serde_json::Value = serde_json::from_str(&line)
            .map_err(|_| "the proxy did not say where it listens".to_owned())?;
        let listening = line["listening"].as_str().ok_or("it listens nowhere")?;
        server.url = format!("{listening}/api/v1/clusters");
        Ok(server)
    }

    /// The CPU seconds of the process and of those that it began.
    fn cpu(&self) -> Result<f64, String> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.map_err(text)?;
        let mut ticks = ticks(&pid.to_string())?;
        for child in children.split_whitespace() {
            ticks += self::ticks(child)?;
        }
        // Linux counts in hundredths of a second for all who ask here.
        Ok(ticks as f64 / 100.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's master ends its worker when it is told to, and not when it is killed.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process, from the fields behind its name.
fn ticks(pid: &str) -> Result<u64, String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
    parse_ticks(&stat).ok_or_else(|| "no times in /proc/PID/stat".into())
}

fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// What wrk saw.
struct Load {
    requests: f64,
    median_ms: f64,
    p99_ms: f64,
}

fn load(wrk: &Path, url: &str) -> Result<Load, String> {
    let output = Command::new(wrk)
        .args(["-t1", "-c16", "--latency", &format!("-d{LASTS}s"), url])
        .output()
        .map_err(text)?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_load(&output).ok_or_else(|| format!("wrk said: {output}"))
}

/// The counts in wrk's output; none if there were errors.
fn parse_load(output: &str) -> Option<Load> {
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        return None;
    }
    let line = |needle: &str| output.lines().find(|line| line.contains(needle));
    let requests = line(" requests in ")?.split_whitespace().next()?;
    let latency = |needle| millis(line(needle)?.split_whitespace().nth(1)?);
    Some(Load {
        requests: requests.parse().ok()?,
        median_ms: latency(" 50% ")?,
        p99_ms: latency(" 99% ")?,
    })
}

/// A time like `1.23ms`, `456.00us` or `1.00s`.
fn millis(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    units.into_iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_behind_a_name_with_spaces() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 2 0 5";
        assert_eq!(parse_ticks(stat), Some(42));
    }

    #[test]
    fn wrk_says_how_many_and_how_fast() {
        let output = "  Latency Distribution\n     50%  450.00us\n     75%    1.00ms\n     99%    1.20ms\n  1000 requests in 1.00s, 1.00MB read\n";
        let load = parse_load(output).unwrap();
        assert_eq!(load.requests, 1000.0);
        assert_eq!((load.median_ms, load.p99_ms), (0.45, 1.2));
        assert!(parse_load(&format!("{output}  Non-2xx or 3xx responses: 5\n")).is_none());
    }
}
