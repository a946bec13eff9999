//! What each command does. One file for each group; the table of all is
//! [`COMMANDS`](super::COMMANDS).

pub(super) mod adapter;
pub(super) mod caps;
pub(super) mod cq;
pub(super) mod eq;
pub(super) mod flow_counter;
pub(super) mod flow_entry;
pub(super) mod flow_table;
pub(super) mod hca;
pub(super) mod mad;
pub(super) mod memic;
pub(super) mod mkey;
pub(super) mod multicast;
pub(super) mod nic_vport;
pub(super) mod number;
pub(super) mod object;
pub(super) mod pacing;
pub(super) mod pages;
pub(super) mod q_counter;
pub(super) mod qp;
pub(super) mod qp_state;
mod queue;
pub(super) mod register;
mod registers;
pub(super) mod rmp;
pub(super) mod roce;
pub(super) mod rq;
pub(super) mod rqt;
pub(super) mod scheduling;
pub(super) mod special;
pub(super) mod sq;
pub(super) mod srq;
pub(super) mod tir;
pub(super) mod tis;
pub(super) mod twin;
pub(super) mod uctx;
pub(super) mod umem;
pub(super) mod vport;
mod work_queue;

use mlx5_twin_fw_cmds::field::Field;

use super::dispatch::{Answer, Command};
use super::syndrome::Failure;
use super::{Effect, Firmware, ObjectKinds};

/// What a handler returns.
type Outcome = Result<Effect, Failure>;

/// Checks that the fields by which a command names a function all name the one it was sent to:
/// they are 0.
fn own_function(command: &Command<'_>, fields: &[Field]) -> Result<(), Failure> {
    for field in fields {
        if command.flag(*field)? {
            return Err(Failure::OTHER_FUNCTION);
        }
    }
    Ok(())
}
