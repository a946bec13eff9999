//! General objects, as far as the firmware itself knows them: what they are is up to
//! [`ObjectKinds`](crate::firmware::ObjectKinds).

use mlx5_twin_fw_cmds::object::ObjectType;

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// A resource that a general object uses, and that can't be destroyed as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A UAR, by its index.
    Uar(u32),
    /// A protection domain.
    Pd(u32),
    /// A UMEM.
    Umem(u32),
    /// An event queue.
    Eq(u8),
    /// Another general object.
    Object(u32),
}

/// A general object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its type.
    pub kind: ObjectType,
    /// What it uses.
    pub held: Vec<Held>,
    /// How many general objects had been made before it.
    pub(super) age: u64,
}

impl Kind for Object {
    const FULL: Failure = Failure::OBJECT_FULL;
    const UNKNOWN: Failure = Failure::OBJECT_UNKNOWN;
    const FOREIGN: Failure = Failure::OBJECT_FOREIGN;
    const IN_USE: Failure = Failure::OBJECT_IN_USE;
}
