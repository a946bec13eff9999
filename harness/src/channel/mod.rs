//! The TLP channel: how the TLPs of emulated functions reach software, and how its responses go back.
//!
//! What is public about it ends at 'there are channels, credits, PCI events and response gateway pages'. The rest is a protocol of our
//! own, `twin-v1` (`harness/PROTOCOL.md`), behind the trait [`ChannelProtocol`]. Device authors see neither: they use
//! [`emulation`](crate::emulation).

mod error;
mod export;
pub mod inject;
mod protocol;
pub mod twin_v1;

pub use error::Error;
pub(crate) use export::begin;
pub use export::{Export, ExportError};
pub use mlx5_twin_fw_cmds::twin_v1::HotplugState;
pub use protocol::{
    ChannelProtocol, Counters, FunctionLayout, Limits, Message, Order, PciEvent, Region, RegionKind, Role, Scope,
    Settings, Snooped, TlpMessage, Waited,
};
