//! General objects: the commands that create, query and destroy them.

use mlx5_twin_fw_cmds::layout::{general_obj_in_cmd_hdr as header_in, general_obj_out_cmd_hdr as header_out};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::super::Error;
use crate::backend::{Backend, ObjectHandle};

/// A general object that exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    handle: ObjectHandle,
    kind: ObjectType,
    id: u32,
}

impl Object {
    /// CREATE_GENERAL_OBJECT with this context.
    pub(super) fn create(backend: &dyn Backend, kind: ObjectType, context: &[u8]) -> Result<Object, Error> {
        let mut input = header(Opcode::CREATE_GENERAL_OBJECT, kind, 0)?;
        input.extend_from_slice(context);
        let (handle, output) = backend.create_object(&input, header_out::SIZE)?;
        let id = header_out::OBJ_ID.get(&output)? as u32;
        Ok(Object { handle, kind, id })
    }

    pub(super) fn handle(&self) -> ObjectHandle {
        self.handle
    }

    /// The number by which the firmware knows it.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// QUERY_GENERAL_OBJECT: gives its context, of `len` bytes.
    pub(super) fn query(&self, backend: &dyn Backend, len: usize) -> Result<Vec<u8>, Error> {
        let input = header(Opcode::QUERY_GENERAL_OBJECT, self.kind, self.id)?;
        let mut output = backend.query_object(self.handle, &input, header_out::SIZE + len)?;
        // A short answer is found by who reads its fields.
        Ok(output.split_off(header_out::SIZE.min(output.len())))
    }

    /// MODIFY_GENERAL_OBJECT with this context.
    pub(super) fn modify(&self, backend: &dyn Backend, context: &[u8]) -> Result<(), Error> {
        let mut input = header(Opcode::MODIFY_GENERAL_OBJECT, self.kind, self.id)?;
        input.extend_from_slice(context);
        backend.modify_object(self.handle, &input, header_out::SIZE)?;
        Ok(())
    }

    /// Destroys it.
    pub(super) fn destroy(&self, backend: &dyn Backend) -> Result<(), Error> {
        Ok(backend.destroy_object(self.handle)?)
    }
}

fn header(opcode: Opcode, kind: ObjectType, id: u32) -> Result<Vec<u8>, Error> {
    let mut input = vec![0; header_in::SIZE];
    header_in::OPCODE.set(&mut input, u64::from(opcode.0))?;
    header_in::OBJ_TYPE.set(&mut input, u64::from(kind.0))?;
    header_in::OBJ_ID.set(&mut input, u64::from(id))?;
    Ok(input)
}
