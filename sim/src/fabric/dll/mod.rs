//! The data link layer and its flow control, exactly: packets, counters and state machines without a fabric around them.
//!
//! - `dllp`: data link layer packets and their codec.
//! - `crc`: the CRC-16 of DLLPs and the LCRC of TLPs.
//! - `flow`: credits as absolute counters, at the transmitter and at the receiver.
//! - `init`: from a link that has come up to flow control that is initialized.
//! - `retry`: the transmitter of TLPs: sequence numbers, replay buffer, REPLAY_TIMER, REPLAY_NUM.
//! - `accept`: the receiver of TLPs: what is taken, and when it's acknowledged.
//! - `port`: all of it together, as one end of a link.
//! - `limits`: how soon things must happen, by generation, width and payload.
//!
//! Names in capitals are those of the PCI Express Base Specification 5.0, chapters 2.6 and 3, for non-flit mode.

mod accept;
mod channel;
mod crc;
mod dllp;
mod flow;
mod init;
mod limits;
mod port;
mod retry;

pub use accept::{Acceptor, Integrity, Verdict};
pub use crc::{crc16, lcrc};
pub use dllp::{BadDllp, Dllp, FcField, FcStage, Features, PowerRequest, Sequence};
pub use flow::{Amount, ClassGate, ClassLedger, FcError, Gate, Ledger, Scale, Unit, UpdateTimer};
pub use init::{FcInit, FeatureExchange, InitState};
pub use limits::{
    FC_REPEAT, INIT_REPEAT_AT_MOST, ack_latency, latency_symbols, replay_symbols, replay_timeout, symbol,
};
pub use port::{Frame, LinkError, LinkState, Port, Reaction, Settings};
pub use retry::{Acknowledged, Entry, ProtocolError, Replay, Retry};
