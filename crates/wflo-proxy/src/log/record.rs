//! What stands in a log: intents, settlements and releases, each with its length and a checksum.
//!
//! A record is `length (4 bytes) | checksum (4) | body`, all numbers little-endian; the checksum is the
//! first four bytes of the body's BLAKE3. A record whose length or checksum does not fit is the torn end
//! of a log: its writer died in the middle of it, so nothing was done on its strength.

use wflo_core::id::{BudgetId, KeyId};
use wflo_core::money::NanoUsd;

/// The largest body: a model's name is the only part without a size of its own.
const MOST: usize = 64 * 1024;

/// A call that may be sent from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    /// Its number; every record has one, ascending.
    pub(crate) seq: u64,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// What it can cost at most.
    pub(crate) amount: NanoUsd,
    /// By which key.
    pub(crate) key: Option<KeyId>,
    /// Every budget that it is held on.
    pub(crate) budgets: Vec<BudgetId>,
    pub(crate) provider: String,
    pub(crate) model: String,
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) lsn: u64,
    /// The intent.
    pub(crate) seq: u64,
    pub(crate) at_ms: i64,
    pub(crate) cost: NanoUsd,
    pub(crate) uncertain: bool,
    pub(crate) status: u16,
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) took_us: u64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Intent(Intent),
    Settled(Settled),
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
            Record::Settled(settled) => settled.lsn,
            Record::Released { lsn, .. } => *lsn,
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
            out.extend_from_slice(&intent.amount.nanos().to_le_bytes());
            out.push(u8::from(intent.key.is_some()));
            if let Some(key) = intent.key {
                out.extend_from_slice(key.uuid().as_bytes());
            }
            out.push(u8::try_from(intent.budgets.len()).unwrap_or(u8::MAX));
            for budget in intent.budgets.iter().take(usize::from(u8::MAX)) {
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

    pub(crate) fn settled(&mut self, settled: &Settled) {
        self.record(|out| {
            out.push(SETTLED);
            out.extend_from_slice(&settled.lsn.to_le_bytes());
            out.extend_from_slice(&settled.seq.to_le_bytes());
            out.extend_from_slice(&settled.at_ms.to_le_bytes());
            out.extend_from_slice(&settled.cost.nanos().to_le_bytes());
            out.push(u8::from(settled.uncertain));
            out.extend_from_slice(&settled.status.to_le_bytes());
            let tokens = [settled.input_tokens, settled.cached_tokens, settled.output_tokens];
            for number in tokens.into_iter().chain([settled.took_us]) {
                out.extend_from_slice(&number.to_le_bytes());
            }
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
    let record = match from.u8()? {
        INTENT => {
            let (seq, at_ms, amount) = (from.u64()?, from.i64()?, from.money()?);
            let key = match from.u8()? {
                0 => None,
                _ => Some(KeyId::from_uuid(from.uuid()?)),
            };
            let count = from.u8()?;
            let budgets = (0..count).map(|_| from.uuid().map(BudgetId::from_uuid)).collect::<Option<_>>()?;
            let (provider, model) = (from.text()?, from.text()?);
            Record::Intent(Intent { seq, at_ms, amount, key, budgets, provider, model })
        }
        SETTLED => Record::Settled(Settled {
            lsn: from.u64()?,
            seq: from.u64()?,
            at_ms: from.i64()?,
            cost: from.money()?,
            uncertain: from.u8()? != 0,
            status: from.u16()?,
            input_tokens: from.u64()?,
            cached_tokens: from.u64()?,
            output_tokens: from.u64()?,
            took_us: from.u64()?,
        }),
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
        let intent = (any::<u64>(), any::<i64>(), any::<i64>(), any::<Option<u128>>(), 0_usize..5, ".{0,40}");
        let intent = intent.prop_map(|(seq, at_ms, nanos, key, budgets, model)| {
            Record::Intent(Intent {
                seq,
                at_ms,
                amount: NanoUsd::from_nanos(nanos),
                key: key.map(|n| KeyId::from_uuid(id(n))),
                budgets: (0..budgets).map(|n| BudgetId::from_uuid(id(n as u128))).collect(),
                provider: "p".to_owned(),
                model,
            })
        });
        let settled = (any::<[u64; 6]>(), any::<i64>(), any::<i64>(), any::<bool>(), any::<u16>());
        let settled = settled.prop_map(|(numbers, at_ms, nanos, uncertain, status)| {
            let [lsn, seq, input_tokens, cached_tokens, output_tokens, took_us] = numbers;
            let cost = NanoUsd::from_nanos(nanos);
            Record::Settled(Settled {
                lsn,
                seq,
                at_ms,
                cost,
                uncertain,
                status,
                input_tokens,
                cached_tokens,
                output_tokens,
                took_us,
            })
        });
        let released = any::<(u64, u64)>().prop_map(|(lsn, seq)| Record::Released { lsn, seq });
        prop_oneof![intent, settled, released]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for record in records {
            match record {
                Record::Intent(intent) => encoder.intent(intent),
                Record::Settled(settled) => encoder.settled(settled),
                Record::Released { lsn, seq } => encoder.released(*lsn, *seq),
            }
        }
        encoder.bytes().to_vec()
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
