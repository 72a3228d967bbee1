//! How nouns stand in columns.
//!
//! Owns the conversions and nothing else. A column that does not read back is damage
//! ([`StoreError::Corrupt`]), never a default.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::de::{DeserializeOwned, IntoDeserializer};
use wflo_core::budget::Amount;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::StoreError;

/// A text column that is parsed: an id or a time.
pub(crate) struct Parsed<T>(pub(crate) T);

impl<T> FromSql for Parsed<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Parsed).map_err(FromSqlError::other)
    }
}

/// A text column that holds a variant's name, as in JSON.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned> FromSql for Named<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            value.as_str()?.into_deserializer();
        T::deserialize(name).map(Named).map_err(FromSqlError::other)
    }
}

/// Nano-USD in an integer column.
pub(crate) struct Money(pub(crate) NanoUsd);

impl FromSql for Money {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(NanoUsd::from_nanos).map(Money)
    }
}

impl ToSql for Money {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.nanos().into())
    }
}

/// An amount of an account in an integer column.
pub(crate) struct Units(pub(crate) Amount);

impl FromSql for Units {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Amount::from_units).map(Units)
    }
}

impl ToSql for Units {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.units().into())
    }
}

/// A number that is never below zero, in an integer column.
pub(crate) struct Unsigned(pub(crate) u64);

impl FromSql for Unsigned {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Unsigned).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A variant's name, as in JSON.
///
/// # Errors
/// [`StoreError::Failed`] when the value is not a bare name; no noun of ours is such.
pub(crate) fn name<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        other => Err(StoreError::Failed(format!("{other:?} has no name"))),
    }
}

/// A time with every digit it has.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// An unsigned number for an integer column.
///
/// # Errors
/// [`StoreError::Failed`] past 2^63.
pub(crate) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Failed(format!("{number} is too large to be stored")))
}
