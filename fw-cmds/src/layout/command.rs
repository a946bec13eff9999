//! How a command travels: queue entry, mailbox blocks and what all commands have in common.

layout! {
    DEVICE = KernelDevice("device.h");

    /// One entry of the command queue, as the driver writes it.
    /// `in` and `out` are the first 16 bytes of the command; the rest is in mailbox blocks.
    cmd_layout 0x200 {
        TYPE       0x00  0x8;
        INLEN      0x20  0x20;
        IN_PTR     0x40  0x40;
        IN         0x80  bytes 0x10;
        OUT        0x100 bytes 0x10;
        OUT_PTR    0x180 0x40;
        OUTLEN     0x1c0 0x20;
        TOKEN      0x1e0 0x8;
        SIG        0x1e8 0x8;
        STATUS_OWN 0x1f8 0x8;
    }

    /// A mailbox block: 512 bytes of a command and the address of the next block.
    cmd_prot_block 0x1200 {
        DATA      0x00   bytes 0x200;
        NEXT      0x1180 0x40;
        BLOCK_NUM 0x11c0 0x20;
        TOKEN     0x11e8 0x8;
        CTRL_SIG  0x11f0 0x8;
        SIG       0x11f8 0x8;
    }
}

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// One entry of the command queue, bit by bit.
    /// `status` is the delivery status; `ownership` is 1 while the entry is the device's.
    cmd_queue_entry 0x200 {
        TYPE                         0x00  0x8;
        INPUT_LENGTH                 0x20  0x20;
        INPUT_MAILBOX_POINTER_63_32  0x40  0x20;
        INPUT_MAILBOX_POINTER_31_9   0x60  0x17;
        COMMAND_INPUT_INLINE_DATA    0x80  bytes 0x10;
        COMMAND_OUTPUT_INLINE_DATA   0x100 bytes 0x10;
        OUTPUT_MAILBOX_POINTER_63_32 0x180 0x20;
        OUTPUT_MAILBOX_POINTER_31_9  0x1a0 0x17;
        OUTPUT_LENGTH                0x1c0 0x20;
        TOKEN                        0x1e0 0x8;
        SIGNATURE                    0x1e8 0x8;
        STATUS                       0x1f8 0x7;
        OWNERSHIP                    0x1ff 0x1;
    }

    /// A mailbox block, bit by bit.
    cmd_if_box 0x1200 {
        MAILBOX_DATA       0x00   bytes 0x200;
        NEXT_POINTER_63_32 0x1180 0x20;
        NEXT_POINTER_31_10 0x11a0 0x16;
        BLOCK_NUMBER       0x11c0 0x20;
        TOKEN              0x11e8 0x8;
        CTRL_SIGNATURE     0x11f0 0x8;
        SIGNATURE          0x11f8 0x8;
    }

    /// The start of every input as `mlx5_ifc.h` has it; see [`mbox_in`] for the `uid`.
    cmd_in 0x40 {
        OPCODE  0x00 0x10;
        OP_MOD  0x30 0x10;
        COMMAND 0x40 [0x20];
    }

    /// The start of every output.
    cmd_out 0x60 {
        STATUS         0x00 0x8;
        SYNDROME       0x20 0x20;
        COMMAND_OUTPUT 0x40 0x20;
    }
}

layout! {
    DRIVER = KernelDriver("drivers/net/ethernet/mellanox/mlx5/core/cmd.c");

    /// The start of every input, with the `uid` of the owner (0 for the driver itself).
    mbox_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// The start of every output: command status and syndrome.
    mbox_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// The byte `status_own` of [`cmd_layout`], taken apart: delivery status, and the
    /// ownership bit, 1 while the entry is the device's.
    status_own 0x8 {
        STATUS    0x00 0x7;
        OWNERSHIP 0x07 0x1;
    }
}
