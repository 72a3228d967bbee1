//! `[metrics]`: where a process that drives runs tells Prometheus what it counts.

use std::net::{IpAddr, SocketAddr};

use crate::cli::ports;
use crate::document::{Field, Problem};

/// Where it is served: at the first port of a range that is free, so that several processes of one project do
/// not stand in each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) ip: IpAddr,
    /// The first, and the last.
    pub(crate) ports: (u16, u16),
}

impl Ports {
    /// Every address, in order.
    pub(crate) fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        (self.ports.0..=self.ports.1).map(move |port| SocketAddr::new(self.ip, port))
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", SocketAddr::new(self.ip, self.ports.0))?;
        if self.ports.0 < self.ports.1 { write!(f, "-{}", self.ports.1) } else { Ok(()) }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    /// Nowhere when nothing is said.
    pub(crate) listen: Option<Ports>,
    /// Other machines may read it.
    pub(crate) beyond_loopback: bool,
}

impl Metrics {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let listen = reader.optional("listen").map(|field| {
            let text = field.text()?;
            ports(text).map_err(|why| field.wrong(format_args!("be an address: {why}")))
        });
        let metrics = Metrics {
            listen: listen.transpose()?,
            beyond_loopback: reader.optional("beyond_loopback").map_or(Ok(false), |field| field.boolean())?,
        };
        reader.finish()?;
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_range_of_ports() {
        let shown = |text: &str| ports(text).map(|ports| ports.to_string());
        for (text, wanted) in [
            ("127.0.0.1", "127.0.0.1:9464"),
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("localhost:9500-9502", "127.0.0.1:9500-9502"),
            ("[::1]:9464-9465", "[::1]:9464-9465"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:9464", "0.0.0.0:9464"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(wanted), "{text}");
        }
        let all: Vec<_> = ports("127.0.0.1:5-7").unwrap().addresses().map(|at| at.port()).collect();
        assert_eq!(all, [5, 6, 7]);
        for text in
            ["", "metrics", "127.0.0.1:9-8", "127.0.0.1:0-5", "127.0.0.1:1-70000", "host:1", "1.2.3.4:-"]
        {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
