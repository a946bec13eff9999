//! User access regions and protection domains.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of ALLOC_UAR.
    alloc_uar_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of ALLOC_UAR.
    alloc_uar_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        UAR      0x48 0x18;
    }

    /// Input of DEALLOC_UAR.
    dealloc_uar_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        UAR    0x48 0x18;
    }

    /// Output of DEALLOC_UAR.
    dealloc_uar_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of ALLOC_PD.
    alloc_pd_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of ALLOC_PD.
    alloc_pd_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        PD       0x48 0x18;
    }

    /// Input of DEALLOC_PD.
    dealloc_pd_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        PD     0x48 0x18;
    }

    /// Output of DEALLOC_PD.
    dealloc_pd_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }
}
