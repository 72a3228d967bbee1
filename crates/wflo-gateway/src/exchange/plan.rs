//! The ways in which a call may be made, in the order in which they are tried.
//!
//! Owns the order; the settings are `routing`'s, what is known of a way is `health`'s. One way is the rule,
//! and costs nothing here.

use wflo_core::money::NanoUsd;

use super::Ask;
use crate::dialect::request::Request;
use crate::error::GatewayError;
use crate::gateway::Shared;
use crate::retry::chance;
use crate::routing::{Place, Share, Spread, Strategy};
use crate::telemetry;

/// Most ways of one call.
const MOST: usize = 16;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) place: Place,
    /// Only for requests that were too long elsewhere.
    pub(super) longer: bool,
}

/// The ways of a request, best first; at least one.
pub(super) fn ways(shared: &Shared, ask: &Ask, request: &Request) -> Vec<Way> {
    let routing = shared.routes.routing();
    let own = shared.routes.written(Some(ask.dialect), &request.model);
    let asked = routing.aliases.get(&request.model).unwrap_or(&own);
    let detour = routing.models.get(&asked.model).filter(|_| asked.provider.is_none());
    let spread = |place: &Place| spread(shared, ask, request, place);
    let mut ways: Vec<Way> = Vec::new();
    let mut add = |place: Place, longer: bool| {
        if ways.len() < MOST && !ways.iter().any(|way| way.place == place && way.longer == longer) {
            ways.push(Way { place, longer });
        }
    };
    spread(asked).into_iter().for_each(|place| add(place, false));
    for place in detour.into_iter().flat_map(|detour| &detour.fallbacks) {
        spread(place).into_iter().for_each(|place| add(place, false));
    }
    for place in detour.into_iter().flat_map(|detour| &detour.context_fallbacks) {
        spread(place).into_iter().for_each(|place| add(place, true));
    }
    if ways.len() > 1 { rested(shared, ask, ways) } else { ways }
}

/// The cheaper models of a request's own, in their order.
pub(super) fn downgrade<'a>(shared: &'a Shared, request: &Request) -> &'a [Place] {
    let routing = shared.routes.routing();
    let model = routing.aliases.get(&request.model).map_or(&request.model, |place| &place.model);
    routing.models.get(model).map_or(&[], |detour| &detour.downgrade)
}

/// The places that share the calls of a request's model where its own nature does not choose among them, as they
/// stand in the settings; none where it has one place, or one that comes before the others.
pub(super) fn alike<'a>(shared: &'a Shared, ask: &Ask, request: &Request) -> &'a [Share] {
    let routing = shared.routes.routing();
    let own = shared.routes.written(Some(ask.dialect), &request.model);
    let asked = routing.aliases.get(&request.model).unwrap_or(&own);
    match routing.routes.get(&asked.model).filter(|_| asked.provider.is_none()) {
        Some(Spread { targets, strategy: Strategy::Weighted | Strategy::Latency }) => targets,
        _ => &[],
    }
}

/// Where a place begins: the first of those that share its model's calls.
pub(super) fn first(shared: &Shared, ask: &Ask, request: &Request, place: &Place) -> Place {
    spread(shared, ask, request, place).into_iter().next().unwrap_or_else(|| place.clone())
}

/// The places that share a model's calls; the model's own where none do.
fn spread(shared: &Shared, ask: &Ask, request: &Request, place: &Place) -> Vec<Place> {
    let routing = shared.routes.routing();
    match routing.routes.get(&place.model).filter(|_| place.provider.is_none()) {
        Some(spread) => ordered(shared, ask, request, spread),
        None => vec![place.clone()],
    }
}

fn ordered(shared: &Shared, ask: &Ask, request: &Request, spread: &Spread) -> Vec<Place> {
    let mut targets: Vec<&Share> = spread.targets.iter().collect();
    match spread.strategy {
        Strategy::Priority => {}
        Strategy::Weighted => targets = drawn(targets, chance),
        // Who is not known is asked, so that it becomes known.
        Strategy::Latency => {
            targets.sort_by_key(|share| way_of(shared, ask, &share.place).and_then(|way| way.latency()))
        }
        Strategy::Cost => targets.sort_by_key(|share| dearest(shared, ask, request, &share.place)),
    }
    targets.into_iter().map(|share| share.place.clone()).collect()
}

/// All of them, each drawn from what is left as often as its weight says.
fn drawn(mut left: Vec<&Share>, mut chance: impl FnMut() -> u64) -> Vec<&Share> {
    let mut drawn = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let sum: u128 = left.iter().map(|share| u128::from(share.weight)).sum();
        let mut point = (u128::from(chance()) * sum) >> 64;
        let at = left.iter().position(|share| {
            let weight = u128::from(share.weight);
            let here = point < weight;
            point = point.saturating_sub(weight);
            here
        });
        drawn.push(left.remove(at.unwrap_or(0)));
    }
    drawn
}

fn way_of(shared: &Shared, ask: &Ask, place: &Place) -> Option<std::sync::Arc<crate::health::Way>> {
    let route = shared.routes.locate(Some(ask.dialect), Some(ask.endpoint), place).ok()?;
    Some(shared.health.way(&route.provider.name, &place.model))
}

/// The most that the request can cost there; who cannot be asked comes last.
fn dearest(shared: &Shared, ask: &Ask, request: &Request, place: &Place) -> NanoUsd {
    let route = shared.routes.locate(Some(ask.dialect), Some(ask.endpoint), place).ok();
    let bound = route.and_then(|route| crate::reserve::upper_bound(request, &route.price?).ok());
    bound.map_or(NanoUsd::MAX, |bound| bound.cost)
}

/// The same ways: those that can be asked now before those that want to be left alone, and none that
/// cannot be asked at all while there is another.
fn rested(shared: &Shared, ask: &Ask, ways: Vec<Way>) -> Vec<Way> {
    let usable = |way: &Way| -> Result<(), GatewayError> {
        shared.routes.locate(Some(ask.dialect), Some(ask.endpoint), &way.place)?.provider.usable()
    };
    let first = ways[0].clone();
    let mut usable: Vec<Way> = ways
        .into_iter()
        .filter(|way| match usable(way) {
            Ok(()) => true,
            Err(error) => {
                telemetry::passed_over(&way.place.to_string(), &error.to_string());
                false
            }
        })
        .collect();
    // Somebody must be asked with the whole request first.
    let rests = |way: &Way| way_of(shared, ask, &way.place).is_some_and(|way| way.rests());
    usable.sort_by_key(|way| (way.longer, rests(way)));
    if usable.first().is_none_or(|way| way.longer) { vec![first] } else { usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_drawn_as_often_as_they_weigh() {
        let share = |name: &str, weight| Share {
            place: Place { provider: Some(name.to_owned()), model: "m".to_owned() },
            weight,
        };
        let shares = [share("a", 3), share("b", 1)];
        let mut firsts = [0, 0];
        for nth in 0..400_u64 {
            // Every part of the range once.
            let mut chance = || u64::MAX / 400 * nth + u64::MAX / 800;
            let order = drawn(shares.iter().collect(), &mut chance);
            assert_eq!(order.len(), 2);
            firsts[usize::from(order[0].weight == 1)] += 1;
        }
        assert_eq!(firsts, [300, 100]);
    }
}
