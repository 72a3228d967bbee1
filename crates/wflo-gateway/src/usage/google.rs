//! Usage as Google writes it (`usageMetadata`): totals, each broken down by modality.

use std::collections::BTreeSet;

use serde_json::Value;

use super::number::count;
use super::{Dimension as D, Parts, Usage};
use crate::price::Tier;

pub(super) fn read(usage: &Value, answer: &Value) -> Option<Usage> {
    let mut read = Usage { tier: tier(usage), ..Usage::default() };
    let total = |name: &str| match &usage[name] {
        Value::Null => Some(0),
        value => count(value),
    };
    if ["promptTokenCount", "candidatesTokenCount", "responseTokenCount", "totalTokenCount"]
        .iter()
        .all(|name| usage[*name].is_null())
    {
        return None;
    }
    let prompt = total("promptTokenCount")?;
    // Results of a search are billed by the search, those of other tools as input.
    let searches = searches(answer, &mut read);
    let tools = total("toolUsePromptTokenCount")?;
    let whole = prompt.saturating_add(if searches > 0 { 0 } else { tools });
    let cached_total = total("cachedContentTokenCount")?;
    let (kinds, cached_kinds) =
        (Kinds::read(&usage["promptTokensDetails"]), Kinds::read(&usage["cacheTokensDetails"]));

    let mut parts = Parts::of(whole);
    let mut cached = Parts::of(parts.take(cached_total));
    read.add(D::AudioCacheRead, cached.take(cached_kinds.audio));
    read.add(D::CacheRead, cached.left);
    let uncached = [
        (kinds.audio, cached_kinds.audio, D::AudioInput),
        (kinds.image, cached_kinds.image, D::ImageInput),
        (kinds.video, cached_kinds.video, D::VideoInput),
    ];
    for (all, cached, dimension) in uncached {
        read.add(dimension, parts.take(all.saturating_sub(cached)));
    }
    read.add(D::Input, parts.left);

    let candidates = match total("responseTokenCount")? {
        0 => total("candidatesTokenCount")?,
        live => live,
    };
    let thoughts = total("thoughtsTokenCount")?;
    // Thoughts are beside the candidates, unless the total says that they are in them.
    let inside =
        count(&usage["totalTokenCount"]) == Some(prompt.saturating_add(candidates).saturating_add(tools));
    let mut parts = Parts::of(if inside { candidates } else { candidates.saturating_add(thoughts) });
    read.add(D::Reasoning, parts.take(thoughts));
    let written =
        [Kinds::read(&usage["candidatesTokensDetails"]), Kinds::read(&usage["responseTokensDetails"])];
    let kinds = [
        (written[0].audio.saturating_add(written[1].audio), D::AudioOutput),
        (written[0].image.saturating_add(written[1].image), D::ImageOutput),
        (written[0].video.saturating_add(written[1].video), D::VideoOutput),
    ];
    for (count, dimension) in kinds {
        read.add(dimension, parts.take(count));
    }
    read.add(D::Output, parts.left);
    Some(read)
}

/// Tokens by modality; text and documents are what is left.
#[derive(Default)]
struct Kinds {
    audio: u64,
    image: u64,
    video: u64,
}

impl Kinds {
    fn read(details: &Value) -> Kinds {
        let mut kinds = Kinds::default();
        for detail in details.as_array().into_iter().flatten() {
            let tokens = count(&detail["tokenCount"]).unwrap_or(0);
            let sum = match detail["modality"].as_str().unwrap_or_default().to_ascii_uppercase().as_str() {
                "AUDIO" => &mut kinds.audio,
                "IMAGE" => &mut kinds.image,
                "VIDEO" => &mut kinds.video,
                _ => continue,
            };
            *sum = sum.saturating_add(tokens);
        }
        kinds
    }
}

fn tier(usage: &Value) -> Option<Tier> {
    let named = usage["serviceTier"].as_str().or(usage["service_tier"].as_str());
    named.and_then(Tier::served).or_else(|| {
        Some(match usage["trafficType"].as_str()? {
            "ON_DEMAND_PRIORITY" => Tier::Priority,
            "FLEX" | "BATCH" | "ON_DEMAND_FLEX" => Tier::Flex,
            _ => Tier::Standard,
        })
    })
}

/// The searches that grounded an answer: each distinct query is billed once. Queries count for the map
/// where its places were found, and a map without a query counts once.
fn searches(answer: &Value, read: &mut Usage) -> u64 {
    let (mut web, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mut mapped = false;
    for candidate in answer["candidates"].as_array().into_iter().flatten() {
        let grounding = &candidate["groundingMetadata"];
        let chunks = grounding["groundingChunks"].as_array().map_or(&[][..], Vec::as_slice);
        let on_map = grounding["googleMapsWidgetContextToken"].is_string()
            || chunks.iter().any(|chunk| chunk["maps"].is_object());
        mapped |= on_map;
        let only_map = on_map && !chunks.iter().any(|chunk| chunk["web"].is_object());
        let queries = grounding["webSearchQueries"].as_array().into_iter().flatten();
        let queries = queries.filter_map(Value::as_str).filter(|query| !query.is_empty());
        if only_map { &mut places } else { &mut web }.extend(queries);
    }
    let places = if mapped { (places.len() as u64).max(1) } else { 0 };
    read.add(D::WebSearches, web.len() as u64);
    read.add(D::MapSearches, places);
    web.len() as u64 + places
}
