//! General objects, as far as the firmware itself knows them: what they are is up to
//! [`ObjectKinds`](crate::firmware::ObjectKinds).

use mlx5_twin_fw_cmds::object::ObjectType;

use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

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

    fn held(&self) -> Vec<Held> {
        self.held.clone()
    }
}
