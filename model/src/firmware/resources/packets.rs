//! Where raw packets go and come from: send queues, receive queues and tables of these, transport interfaces. No packets move in
//! the model: what the driver said of them is kept, with all rules of what uses what.

use mlx5_twin_fw_cmds::constants::TIRC_DIRECT;
use mlx5_twin_fw_cmds::layout::{tirc, tisc};

use super::context::Context;
use super::queues::Queue;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// A send queue; its context is a `sqc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sq(pub Queue);

/// A receive queue; its context is a `rqc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rq(pub Queue);

/// A table of receive queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rqt {
    /// What the driver said of it, an `rqtc` without the list.
    pub context: Context,
    /// The receive queues, in order. One may be there more than once.
    pub queues: Vec<u32>,
}

/// A transport interface receive object; its context is a `tirc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tir(pub Context);

/// A transport interface send object; its context is a `tisc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tis(pub Context);

impl Kind for Sq {
    const FULL: Failure = Failure::SQ_FULL;
    const UNKNOWN: Failure = Failure::SQ_UNKNOWN;
    const FOREIGN: Failure = Failure::SQ_FOREIGN;
    // Nothing uses one.
    const IN_USE: Failure = Failure::INTERNAL;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.0)
    }
}

impl Kind for Rq {
    const FULL: Failure = Failure::RQ_FULL;
    const UNKNOWN: Failure = Failure::RQ_UNKNOWN;
    const FOREIGN: Failure = Failure::RQ_FOREIGN;
    const IN_USE: Failure = Failure::RQ_IN_USE;

    fn queue(&self) -> Option<&Queue> {
        Some(&self.0)
    }
}

impl Kind for Rqt {
    const FULL: Failure = Failure::RQT_FULL;
    const UNKNOWN: Failure = Failure::RQT_UNKNOWN;
    const FOREIGN: Failure = Failure::RQT_FOREIGN;
    const IN_USE: Failure = Failure::RQT_IN_USE;

    fn held(&self) -> Vec<Held> {
        self.queues.iter().map(|rqn| Held::Rq(*rqn)).collect()
    }

    /// Its list takes memory as one of pages does.
    fn page_entries(&self) -> usize {
        self.queues.len()
    }
}

impl Kind for Tir {
    const FULL: Failure = Failure::TIR_FULL;
    const UNKNOWN: Failure = Failure::TIR_UNKNOWN;
    const FOREIGN: Failure = Failure::TIR_FOREIGN;
    const IN_USE: Failure = Failure::TIR_IN_USE;

    fn held(&self) -> Vec<Held> {
        let direct = self.0.get(tirc::DISP_TYPE) == u64::from(TIRC_DIRECT);
        let queues = if direct {
            Held::Rq(self.0.get32(tirc::INLINE_RQN))
        } else {
            Held::Rqt(self.0.get32(tirc::INDIRECT_TABLE))
        };
        vec![Held::TransportDomain(self.0.get32(tirc::TRANSPORT_DOMAIN)), queues]
    }
}

impl Kind for Tis {
    const FULL: Failure = Failure::TIS_FULL;
    const UNKNOWN: Failure = Failure::TIS_UNKNOWN;
    const FOREIGN: Failure = Failure::TIS_FOREIGN;
    const IN_USE: Failure = Failure::TIS_IN_USE;

    fn held(&self) -> Vec<Held> {
        vec![Held::TransportDomain(self.0.get32(tisc::TRANSPORT_DOMAIN))]
    }
}
