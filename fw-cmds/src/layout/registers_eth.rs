//! Registers of Ethernet ports.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Register PFCC: pause frames of a port, for all (`pptx`, `pprx`) or by priority (`pfctx`, `pfcrx`, of which a write
    /// changes those in the masks).
    pfcc_reg 0x100 {
        BUF_OWNERSHIP                   0x04 0x2;
        LOCAL_PORT                      0x08 0x8;
        CABLE_LENGTH_MASK               0x1a 0x1;
        PPAN_MASK_N                     0x1b 0x1;
        MINOR_STALL_MASK                0x1c 0x1;
        CRITICAL_STALL_MASK             0x1d 0x1;
        PPAN                            0x20 0x4;
        PRIO_MASK_TX                    0x28 0x8;
        PRIO_MASK_RX                    0x38 0x8;
        PPTX                            0x40 0x1;
        APTX                            0x41 0x1;
        PPTX_MASK_N                     0x42 0x1;
        PFCTX                           0x48 0x8;
        PPRX                            0x60 0x1;
        APRX                            0x61 0x1;
        PPRX_MASK_N                     0x62 0x1;
        PFCRX                           0x68 0x8;
        DEVICE_STALL_MINOR_WATERMARK    0x80 0x10;
        DEVICE_STALL_CRITICAL_WATERMARK 0x90 0x10;
        CABLE_LENGTH                    0xb8 0x8;
    }
}
