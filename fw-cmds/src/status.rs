//! How a command ended: its status, and whether the queue could deliver it at all.

use crate::named::named;

named! {
    /// Command status: the first byte of every output. Source: `MLX5_CMD_STAT_*` of `device.h`,
    /// `_ERR` dropped unless only one word would be left. Beside it stands a 32-bit syndrome, which
    /// is free for the firmware to choose.
    Status(u8) = "MLX5_CMD_STAT_";

    /// The command was carried out.
    OK                 = 0x00;
    /// Internal error of the firmware.
    INT_ERR            = 0x01;
    /// Unknown opcode or operation modifier.
    BAD_OP             = 0x02, "MLX5_CMD_STAT_BAD_OP_ERR";
    /// A parameter is out of range or a capability does not allow it.
    BAD_PARAM          = 0x03, "MLX5_CMD_STAT_BAD_PARAM_ERR";
    /// The function is not in a state that allows the command.
    BAD_SYS_STATE      = 0x04, "MLX5_CMD_STAT_BAD_SYS_STATE_ERR";
    /// There is no such resource, or it belongs to another.
    BAD_RES            = 0x05, "MLX5_CMD_STAT_BAD_RES_ERR";
    /// The resource is busy.
    BUSY               = 0x06, "MLX5_CMD_STAT_RES_BUSY";
    /// The device is not ready yet; try again.
    NOT_READY          = 0x07;
    /// A limit would be exceeded.
    LIM_ERR            = 0x08;
    /// The resource is not in a state that allows the command.
    BAD_RES_STATE      = 0x09, "MLX5_CMD_STAT_BAD_RES_STATE_ERR";
    /// An index is out of range.
    IX_ERR             = 0x0a;
    /// The device has no resources left for now.
    NO_RES             = 0x0f, "MLX5_CMD_STAT_NO_RES_ERR";
    /// The queue pair is not in a state that allows the command.
    BAD_QP_STATE       = 0x10, "MLX5_CMD_STAT_BAD_QP_STATE_ERR";
    /// A management packet was thrown away.
    BAD_PKT            = 0x30, "MLX5_CMD_STAT_BAD_PKT_ERR";
    /// The new size is too small for the completions that are waiting.
    BAD_SIZE_OUTS_CQES = 0x40, "MLX5_CMD_STAT_BAD_SIZE_OUTS_CQES_ERR";
    /// The input is too short or too long for the command.
    BAD_INP_LEN        = 0x50, "MLX5_CMD_STAT_BAD_INP_LEN_ERR";
    /// The output is too short for the answer.
    BAD_OUTP_LEN       = 0x51, "MLX5_CMD_STAT_BAD_OUTP_LEN_ERR";
}

named! {
    /// Delivery status: bits 7:1 of `status_own` in the command queue entry. Anything but
    /// [`Self::OK`] means that the output was not written. Source: `MLX5_CMD_DELIVERY_STAT_*` of
    /// `drivers/net/ethernet/mellanox/mlx5/core/cmd.c`, `_ERR` dropped unless only one word would be
    /// left.
    DeliveryStatus(u8) = "MLX5_CMD_DELIVERY_STAT_";

    /// The command was delivered; its own status says how it went.
    OK              = 0x00;
    /// A signature is wrong.
    SIGNAT_ERR      = 0x01;
    /// The token of a mailbox block is not that of the entry.
    TOK_ERR         = 0x02;
    /// A mailbox block does not have the number its place asks for.
    BAD_BLK_NUM     = 0x03, "MLX5_CMD_DELIVERY_STAT_BAD_BLK_NUM_ERR";
    /// The address of an output mailbox is not aligned.
    OUT_PTR_ALIGN   = 0x04, "MLX5_CMD_DELIVERY_STAT_OUT_PTR_ALIGN_ERR";
    /// The address of an input mailbox is not aligned.
    IN_PTR_ALIGN    = 0x05, "MLX5_CMD_DELIVERY_STAT_IN_PTR_ALIGN_ERR";
    /// Internal error of the firmware.
    FW_ERR          = 0x06;
    /// The input length can't be that of a command.
    IN_LENGTH       = 0x07, "MLX5_CMD_DELIVERY_STAT_IN_LENGTH_ERR";
    /// The output length can't be that of a command.
    OUT_LENGTH      = 0x08, "MLX5_CMD_DELIVERY_STAT_OUT_LENGTH_ERR";
    /// A reserved field of the entry is not zero.
    RES_FLD_NOT_CLR = 0x09, "MLX5_CMD_DELIVERY_STAT_RES_FLD_NOT_CLR_ERR";
    /// The entry is of an unknown type.
    CMD_DESCR       = 0x10, "MLX5_CMD_DELIVERY_STAT_CMD_DESCR_ERR";
}

