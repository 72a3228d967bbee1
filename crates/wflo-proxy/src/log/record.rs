//! What stands in a log: intents, settlements and releases, each with its length and a checksum.
//!
//! A record is `length (4 bytes) | checksum (4) | body`, all numbers little-endian; the checksum is the
//! first four bytes of the body's BLAKE3. A record whose length or checksum does not fit is the torn end
//! of a log: its writer died in the middle of it, so nothing was done on its strength.

use wflo_core::budget::{Amounts, Measure};
use wflo_core::cost::PromptCache;
use wflo_core::id::{BudgetId, KeyId};
use wflo_core::money::NanoUsd;
use wflo_core::slice::CallRecord;

/// The largest body: a model's name is the only part without a size of its own.
const MOST: usize = 64 * 1024;

/// A call that may be sent from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    /// Its number; every record has one, ascending.
    pub(crate) seq: u64,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// What it can take at most, of each measure.
    pub(crate) amounts: Amounts,
    /// By which key.
    pub(crate) key: Option<KeyId>,
    /// Every budget that it is held on, and what each of them counts.
    pub(crate) budgets: Vec<(BudgetId, Measure)>,
    pub(crate) provider: String,
    pub(crate) model: String,
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at_ms: i64,
    pub(crate) cost: NanoUsd,
    /// The bill was lost, so the upper bound is charged.
    pub(crate) uncertain: bool,
    /// Nobody said how many tokens it took, so it takes what it held of budgets of tokens.
    pub(crate) uncounted: bool,
    pub(crate) status: u16,
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) took_us: u64,
    pub(crate) prompt_cache: PromptCache,
}

/// More than this is no count of a call, and would not fit into a store.
const COUNT: u64 = 1 << 62;

impl End {
    /// What it takes of each measure, in place of what it held.
    pub(crate) fn taken(&self, held: &Amounts) -> Amounts {
        let tokens = match (self.uncounted, held.model_calls) {
            (true, _) => held.tokens,
            // What is no call of a model takes nothing but money.
            (false, 0) => 0,
            (false, _) => self.input_tokens.saturating_add(self.output_tokens),
        };
        Amounts { cost: self.cost, tokens, ..*held }
    }

    /// Whether it took more of anything that it was held on than it held.
    pub(crate) fn is_over(&self, intent: &Intent) -> bool {
        let (held, taken) = (intent.amounts, self.taken(&intent.amounts));
        let over = |measure: Measure| taken.of(measure) > held.of(measure);
        over(Measure::Cost) || intent.budgets.iter().any(|(_, measure)| over(*measure))
    }

    /// The call as reports see it.
    pub(crate) fn record(&self, intent: &Intent) -> CallRecord {
        CallRecord {
            seq: intent.seq,
            at_ms: self.at_ms,
            key: intent.key,
            provider: intent.provider.clone(),
            model: intent.model.clone(),
            status: self.status,
            input_tokens: self.input_tokens.min(COUNT),
            cached_tokens: self.cached_tokens.min(COUNT),
            output_tokens: self.output_tokens.min(COUNT),
            cost: self.cost,
            uncertain: self.uncertain,
            took_us: self.took_us.min(COUNT),
            saved: None,
            prompt_cache: PromptCache {
                written_tokens: self.prompt_cache.written_tokens.min(COUNT),
                saved: self.prompt_cache.saved,
            },
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Intent(Intent),
    Settled {
        lsn: u64,
        /// The intent.
        seq: u64,
        end: End,
    },
    /// The call was certainly never sent.
    Released {
        lsn: u64,
        seq: u64,
    },
}

impl Record {
    /// Its own number.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Record::Intent(intent) => intent.seq,
            Record::Settled { lsn, .. } | Record::Released { lsn, .. } => *lsn,
        }
    }
}

/// How a text of records ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// With a record.
    Whole,
    /// In the middle of one: its writer died.
    Torn,
    /// With what no writer left there.
    Damaged,
}

const INTENT: u8 = 1;
const SETTLED: u8 = 2;
const RELEASED: u8 = 3;
/// As [`SETTLED`], which earlier versions wrote, with what the provider's cache did.
const SETTLED_CACHED: u8 = 4;

