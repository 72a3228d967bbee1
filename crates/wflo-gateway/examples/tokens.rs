//! The most tokens of each text on standard input: lines of `["ENCODING", "TEXT"]`, answered by a number each.
//!
//! For `scripts/token_differential.py`: `cargo build -p wflo-gateway --example tokens`

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, Write as _};

use wflo_gateway::encoding::{Encoding, Work};

fn main() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let (name, text): (String, String) = serde_json::from_str(&line.unwrap()).unwrap();
        let encoding = if name == "o200k_base" { Encoding::O200k } else { Encoding::Cl100k };
        writeln!(out, "{}", encoding.most_tokens(&text, &mut Work::default())).unwrap();
        out.flush().unwrap();
    }
}
