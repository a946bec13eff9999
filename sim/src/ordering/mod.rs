//! The order of TLPs: what may pass what, and whether it was kept to.
//!
//! - [`TABLE`] is the ordering table of the PCIe base specification (2.4.1, 'Ordering Rules Summary'); [`may_pass`] and [`rule`] look things up in it.
//!   The transmitters of the fabric arbitrate by it.
//! - [`Checker`] watches TLPs come into nodes and go out of them, on a live fabric or in a capture, and names each pair that passed
//!   against the table. With the fabric it shares the table, and nothing else.
//! - [`Handshake`] watches a consumer: may it see a flag before the data that were written before it?
//!
//! # May an atomic pass a posted write?
//!
//! A NIC writes data to memory (posted), and then sets a flag there. With 'PCI atomics' the flag is a FetchAdd; without, the NIC reads the flag,
//! and writes it when the read has been answered. Why are data that were written with Relaxed Ordering safe with a read, but not with an atomic
//! that has Relaxed Ordering, too? The two rows of the table look alike ([NVIDIA/nccl#2210](https://github.com/NVIDIA/nccl/issues/2210)):
//!
//! | | column 2: posted request |
//! |---|---|
//! | B: read request | a) No b) Y/N |
//! | C: non-posted request with data | a) No b) Y/N |
//!
//! But their cases b) differ: a read passes by ID-based Ordering only, an atomic by Relaxed Ordering as well.
//!
//! ```
//! use mlx5_twin_sim::ordering::{Attributes, Passing, Row, rule};
//! use mlx5_twin_sim::tlp::{Atomic, Attr, Bdf, Header, Malformed, Prefixes};
//!
//! let (nic, gpu) = (Bdf::new(3, 0, 0), Bdf::new(4, 0, 0));
//! let ask = |later: &Header, earlier: &Header| {
//!     let attributes = Attributes::of(later, &Prefixes::NONE, earlier, &Prefixes::NONE);
//!     rule(Row::of(later.kind()), Row::of(earlier.kind()), attributes)
//! };
//! let mut data = Header::mem_write_bytes(nic, 0, 0x1000, 256)?;
//! let mut atomic = Header::atomic(Atomic::FetchAdd, nic, 1, 0x2000, 8)?;
//! let mut read = Header::mem_read_bytes(nic, 2, 0x2000, 8)?;
//!
//! // Without attributes both push the data before them, and if only the data have Relaxed Ordering, too: it's the later one's that counts.
//! assert_eq!(ask(&atomic, &data), ("C2a", Passing::No));
//! data.set_attr(Attr::RO)?;
//! assert_eq!(ask(&atomic, &data), ("C2a", Passing::No));
//! assert_eq!(ask(&read, &data), ("B2a", Passing::No));
//!
//! // With Relaxed Ordering of its own the atomic may arrive before the data. The read still may not.
//! atomic.set_attr(Attr::RO)?;
//! read.set_attr(Attr::RO)?;
//! assert_eq!(ask(&atomic, &data), ("C2b", Passing::May));
//! assert_eq!(ask(&read, &data), ("B2a", Passing::No));
//!
//! // ID-based Ordering lets both pass what another function wrote, but not what their own did.
//! atomic.set_attr(Attr::IDO)?;
//! read.set_attr(Attr::IDO)?;
//! assert_eq!((ask(&atomic, &data).0, ask(&read, &data).0), ("C2a", "B2a"));
//! data.set_requester(gpu);
//! assert_eq!((ask(&atomic, &data).0, ask(&read, &data).0), ("C2b", "B2b"));
//!
//! // The write of the flag that follows the read's completion is safe since the read pushed the data. Sent at once, it could pass them.
//! let mut flag = Header::mem_write_bytes(nic, 0, 0x2000, 8)?;
//! data.set_requester(nic);
//! flag.set_attr(Attr::RO)?;
//! assert_eq!(ask(&flag, &data), ("A2b", Passing::May));
//! # Ok::<(), Malformed>(())
//! ```

mod check;
mod handshake;
mod report;
mod seen;
mod table;
#[cfg(test)]
mod tests;

pub use check::{Checker, OrderProbe, Topology};
pub use handshake::{Handshake, Stale};
pub use report::{Moved, Report, Violation};
pub use seen::{Appearance, Lane};
pub use table::{Attributes, Entry, OTHER_CLASS_RULE, Passing, ROWS, Row, TABLE, may_pass, rule};
