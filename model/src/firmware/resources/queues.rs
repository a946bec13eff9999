//! Completion queues, queue pairs, shared receive queues and receive memory pools, as the driver made
//! them. What moves through them is no concern of the firmware.

use mlx5_twin_fw_cmds::layout::qpc;
use mlx5_twin_fw_cmds::transport::{QpState, ServiceType};

use super::buffer::{Buffer, DoorbellRecord};
use super::context::Context;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// What all these have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// What the driver said of it.
    pub context: Context,
    /// Where its entries are.
    pub buffer: Buffer,
    /// Where the driver says how far it is.
    pub record: DoorbellRecord,
    /// What it uses, besides UMEMs for buffer and record.
    pub uses: Vec<Held>,
}

impl Queue {
    /// All that the queue uses.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.uses.iter().copied().chain(self.buffer.held()).chain(self.record.held()).collect()
    }
}

/// A completion queue; its context is a `cqc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cq(pub Queue);

/// A queue pair; its context is a `qpc`. A receive queue of its own is first in the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qp(pub Queue);

/// A shared receive queue; its context is a `srqc`, or a `xrc_srqc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srq {
    /// Whether it was made by CREATE_XRC_SRQ.
    pub xrc: bool,
    /// All the rest.
    pub queue: Queue,
}

/// A receive memory pool; its context is a `rmpc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rmp(pub Queue);

impl Qp {
    /// The state the queue pair is in.
    #[must_use]
    pub fn state(&self) -> QpState {
        QpState(self.0.context.get(qpc::STATE) as u8)
    }

    /// Its service type.
    #[must_use]
    pub fn service(&self) -> ServiceType {
        ServiceType(self.0.context.get(qpc::ST) as u8)
    }
}

impl Kind for Cq {
    const FULL: Failure = Failure::CQ_FULL;
    const UNKNOWN: Failure = Failure::CQ_UNKNOWN;
    const FOREIGN: Failure = Failure::CQ_FOREIGN;
    const IN_USE: Failure = Failure::CQ_IN_USE;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.0)
    }
}

impl Kind for Qp {
    const FULL: Failure = Failure::QP_FULL;
    const UNKNOWN: Failure = Failure::QP_UNKNOWN;
    const FOREIGN: Failure = Failure::QP_FOREIGN;
    const IN_USE: Failure = Failure::QP_IN_USE;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.0)
    }
}

impl Kind for Srq {
    const FULL: Failure = Failure::SRQ_FULL;
    const UNKNOWN: Failure = Failure::SRQ_UNKNOWN;
    const FOREIGN: Failure = Failure::SRQ_FOREIGN;
    const IN_USE: Failure = Failure::SRQ_IN_USE;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.queue)
    }
}

impl Kind for Rmp {
    const FULL: Failure = Failure::RMP_FULL;
    const UNKNOWN: Failure = Failure::RMP_UNKNOWN;
    const FOREIGN: Failure = Failure::RMP_FOREIGN;
    const IN_USE: Failure = Failure::RMP_IN_USE;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.0)
    }
}
