//! User contexts and the memory they register.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_UCTX.
    create_uctx_in 0x200 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        UCTX   0x80 uctx;
    }

    /// Output of CREATE_UCTX.
    create_uctx_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        UID      0x50 0x10;
    }

    /// Input of DESTROY_UCTX.
    destroy_uctx_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        UID    0x50 0x10;
    }

    /// Output of DESTROY_UCTX.
    destroy_uctx_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of CREATE_UMEM.
    create_umem_in 0x180 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        UMEM   0x80 umem;
    }

    /// Output of CREATE_UMEM.
    create_umem_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        UMEM_ID  0x48 0x18;
    }

    /// Input of DESTROY_UMEM.
    destroy_umem_in 0x80 {
        OPCODE  0x00 0x10;
        UID     0x10 0x10;
        OP_MOD  0x30 0x10;
        UMEM_ID 0x48 0x18;
    }

    /// Output of DESTROY_UMEM.
    destroy_umem_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// A user context; `cap` are the capabilities it asks for.
    uctx 0x180 {
        CAP 0x00 0x20;
    }

    /// Registered user memory. `log_page_size` is log2 of 4096-byte pages, so 0 means 4 KiB.
    umem 0x100 {
        ATS           0x80  0x1;
        LOG_PAGE_SIZE 0x9b  0x5;
        PAGE_OFFSET   0xa0  0x20;
        NUM_OF_MTT    0xc0  0x40;
        MTT           0x100 [0x40];
    }

    /// One page of registered memory: its address, the low bits of which say who may do what.
    mtt 0x40 {
        PTAG_63_32 0x00 0x20;
        PTAG_31_8  0x20 0x18;
        WR_EN      0x3e 0x1;
        RD_EN      0x3f 0x1;
    }
}
