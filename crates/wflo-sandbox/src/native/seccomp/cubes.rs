//! A rule's checks as disjoint sets of arguments, for filters that know no order of checks.
//!
//! A *cube* is what `SCMP_CMP_MASKED_EQ` can say of one argument: these bits have these values. What is
//! left after a comparison with a constant is one cube for each bit that may be the first to differ.

use super::{Answer, Check, Rule, Test};

/// Bits of one argument, and their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cube {
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// A set of arguments: a cube for each of the six; a mask of 0 says nothing.
pub(super) type Region = [Cube; 6];

/// Every region of a rule, none of which has a part in common with another, and its answer.
pub(super) fn regions(rule: &Rule) -> Vec<(Region, Answer)> {
    let (checks, otherwise) = match rule {
        Rule::Always(answer) => return vec![(Region::default(), *answer)],
        Rule::Checked(checks, otherwise) => (checks, otherwise),
    };
    let mut found = Vec::new();
    let mut rest = vec![Region::default()];
    for check in checks {
        let (mut matched, mut unmatched) = (Vec::new(), Vec::new());
        for region in rest {
            split(region, check, &mut matched, &mut unmatched);
        }
        found.extend(matched.into_iter().map(|region| (region, check.then)));
        rest = unmatched;
    }
    found.extend(rest.into_iter().map(|region| (region, *otherwise)));
    found
}

/// Parts a region into where the check holds and where it does not.
fn split(region: Region, check: &Check, matched: &mut Vec<Region>, unmatched: &mut Vec<Region>) {
    let shift = if check.upper { 32 } else { 0 };
    let wide = |bits: u32| u64::from(bits) << shift;
    let (mask, value, holds) = match check.test {
        Test::Equal(value) => (wide(u32::MAX), wide(value), true),
        Test::Differs(value) => (wide(u32::MAX), wide(value), false),
        // No bit of them is set: the opposite.
        Test::HasAny(bits) => (wide(bits), 0, false),
        Test::Masked(mask, value) => (wide(mask), wide(value), true),
        Test::Unmasked(mask, value) => (wide(mask), wide(value), false),
    };
    let (equal, different) = if holds { (matched, unmatched) } else { (unmatched, matched) };
    let Some(cube) = region.get(check.argument as usize).copied() else { return };
    let with = |cube: Cube| {
        let mut region = region;
        if let Some(place) = region.get_mut(check.argument as usize) {
            *place = cube;
        }
        region
    };
    let known = cube.mask & mask;
    if (cube.value ^ value) & known != 0 {
        // It differs already.
        different.push(region);
        return;
    }
    let mut fixed = Cube { mask: cube.mask, value: cube.value };
    for bit in (0..64).map(|bit| 1_u64 << bit).filter(|bit| mask & !cube.mask & bit != 0) {
        fixed.mask |= bit;
        different.push(with(Cube { mask: fixed.mask, value: fixed.value | (!value & bit) }));
        fixed.value |= value & bit;
    }
    equal.push(with(fixed));
}
