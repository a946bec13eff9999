//! General objects, and general commands, that live outside the firmware's own tables.

use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::resources::{Held, Resources};
use super::syndrome::Failure;

/// The kinds of general objects there are, and what they are.
///
/// The firmware checks commands, hands out ids, knows owners and what is in use; the meaning of an
/// object is here. None of these methods is called for an object type that is not
/// [handled](ObjectKinds::handles).
pub trait ObjectKinds {
    /// Whether there are general objects of this type.
    fn handles(&self, obj_type: ObjectType) -> bool;

    /// Makes an object. `input` is the whole command, its 16-byte header included; `resources` are
    /// those the object may name, with its `uid`.
    ///
    /// # Errors
    /// What the command is to answer; no object was made then.
    fn create(
        &mut self,
        obj_type: ObjectType,
        obj_id: u32,
        uid: u16,
        input: &[u8],
        resources: &Resources,
    ) -> Result<(), Failure>;

    /// What an object uses: none of that can be destroyed as long as the object is there. Asked
    /// after [`create`](ObjectKinds::create) and [`modify`](ObjectKinds::modify), which must have
    /// checked each with [`Resources::nameable`], and that it is not the object itself. The
    /// firmware checks again and refuses the command, but can't undo a `modify`.
    fn held(&self, _obj_type: ObjectType, _obj_id: u32) -> Vec<Held> {
        Vec::new()
    }

    /// Describes an object. `output` is the whole answer: the firmware writes the first 16 bytes
    /// itself, afterwards; all of it is zero before.
    ///
    /// # Errors
    /// What the command is to answer.
    fn query(&self, obj_type: ObjectType, obj_id: u32, uid: u16, output: &mut [u8]) -> Result<(), Failure>;

    /// Changes an object. `input` is the whole command.
    ///
    /// # Errors
    /// What the command is to answer; the object is as it was then.
    fn modify(
        &mut self,
        obj_type: ObjectType,
        obj_id: u32,
        uid: u16,
        input: &[u8],
        resources: &Resources,
    ) -> Result<(), Failure>;

    /// Destroys an object because its owner says so.
    ///
    /// # Errors
    /// What the command is to answer; the object is still there then.
    fn destroy(&mut self, obj_type: ObjectType, obj_id: u32, uid: u16) -> Result<(), Failure>;

    /// Destroys an object because its owner is gone or the function was torn down: it can't be
    /// refused.
    fn dropped(&mut self, obj_type: ObjectType, obj_id: u32, uid: u16) {
        // An object that would not go is forgotten all the same: its id and uid are free again.
        let _ = self.destroy(obj_type, obj_id, uid);
    }

    /// Carries out a general command of `twin-v1`. `input` is the whole command and `output` the whole answer: both are as long as the
    /// command's row of [`COMMANDS`](super::COMMANDS) asks for. The firmware writes status and syndrome itself, afterwards; all of
    /// `output` is zero before.
    ///
    /// # Errors
    /// What the command is to answer; it has changed nothing then.
    fn general(
        &mut self,
        _opcode: Opcode,
        _uid: u16,
        _input: &[u8],
        _output: &mut [u8],
        _resources: &Resources,
    ) -> Result<(), Failure> {
        Err(Failure::UNKNOWN_OPCODE)
    }
}

/// No general objects at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObjects;

impl ObjectKinds for NoObjects {
    fn handles(&self, _: ObjectType) -> bool {
        false
    }

    fn create(&mut self, _: ObjectType, _: u32, _: u16, _: &[u8], _: &Resources) -> Result<(), Failure> {
        Err(Failure::OBJECT_TYPE)
    }

    fn query(&self, _: ObjectType, _: u32, _: u16, _: &mut [u8]) -> Result<(), Failure> {
        Err(Failure::OBJECT_TYPE)
    }

    fn modify(&mut self, _: ObjectType, _: u32, _: u16, _: &[u8], _: &Resources) -> Result<(), Failure> {
        Err(Failure::OBJECT_TYPE)
    }

    fn destroy(&mut self, _: ObjectType, _: u32, _: u16) -> Result<(), Failure> {
        Err(Failure::OBJECT_TYPE)
    }
}
