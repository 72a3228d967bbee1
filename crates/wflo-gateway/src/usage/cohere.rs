//! Usage as Cohere writes it: `billed_units` is what is billed, `tokens` what the model saw.

use serde_json::Value;

use super::number::count;
use super::{Dimension as D, Usage};

pub(super) fn read(usage: &Value) -> Option<Usage> {
    units(&usage["billed_units"]).or_else(|| units(&usage["tokens"]))
}

fn units(units: &Value) -> Option<Usage> {
    let names = [
        ("input_tokens", D::Input),
        ("output_tokens", D::Output),
        ("image_tokens", D::ImageInput),
        ("images", D::Images),
        ("search_units", D::Queries),
    ];
    let mut read = None;
    for (name, dimension) in names {
        let Some(value) = units.get(name).filter(|value| !value.is_null()) else { continue };
        read.get_or_insert_with(Usage::default).add(dimension, count(value)?);
    }
    read
}
