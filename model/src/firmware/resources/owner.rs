//! Who owns a resource, and who may do what with it.

/// The uid of resources that the driver makes for all user contexts
/// (`mlx5_ifc.h`, `MLX5_SHARED_RESOURCE_UID`): Linux gives it to completion event queues.
pub const SHARED_UID: u16 = 0xffff;

/// The largest uid a user context can have.
pub const MAX_UID: u16 = SHARED_UID - 1;

/// Who makes a resource or asks for one: the uid of a command's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Uid 0: the driver itself.
    Driver,
    /// Uid 0xffff: the driver, for all.
    Shared,
    /// Any other uid: a user context.
    User(u16),
}

impl Owner {
    /// The owner a uid stands for.
    #[must_use]
    pub const fn of(uid: u16) -> Self {
        match uid {
            0 => Self::Driver,
            SHARED_UID => Self::Shared,
            uid => Self::User(uid),
        }
    }

    /// The uid that stands for this owner.
    #[must_use]
    pub const fn uid(self) -> u16 {
        match self {
            Self::Driver => 0,
            Self::Shared => SHARED_UID,
            Self::User(uid) => uid,
        }
    }

    /// Whether this is the driver, under either of its uids.
    #[must_use]
    pub const fn is_driver(self) -> bool {
        matches!(self, Self::Driver | Self::Shared)
    }

    /// Whether a command of `self` may name a resource of `owner`: its own, and what is shared. The
    /// driver may name all: Linux makes keys and XRC queues of its own (uid 0) in domains of user
    /// contexts, and QUERY_QP has no place for a uid.
    #[must_use]
    pub fn may_name(self, owner: Self) -> bool {
        self.is_driver() || owner == Self::Shared || self.may_destroy(owner)
    }

    /// Whether a command of `self` may change or destroy a resource of `owner`: only its own. The
    /// driver's two uids count as one here.
    #[must_use]
    pub fn may_destroy(self, owner: Self) -> bool {
        self == owner || (self.is_driver() && owner.is_driver())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what() {
        let (driver, shared, one, two) = (Owner::of(0), Owner::of(0xffff), Owner::of(1), Owner::of(2));
        let table = [
            // actor, owner, may name, may destroy
            (driver, driver, true, true),
            (driver, shared, true, true),
            (driver, one, true, false),
            (shared, driver, true, true),
            (shared, one, true, false),
            (one, driver, false, false),
            (one, shared, true, false),
            (one, one, true, true),
            (one, two, false, false),
        ];
        for (actor, owner, name, destroy) in table {
            assert_eq!(actor.may_name(owner), name, "{actor:?} names a resource of {owner:?}");
            assert_eq!(actor.may_destroy(owner), destroy, "{actor:?} destroys one of {owner:?}");
        }
    }

    #[test]
    fn a_uid_and_its_owner_agree() {
        for uid in [0, 1, 2, MAX_UID, SHARED_UID] {
            assert_eq!(Owner::of(uid).uid(), uid);
        }
    }
}
