//! What a device author's call can fail with.

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_sim::tlp::{Malformed, Status};

use super::{DescriptionError, Port, RequestId};
use crate::{backend, channel};

/// Why a call failed. After an error of the author's own making nothing has been sent, and the call can be made again rightly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The channel: the device refused, is gone, or wrote nonsense.
    #[error(transparent)]
    Channel(#[from] channel::Error),
    /// What a program was asked to serve can't be, or a hand-over to or from another process failed: why.
    #[error("{0}")]
    Serving(String),
    /// The description of the function breaks a rule.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The channel has no function at this port.
    #[error("this channel has no function at port {0}")]
    NoFunction(Port),
    /// Nothing waits for a completion under this name: it never did, has been answered, or was lost to a reset.
    #[error("no request {0} waits for a completion")]
    UnknownRequest(RequestId),
    /// The data of a completion aren't as long as the request asks.
    #[error("request {id} asks for {needs} bytes, not {has}")]
    Length {
        /// The request.
        id: RequestId,
        /// How many bytes it asks for: whole dwords; 0 for writes.
        needs: usize,
        /// How many were given.
        has: usize,
    },
    /// A request can't be aborted so: only Unsupported Request and Completer Abort can, and for configuration requests Configuration
    /// Request Retry Status.
    #[error("request {id} can't be aborted with status {status}")]
    AbortStatus {
        /// The request.
        id: RequestId,
        /// The status.
        status: Status,
    },
    /// The channel keeps the order of the requests ([`Order::Strict`](super::Order::Strict)), and an older one waits.
    #[error("request {id} can't be answered before request {oldest}: the channel keeps their order")]
    OutOfOrder {
        /// The request.
        id: RequestId,
        /// The one that comes first.
        oldest: RequestId,
    },
    /// A ring isn't empty although nothing will ever happen again.
    #[error("the device says that the ring isn't empty, but nothing more comes out of it")]
    NotDrained,
    /// The request isn't a configuration request.
    #[error("request {0} isn't a configuration request")]
    NotConfiguration(RequestId),
    /// No credit is held. One that comes is reported as [`Request::Credit`](super::Request::Credit).
    #[error("no credit is held for an unsolicited memory write")]
    NoCredit,
    /// The function may not send: bus mastering is off, or it is in D3hot.
    #[error("the function at port {0} isn't bus master")]
    NotBusMaster(Port),
    /// MSI-X is off.
    #[error("MSI-X isn't enabled at the function at port {0}")]
    MsixDisabled(Port),
    /// The function has not so many vectors.
    #[error("the function at port {port} has {vectors} MSI-X vectors, there is no vector {vector}")]
    NoVector {
        /// The function.
        port: Port,
        /// The vector.
        vector: u16,
        /// How many it has.
        vectors: u16,
    },
    /// The function has not so many doorbells.
    #[error("the function at port {port} has {count} doorbells, there is no doorbell {number}")]
    NoDoorbell {
        /// The function.
        port: Port,
        /// The doorbell.
        number: usize,
        /// How many it has.
        count: usize,
    },
    /// A memory write is longer than one TLP can be.
    #[error("a memory write of {len} bytes at {address:#x} takes {needs} payload bytes, one TLP carries {most}")]
    WriteLength {
        /// Where.
        address: u64,
        /// How many bytes.
        len: usize,
        /// With the gap to the first dword's begin, in whole dwords.
        needs: usize,
        /// What `Max_Payload_Size` and the device allow.
        most: usize,
    },
    /// A header can't be made so.
    #[error(transparent)]
    Header(#[from] Malformed),
    /// The device names a request that waits already.
    #[error("the device named a second request {0} while the first one waits")]
    RequestTwice(RequestId),
    /// The device delivered more requests than may wait.
    #[error("the device delivered request {id}, but {limit} of the function wait already, its own limit")]
    TooManyRequests {
        /// The request.
        id: RequestId,
        /// `max_requests` of the device.
        limit: u32,
    },
    /// The device granted a credit that is held already, or more of them than were asked for.
    #[error("the device granted the credit {id:#x}, but {held} of {asked} are held, perhaps this one")]
    StrayCredit {
        /// The credit.
        id: u32,
        /// How many are held.
        held: usize,
        /// How many were asked for.
        asked: u16,
    },
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Error {
        Error::Channel(error.into())
    }
}

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Error {
        Error::Channel(error.into())
    }
}
