//! Ports: what the machine's drivers need from the outside world.
//!
//! An implementation of `ports::<noun>` stands at the same path in its crate.

pub mod clock;
pub mod spender;
pub mod store;

/// A boxed future, so that ports can be used as trait objects without an async runtime here.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
