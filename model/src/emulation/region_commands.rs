//! The general commands about bytes that the device keeps of a function.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    mbox_in, modify_emulated_region_in, query_emulated_region_in, query_emulated_region_out,
};
use mlx5_twin_fw_cmds::twin_v1::region;

use super::kept::Scope;
use super::notice::Source;
use super::objects::rule;
use super::{Action, Emulation};
use crate::firmware::resources::Owner;
use crate::firmware::{Failure, Resources};

/// The bytes that a command is about.
struct Bytes {
    /// Number of the port.
    port: usize,
    kind: u8,
    /// Where they are among those that the device keeps of the function.
    at: usize,
    len: usize,
}

impl Emulation {
    /// The bytes that a command names, which must be of a function of its uid. Both commands have the fields at the same places.
    fn named_bytes(&self, uid: u16, input: &[u8], resources: &Resources) -> Result<Bytes, Failure> {
        let field = |field: Field| field.get(input).map_err(|error| Failure::of_input(&error));
        let id = field(query_emulated_region_in::FUNCTION)? as u32;
        let (port, _) = *self.functions.get(&id).ok_or(Failure::OBJECT_UNKNOWN)?;
        resources.objects().owned(id, Owner::of(uid))?;
        let claimed = self.ports.get(port).and_then(|port| port.claimed.as_ref()).ok_or(Failure::OBJECT_UNKNOWN)?;
        let number = field(query_emulated_region_in::REGION)? as usize;
        let (offset, len) = (field(query_emulated_region_in::OFFSET)?, field(query_emulated_region_in::LENGTH)?);
        let region = claimed.regions.get(number).ok_or(Failure::TWIN_REGION_NUMBER)?;
        let at = region.kept(offset).ok_or(Failure::TWIN_REGION_NUMBER)?;
        rule(len > 0 && offset + len <= region.length, Failure::TWIN_REGION_RANGE)?;
        let whole = offset.is_multiple_of(4) && len.is_multiple_of(4);
        rule(whole || region.kind != region::DOORBELL, Failure::TWIN_REGION_DWORDS)?;
        Ok(Bytes { port, kind: region.kind, at, len: len as usize })
    }

    /// Reads them.
    pub(super) fn query_region(
        &self,
        uid: u16,
        input: &[u8],
        output: &mut [u8],
        resources: &Resources,
    ) -> Result<(), Failure> {
        let bytes = self.named_bytes(uid, input, resources)?;
        let claimed = self.ports[bytes.port].claimed.as_ref().ok_or(Failure::OBJECT_UNKNOWN)?;
        let room = output.get_mut(query_emulated_region_out::SIZE..).and_then(|room| room.get_mut(..bytes.len));
        room.ok_or(Failure::OUTPUT_TOO_SHORT)?.copy_from_slice(claimed.kept.read(bytes.at, bytes.len));
        query_emulated_region_out::LENGTH.set(output, bytes.len as u64).map_err(|error| Failure::of_output(&error))
    }

    /// Sets them.
    pub(super) fn modify_region(&mut self, uid: u16, input: &[u8], resources: &Resources) -> Result<(), Failure> {
        let op_mod = mbox_in::OP_MOD.get(input).map_err(|error| Failure::of_input(&error))?;
        let scope = Scope::of_op_mod(op_mod as u16).ok_or(Failure::OP_MOD)?;
        let bytes = self.named_bytes(uid, input, resources)?;
        let data = input.get(modify_emulated_region_in::SIZE..).and_then(|data| data.get(..bytes.len));
        let data = data.ok_or(Failure::INPUT_TOO_SHORT)?;
        let claimed = self.ports[bytes.port].claimed.as_mut().ok_or(Failure::OBJECT_UNKNOWN)?;
        claimed.kept.set(bytes.at, data, scope);
        if scope == Scope::Values && bytes.kind == region::DOORBELL {
            // As if the host had rung them.
            let numbers = bytes.at / 4..(bytes.at + bytes.len) / 4;
            self.actions.extend(numbers.map(|number| Action::Notify(bytes.port, Source::Doorbell(number as u32))));
        }
        Ok(())
    }
}
