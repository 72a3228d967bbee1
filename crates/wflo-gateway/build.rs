//! Compiles the pinned price map (`prices/model_prices.json`) into a sorted table of typed constants.
//!
//! Start-up then parses nothing: a look-up is a binary search over static data. What the map means is read
//! by the library's own code, which also reads a newer map at run time.

use std::collections::HashMap;
use std::fmt::Write as _;

#[allow(dead_code, unreachable_pub)]
#[path = "src/usage/dimension.rs"]
mod dimension;
#[allow(dead_code, unreachable_pub)]
#[path = "src/price/kind.rs"]
mod kind;
#[allow(dead_code, unreachable_pub)]
#[path = "src/price/map.rs"]
mod map;
#[allow(unreachable_pub)]
#[path = "src/price/rules.rs"]
mod rules;
#[allow(dead_code, unreachable_pub)]
#[path = "src/price/tier.rs"]
mod tier;

use dimension::Dimension;
use tier::Tier;

/// As `price::Rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rate {
    dimension: Dimension,
    tier: Tier,
    above: u64,
    femto: u64,
}

const MAP: &str = "prices/model_prices.json";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={MAP}");
    println!("cargo::rerun-if-changed=build.rs");
    for module in ["usage/dimension.rs", "price/kind.rs", "price/map.rs", "price/rules.rs", "price/tier.rs"] {
        println!("cargo::rerun-if-changed=src/{module}");
    }
    let text = std::fs::read(MAP)?;
    let mut entries = map::read(&text)?;
    let lower = |name: &str| name.to_ascii_lowercase();
    entries.sort_by(|a, b| lower(&a.name).cmp(&lower(&b.name)).then_with(|| a.name.cmp(&b.name)));
    let mut out = format!("pub(super) const MAP_HASH: &str = {:?};\n", blake3::hash(&text).to_hex().as_str());
    // Many models have the same prices: each list stands once.
    let mut lists: HashMap<Vec<Rate>, usize> = HashMap::new();
    let mut models = String::new();
    for entry in &entries {
        let next = lists.len();
        let list = *lists.entry(entry.rates.clone()).or_insert(next);
        if list == next {
            write!(out, "static R{list}: [Rate; {}] = [", entry.rates.len())?;
            for rate in &entry.rates {
                let Rate { dimension, tier, above, femto } = rate;
                write!(
                    out,
                    "Rate{{dimension:D::{dimension:?},tier:T::{tier:?},above:{above},femto:{femto}}},"
                )?;
            }
            out.push_str("];\n");
        }
        let uplift = entry.uplift;
        writeln!(
            models,
            "Model{{name:{:?},provider:{:?},kind:Kind::{:?},context_tokens:{},max_output_tokens:{},rates:&R{list},uplift:Uplift{{geo_us:{},fast:{},region_us:{},region_eu:{},region_google:{}}},searches:{},per_prompt:{},windows:&[{}]}},",
            entry.name,
            entry.provider,
            entry.kind,
            entry.context_tokens,
            entry.max_output_tokens,
            uplift.geo_us,
            uplift.fast,
            uplift.region_us,
            uplift.region_eu,
            uplift.region_google,
            entry.searches,
            entry.per_prompt,
            entry.windows.iter().map(|window| format!("{window:?},")).collect::<String>(),
        )?;
    }
    writeln!(out, "pub(super) static MODELS: [Model; {}] = [\n{models}];", entries.len())?;
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("price_table.rs"), out)?;
    Ok(())
}
