//! The two ends between which gateways are measured: a provider that costs next to nothing, and clients.
//!
//! `peers mock PORT` answers chat completions; `peers load …` asks and prints one JSON line; `peers relay` is the
//! floor between them.
//! Both speak HTTP/1.1 by hand on one thread, so that on a small machine most of the time is the gateway's.
//! `bench/gateway_peers.py` puts gateways between them.

#[path = "peers/http.rs"]
mod http;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/mock.rs"]
mod mock;
#[path = "peers/relay.rs"]
mod relay;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.as_slice() {
        ["mock", port] => runtime.block_on(mock::serve(port.parse()?)),
        ["relay", port, upstream] => runtime.block_on(relay::serve(port.parse()?, upstream.parse()?)),
        ["load", what, rest @ ..] => {
            let line = runtime.block_on(load::run(what, rest))?;
            use std::io::Write as _;
            writeln!(std::io::stdout(), "{line}")?;
            Ok(())
        }
        _ => Err("peers mock PORT | peers relay PORT UPSTREAM | peers load WHAT NAME=VALUE…".into()),
    }
}