/// Linux errno numbers, x86 and Arm (`asm-generic/errno-base.h`, `asm-generic/errno.h`).
mod errno {
    pub(super) const EIO: i32 = 5;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EFAULT: i32 = 14;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOMSG: i32 = 42;
    pub(super) const EBADR: i32 = 53;
}

use errno::{EAGAIN, EBADR, EBUSY, EFAULT, EINVAL, EIO, ENOMEM, ENOMSG};

impl Status {
    /// What Linux makes of each status. Source: `cmd_status_to_err` of
    /// `drivers/net/ethernet/mellanox/mlx5/core/cmd.c`.
    pub const ERRNO: &[(Self, i32)] = &[
        (Self::INT_ERR, EIO),
        (Self::BAD_OP, EINVAL),
        (Self::BAD_PARAM, EINVAL),
        (Self::BAD_SYS_STATE, EIO),
        (Self::BAD_RES, EINVAL),
        (Self::BUSY, EBUSY),
        (Self::NOT_READY, EAGAIN),
        (Self::LIM_ERR, ENOMEM),
        (Self::BAD_RES_STATE, EINVAL),
        (Self::IX_ERR, EINVAL),
        (Self::NO_RES, EAGAIN),
        (Self::BAD_QP_STATE, EINVAL),
        (Self::BAD_PKT, EINVAL),
        (Self::BAD_SIZE_OUTS_CQES, EINVAL),
        (Self::BAD_INP_LEN, EIO),
        (Self::BAD_OUTP_LEN, EIO),
    ];

    /// The error a Linux driver returns for this status, as a positive errno number; `None` for
    /// [`Self::OK`]. An unknown status is EIO.
    #[must_use]
    pub fn errno(self) -> Option<i32> {
        errno_of(self, Self::OK, Self::ERRNO, EIO)
    }
}

impl DeliveryStatus {
    /// What Linux makes of each delivery status. Source: `deliv_status_to_err` of
    /// `drivers/net/ethernet/mellanox/mlx5/core/cmd.c`.
    pub const ERRNO: &[(Self, i32)] = &[
        (Self::SIGNAT_ERR, EBADR),
        (Self::TOK_ERR, EBADR),
        (Self::BAD_BLK_NUM, EFAULT),
        (Self::OUT_PTR_ALIGN, EFAULT),
        (Self::IN_PTR_ALIGN, EFAULT),
        (Self::FW_ERR, EIO),
        (Self::IN_LENGTH, ENOMSG),
        (Self::OUT_LENGTH, ENOMSG),
        (Self::RES_FLD_NOT_CLR, ENOMSG),
        (Self::CMD_DESCR, ENOMSG),
    ];

    /// The error a Linux driver returns for this delivery status, as a positive errno number;
    /// `None` for [`Self::OK`]. An unknown status is EINVAL.
    #[must_use]
    pub fn errno(self) -> Option<i32> {
        errno_of(self, Self::OK, Self::ERRNO, EINVAL)
    }
}

/// Looks `status` up in `table`; `other` is for a status that is not in it.
fn errno_of<T: Copy + PartialEq>(status: T, ok: T, table: &[(T, i32)], other: i32) -> Option<i32> {
    if status == ok {
        return None;
    }
    Some(table.iter().find(|(known, _)| *known == status).map_or(other, |(_, errno)| *errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_an_errno_of_its_own_row() {
        for (name, status) in Status::ALL.iter().filter(|(_, status)| *status != Status::OK) {
            assert!(Status::ERRNO.iter().any(|(known, _)| known == status), "{name}");
        }
        for (name, status) in DeliveryStatus::ALL.iter().filter(|(_, s)| *s != DeliveryStatus::OK) {
            assert!(DeliveryStatus::ERRNO.iter().any(|(known, _)| known == status), "{name}");
        }
    }

    #[test]
    fn errno_as_linux_has_it() {
        assert_eq!(Status::OK.errno(), None);
        assert_eq!(Status::BAD_OP.errno(), Some(22));
        assert_eq!(Status::LIM_ERR.errno(), Some(12));
        assert_eq!(Status(0x77).errno(), Some(5));
        assert_eq!(DeliveryStatus::OK.errno(), None);
        assert_eq!(DeliveryStatus::TOK_ERR.errno(), Some(53));
        assert_eq!(DeliveryStatus(0x7f).errno(), Some(22));
    }

    #[test]
    fn display_names_what_is_known() {
        assert_eq!(Status::BAD_RES.to_string(), "BAD_RES (0x5)");
        assert_eq!(Status(0x77).to_string(), "0x77");
    }
}
