//! What each command does. One file for each group; the table of all is
//! [`COMMANDS`](super::COMMANDS).

pub(super) mod adapter;
pub(super) mod caps;
pub(super) mod eq;
pub(super) mod hca;
pub(super) mod object;
pub(super) mod pages;
pub(super) mod pd;
pub(super) mod register;
pub(super) mod twin;
pub(super) mod uar;
pub(super) mod uctx;
pub(super) mod umem;

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