/// Writes records into one buffer, which is used again and again.
#[derive(Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// The bytes since the last clearing.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn intent(&mut self, intent: &Intent) {
        self.record(|out| {
            out.push(INTENT);
            out.extend_from_slice(&intent.seq.to_le_bytes());
            out.extend_from_slice(&intent.at_ms.to_le_bytes());
            // A call outside of runs takes nothing else.
            let Amounts { cost, model_calls, tokens, .. } = intent.amounts;
            out.extend_from_slice(&cost.nanos().to_le_bytes());
            for count in [model_calls, tokens] {
                out.extend_from_slice(&count.to_le_bytes());
            }
            out.push(u8::from(intent.key.is_some()));
            if let Some(key) = intent.key {
                out.extend_from_slice(key.uuid().as_bytes());
            }
            // A record of so many is larger than any may be, and is not read: nothing is forgotten silently.
            out.extend_from_slice(&u16::try_from(intent.budgets.len()).unwrap_or(u16::MAX).to_le_bytes());
            for (budget, measure) in intent.budgets.iter().take(usize::from(u16::MAX)) {
                out.push(byte_of(*measure));
                out.extend_from_slice(budget.uuid().as_bytes());
            }
            for name in [&intent.provider, &intent.model] {
                // A name that is cut is a name in a report, nothing more.
                let cut = name.floor_char_boundary(1_000);
                let name = name.get(..cut).unwrap_or_default();
                out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(name.as_bytes());
            }
        });
    }

    pub(crate) fn settled(&mut self, lsn: u64, seq: u64, end: &End) {
        self.record(|out| {
            out.push(SETTLED_CACHED);
            out.extend_from_slice(&lsn.to_le_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&end.at_ms.to_le_bytes());
            out.extend_from_slice(&end.cost.nanos().to_le_bytes());
            out.push(u8::from(end.uncertain) | (u8::from(end.uncounted) << 1));
            out.extend_from_slice(&end.status.to_le_bytes());
            let tokens = [end.input_tokens, end.cached_tokens, end.output_tokens];
            for number in tokens.into_iter().chain([end.took_us]) {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&end.prompt_cache.written_tokens.to_le_bytes());
            out.extend_from_slice(&end.prompt_cache.saved.nanos().to_le_bytes());
        });
    }

    pub(crate) fn released(&mut self, lsn: u64, seq: u64) {
        self.record(|out| {
            out.push(RELEASED);
            out.extend_from_slice(&lsn.to_le_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
        });
    }

    fn record(&mut self, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        body(&mut self.bytes);
        let written = self.bytes.get(start + 8..).unwrap_or_default();
        let (length, sum) = (u32::try_from(written.len()).unwrap_or(u32::MAX), checksum(written));
        if let Some(head) = self.bytes.get_mut(start..start + 8) {
            head[..4].copy_from_slice(&length.to_le_bytes());
            head[4..].copy_from_slice(&sum);
        }
    }
}

/// What a measure is in a log. A number is never given to another one.
fn byte_of(measure: Measure) -> u8 {
    match measure {
        Measure::Cost => 0,
        Measure::ModelCalls => 1,
        Measure::ToolCalls => 2,
        Measure::Tokens => 3,
        Measure::Seconds => 4,
    }
}

