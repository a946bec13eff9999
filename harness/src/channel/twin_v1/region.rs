//! The general commands about bytes that the device keeps of a function.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{modify_emulated_region_out, query_emulated_region_in, query_emulated_region_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{MODIFY_EMULATED_REGION, QUERY_EMULATED_REGION, scope};

use super::super::{Error, Scope};
use crate::backend::Backend;

/// Bytes of one command: well below the 64 KiB that the kernel lets pass, and a multiple of 4.
const AT_ONCE: usize = 16 << 10;

/// The bytes that a command is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number by which the firmware knows the function.
    pub(super) function: u32,
    pub(super) region: usize,
    pub(super) offset: u64,
}

impl Place {
    /// The command without its bytes. Both have their fields at the same places.
    fn command(self, opcode: Opcode, op_mod: u16, from: usize, len: usize) -> Result<Vec<u8>, Error> {
        use query_emulated_region_in::{FUNCTION, LENGTH, OFFSET, OP_MOD, OPCODE, REGION};
        let mut input = vec![0; query_emulated_region_in::SIZE];
        let fields: [(Field, u64); 6] = [
            (OPCODE, u64::from(opcode.0)),
            (OP_MOD, u64::from(op_mod)),
            (FUNCTION, u64::from(self.function)),
            (REGION, self.region as u64),
            (OFFSET, self.offset + from as u64),
            (LENGTH, len as u64),
        ];
        for (field, value) in fields {
            field.set(&mut input, value)?;
        }
        Ok(input)
    }

    /// Reads `len` bytes.
    pub(super) fn query(self, backend: &dyn Backend, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let part = (len - bytes.len()).min(AT_ONCE);
            let input = self.command(QUERY_EMULATED_REGION, 0, bytes.len(), part)?;
            let needs = query_emulated_region_out::SIZE + part;
            let output = backend.general_command(&input, needs)?;
            let (what, has) = ("answer to QUERY_EMULATED_REGION", output.len());
            let room = output.get(query_emulated_region_out::SIZE..needs);
            bytes.extend_from_slice(room.ok_or(Error::TooSmall { what, len: has, needs })?);
        }
        Ok(bytes)
    }

    /// Sets bytes.
    pub(super) fn modify(self, backend: &dyn Backend, bytes: &[u8], scope: Scope) -> Result<(), Error> {
        let op_mod = match scope {
            Scope::Values => scope::VALUES,
            Scope::Defaults => scope::DEFAULTS,
            Scope::Both => scope::BOTH,
        };
        for (number, part) in bytes.chunks(AT_ONCE).enumerate() {
            let mut input = self.command(MODIFY_EMULATED_REGION, op_mod, number * AT_ONCE, part.len())?;
            input.extend_from_slice(part);
            backend.general_command(&input, modify_emulated_region_out::SIZE)?;
        }
        Ok(())
    }
}
