//! Building commands and looking at their answers.

use mlx5_twin_fw_cmds::field::{Field, FieldArray};
use mlx5_twin_fw_cmds::layout::{mbox_in, mbox_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;

use crate::backend::Error;

/// Bytes that every input and output has at least: the header of `general_obj_in_cmd_hdr` and `general_obj_out_cmd_hdr`, which DEVX insists on.
pub(super) const HEADER: usize = mbox_in::SIZE;

/// A command's input, being filled in.
#[derive(Clone, Debug)]
pub(super) struct Command {
    bytes: Vec<u8>,
}

impl Command {
    /// A command of `len` bytes, all zero but the opcode.
    pub(super) fn new(opcode: Opcode, len: usize) -> Result<Command, Error> {
        Command { bytes: vec![0; len] }.set(mbox_in::OPCODE, u64::from(opcode.0))
    }

    pub(super) fn set(mut self, field: Field, value: u64) -> Result<Command, Error> {
        field.set(&mut self.bytes, value)?;
        Ok(self)
    }

    pub(super) fn op_mod(self, op_mod: u16) -> Result<Command, Error> {
        self.set(mbox_in::OP_MOD, u64::from(op_mod))
    }

    pub(super) fn uid(self, uid: u16) -> Result<Command, Error> {
        self.set(mbox_in::UID, u64::from(uid))
    }

    /// Fills the elements of an array from its first on, making the command longer where they need it.
    pub(super) fn list(mut self, array: FieldArray, values: impl IntoIterator<Item = u64>) -> Result<Command, Error> {
        for (index, value) in values.into_iter().enumerate() {
            let element = array.at(index)?;
            if self.bytes.len() < element.end() {
                self.bytes.resize(element.end(), 0);
            }
            element.set(&mut self.bytes, value)?;
        }
        Ok(self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The opcode of a command; 0 if it's too short to have one.
pub(super) fn opcode(input: &[u8]) -> Opcode {
    Opcode(mbox_in::OPCODE.get(input).unwrap_or(0) as u16)
}

/// Gives the output if its status is OK.
pub(super) fn check(opcode: Opcode, output: Vec<u8>) -> Result<Vec<u8>, Error> {
    let status = Status(mbox_out::STATUS.get(&output)? as u8);
    if status == Status::OK {
        return Ok(output);
    }
    Err(Error::Command { opcode, status, syndrome: mbox_out::SYNDROME.get(&output)? as u32 })
}