fn checksum(body: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(body);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// The records of a text, in order, up to its end or to where it is torn.
pub(crate) fn read(text: &[u8]) -> (Vec<Record>, Tail) {
    let (mut records, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        match one(rest) {
            Some((record, after)) => {
                records.push(record);
                rest = after;
            }
            None => return (records, if is_short(rest) { Tail::Torn } else { Tail::Damaged }),
        }
    }
    (records, Tail::Whole)
}

/// Whether a record begins here that is shorter than it says.
fn is_short(text: &[u8]) -> bool {
    let Some((length, rest)) = text.split_first_chunk::<4>() else { return true };
    let length = u32::from_le_bytes(*length) as usize;
    (1..=MOST).contains(&length) && rest.len() < length + 4
}

fn one(text: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = text.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > MOST {
        return None;
    }
    let (body, after) = rest.split_at_checked(length)?;
    if checksum(body) != *sum {
        return None;
    }
    Some((decode(&mut Decoder(body))?, after))
}

struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn money(&mut self) -> Option<NanoUsd> {
        self.i64().map(NanoUsd::from_nanos)
    }

    fn uuid(&mut self) -> Option<uuid::Uuid> {
        self.array().map(uuid::Uuid::from_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn decode(from: &mut Decoder<'_>) -> Option<Record> {
    let kind = from.u8()?;
    let record = match kind {
        INTENT => {
            let (seq, at_ms, cost) = (from.u64()?, from.i64()?, from.money()?);
            let (model_calls, tokens) = (from.u64()?, from.u64()?);
            let amounts = Amounts { cost, model_calls, tokens, ..Amounts::default() };
            let key = match from.u8()? {
                0 => None,
                _ => Some(KeyId::from_uuid(from.uuid()?)),
            };
            let count = from.u16()?;
            let mut budget = || {
                let byte = from.u8()?;
                let measure = Measure::ALL.into_iter().find(|measure| byte_of(*measure) == byte)?;
                Some((BudgetId::from_uuid(from.uuid()?), measure))
            };
            let budgets = (0..count).map(|_| budget()).collect::<Option<_>>()?;
            let (provider, model) = (from.text()?, from.text()?);
            Record::Intent(Intent { seq, at_ms, amounts, key, budgets, provider, model })
        }
        SETTLED | SETTLED_CACHED => {
            let (lsn, seq, at_ms, cost, marks) =
                (from.u64()?, from.u64()?, from.i64()?, from.money()?, from.u8()?);
            let end = End {
                at_ms,
                cost,
                uncertain: marks & 1 != 0,
                uncounted: marks & 2 != 0,
                status: from.u16()?,
                input_tokens: from.u64()?,
                cached_tokens: from.u64()?,
                output_tokens: from.u64()?,
                took_us: from.u64()?,
                prompt_cache: match kind {
                    SETTLED_CACHED => PromptCache { written_tokens: from.u64()?, saved: from.money()? },
                    _ => PromptCache::default(),
                },
            };
            Record::Settled { lsn, seq, end }
        }
        RELEASED => Record::Released { lsn: from.u64()?, seq: from.u64()? },
        _ => return None,
    };
    from.0.is_empty().then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(n)
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let amounts = (any::<i64>(), any::<[u64; 2]>());
        let amounts = amounts.prop_map(|(nanos, [model_calls, tokens])| Amounts {
            cost: NanoUsd::from_nanos(nanos),
            model_calls,
            tokens,
            ..Amounts::default()
        });
        let intent = (any::<u64>(), any::<i64>(), amounts, any::<Option<u128>>(), 0_usize..5, ".{0,40}");
        let intent = intent.prop_map(|(seq, at_ms, amounts, key, budgets, model)| {
            let measure = |n: usize| Measure::ALL[n % Measure::ALL.len()];
            Record::Intent(Intent {
                seq,
                at_ms,
                amounts,
                key: key.map(|n| KeyId::from_uuid(id(n))),
                budgets: (0..budgets).map(|n| (BudgetId::from_uuid(id(n as u128)), measure(n))).collect(),
                provider: "p".to_owned(),
                model,
            })
        });
        let settled = (any::<[u64; 7]>(), any::<[i64; 3]>(), any::<[bool; 2]>(), any::<u16>());
        let settled = settled.prop_map(|(numbers, [at_ms, nanos, saved], [uncertain, uncounted], status)| {
            let [lsn, seq, input_tokens, cached_tokens, output_tokens, took_us, written_tokens] = numbers;
            let cost = NanoUsd::from_nanos(nanos);
            let end = End {
                at_ms,
                cost,
                uncertain,
                uncounted,
                status,
                input_tokens,
                cached_tokens,
                output_tokens,
                took_us,
                prompt_cache: PromptCache { written_tokens, saved: NanoUsd::from_nanos(saved) },
            };
            Record::Settled { lsn, seq, end }
        });
        let released = any::<(u64, u64)>().prop_map(|(lsn, seq)| Record::Released { lsn, seq });
        prop_oneof![intent, settled, released]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for record in records {
            match record {
                Record::Intent(intent) => encoder.intent(intent),
                Record::Settled { lsn, seq, end } => encoder.settled(*lsn, *seq, end),
                Record::Released { lsn, seq } => encoder.released(*lsn, *seq),
            }
        }
        encoder.bytes().to_vec()
    }

    #[test]
    fn a_settlement_of_an_earlier_version_is_read() {
        let end = End {
            at_ms: 3,
            cost: NanoUsd::from_nanos(4),
            uncertain: true,
            uncounted: false,
            status: 200,
            input_tokens: 5,
            cached_tokens: 6,
            output_tokens: 7,
            took_us: 8,
            prompt_cache: PromptCache::default(),
        };
        let mut encoder = Encoder::default();
        encoder.settled(2, 1, &end);
        let mut body = encoder.bytes()[8..encoder.bytes().len() - 16].to_vec();
        body[0] = SETTLED;
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        let text = [&length[..], &checksum(&body), &body].concat();
        assert_eq!(read(&text), (vec![Record::Settled { lsn: 2, seq: 1, end }], Tail::Whole));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_a_torn_end_is_seen(
            records in proptest::collection::vec(any_record(), 1..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let text = written(&records);
            prop_assert_eq!(read(&text), (records.clone(), Tail::Whole));
            let cut = cut.index(text.len());
            let (found, tail) = read(&text[..cut]);
            prop_assert_eq!(&records[..found.len()], &found[..], "a prefix, never anything else");
            let torn = written(&found).len() != cut;
            prop_assert_eq!(tail, if torn { Tail::Torn } else { Tail::Whole });
        }

        #[test]
        fn a_changed_byte_is_no_other_record(
            records in proptest::collection::vec(any_record(), 1..4),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut text = written(&records);
            let at = at.index(text.len());
            text[at] ^= 0x55;
            let (found, _) = read(&text);
            prop_assert!(found.len() <= records.len());
            prop_assert_eq!(&records[..found.len()], &found[..]);
        }
    }
}
