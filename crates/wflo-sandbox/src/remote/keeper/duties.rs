//! What goes before an order: what the keeper is to see to itself.

use crate::native::wire::{Order, Reader, Writer};

/// What the maker of its surroundings knows, and the keeper cannot find out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Duties {
    /// Nothing else counts tasks.
    pub(crate) tasks: bool,
    /// Nothing else counts what is in the buffers of sockets.
    pub(crate) sockets: bool,
    /// Who the program is to be, where any user could signal pid 1: then that is another one.
    pub(crate) user: Option<u32>,
    /// Nothing else limits memory and processors.
    pub(crate) memory: bool,
    /// The program has the keeper's own environment where the order sets nothing, and folders that it writes are
    /// made; the maker has prepared nothing.
    pub(crate) bare: bool,
}

impl Duties {
    /// In front of an order.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut to = Writer::default();
        to.flag(self.tasks);
        to.flag(self.sockets);
        to.u32(self.user.unwrap_or(0));
        to.flag(self.memory);
        to.flag(self.bare);
        to.bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Duties, Order)> {
        let (head, order) = bytes.split_at_checked(8)?;
        let from = &mut Reader::new(head);
        let duties = Duties {
            tasks: from.flag()?,
            sockets: from.flag()?,
            user: Some(from.u32()?).filter(|id| *id != 0),
            memory: from.flag()?,
            bare: from.flag()?,
        };
        Some((duties, Order::decode(order)?))
    }
}
