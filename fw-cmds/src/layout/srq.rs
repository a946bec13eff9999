//! Shared receive queues, with and without XRC.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_SRQ.
    create_srq_in 0x880 {
        OPCODE            0x00  0x10;
        UID               0x10  0x10;
        OP_MOD            0x30  0x10;
        SRQ_CONTEXT_ENTRY 0x80  srqc;
        PAS               0x880 [0x40];
    }

    /// Output of CREATE_SRQ.
    create_srq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        SRQN     0x48 0x18;
    }

    /// Input of DESTROY_SRQ.
    destroy_srq_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        SRQN   0x48 0x18;
    }

    /// Output of DESTROY_SRQ.
    destroy_srq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_SRQ.
    query_srq_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        SRQN   0x48 0x18;
    }

    /// Output of QUERY_SRQ.
    query_srq_out 0x880 {
        STATUS            0x00  0x8;
        SYNDROME          0x20  0x20;
        SRQ_CONTEXT_ENTRY 0x80  srqc;
        PAS               0x880 [0x40];
    }

    /// Input of ARM_RQ.
    arm_rq_in 0x80 {
        OPCODE     0x00 0x10;
        UID        0x10 0x10;
        OP_MOD     0x30 0x10;
        SRQ_NUMBER 0x48 0x18;
        LWM        0x70 0x10;
    }

    /// Output of ARM_RQ.
    arm_rq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Shared receive queue context. Sizes are log2 of entries of `16 << log_rq_stride` bytes and of
    /// 4096-byte pages; `page_offset` is in 1/64 of a page.
    srqc 0x200 {
        STATE         0x00  0x4;
        LOG_SRQ_SIZE  0x04  0x4;
        WQ_SIGNATURE  0x20  0x1;
        CONT_SRQ      0x21  0x1;
        RLKY          0x23  0x1;
        LOG_RQ_STRIDE 0x25  0x3;
        XRCD          0x28  0x18;
        PAGE_OFFSET   0x40  0x6;
        CQN           0x48  0x18;
        LOG_PAGE_SIZE 0x82  0x6;
        PD            0xc8  0x18;
        LWM           0xe0  0x10;
        WQE_CNT       0xf0  0x10;
        DBR_ADDR      0x140 0x40;
    }

    /// Input of CREATE_XRC_SRQ.
    create_xrc_srq_in 0x880 {
        OPCODE                0x00  0x10;
        UID                   0x10  0x10;
        OP_MOD                0x30  0x10;
        XRC_SRQ_CONTEXT_ENTRY 0x80  xrc_srqc;
        XRC_SRQ_UMEM_VALID    0x2e0 0x1;
        PAS                   0x880 [0x40];
    }

    /// Output of CREATE_XRC_SRQ.
    create_xrc_srq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        XRC_SRQN 0x48 0x18;
    }

    /// Input of DESTROY_XRC_SRQ.
    destroy_xrc_srq_in 0x80 {
        OPCODE   0x00 0x10;
        UID      0x10 0x10;
        OP_MOD   0x30 0x10;
        XRC_SRQN 0x48 0x18;
    }

    /// Output of DESTROY_XRC_SRQ.
    destroy_xrc_srq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_XRC_SRQ.
    query_xrc_srq_in 0x80 {
        OPCODE   0x00 0x10;
        OP_MOD   0x30 0x10;
        XRC_SRQN 0x48 0x18;
    }

    /// Output of QUERY_XRC_SRQ.
    query_xrc_srq_out 0x880 {
        STATUS                0x00  0x8;
        SYNDROME              0x20  0x20;
        XRC_SRQ_CONTEXT_ENTRY 0x80  xrc_srqc;
        PAS                   0x880 [0x40];
    }

    /// Input of ARM_XRC_SRQ.
    arm_xrc_srq_in 0x80 {
        OPCODE   0x00 0x10;
        UID      0x10 0x10;
        OP_MOD   0x30 0x10;
        XRC_SRQN 0x48 0x18;
        LWM      0x70 0x10;
    }

    /// Output of ARM_XRC_SRQ.
    arm_xrc_srq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// XRC shared receive queue context, in the units of [`srqc`](crate::layout::srqc).
    xrc_srqc 0x200 {
        STATE                     0x00  0x4;
        LOG_XRC_SRQ_SIZE          0x04  0x4;
        WQ_SIGNATURE              0x20  0x1;
        CONT_SRQ                  0x21  0x1;
        RLKY                      0x23  0x1;
        BASIC_CYCLIC_RCV_WQE      0x24  0x1;
        LOG_RQ_STRIDE             0x25  0x3;
        XRCD                      0x28  0x18;
        PAGE_OFFSET               0x40  0x6;
        DBR_UMEM_VALID            0x47  0x1;
        CQN                       0x48  0x18;
        USER_INDEX_EQUAL_XRC_SRQN 0x80  0x1;
        LOG_PAGE_SIZE             0x82  0x6;
        USER_INDEX                0x88  0x18;
        PD                        0xc8  0x18;
        LWM                       0xe0  0x10;
        WQE_CNT                   0xf0  0x10;
        DB_RECORD_ADDR_H          0x140 0x20;
        DB_RECORD_ADDR_L          0x160 0x1e;
    }
}
