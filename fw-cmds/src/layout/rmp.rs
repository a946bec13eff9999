//! Receive memory pools: commands, context and work queue.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_RMP.
    create_rmp_in 0x880 {
        OPCODE 0x00  0x10;
        UID    0x10  0x10;
        OP_MOD 0x30  0x10;
        CTX    0x100 rmpc;
    }

    /// Output of CREATE_RMP.
    create_rmp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        RMPN     0x48 0x18;
    }

    /// Input of MODIFY_RMP.
    modify_rmp_in 0x880 {
        OPCODE    0x00  0x10;
        UID       0x10  0x10;
        OP_MOD    0x30  0x10;
        RMP_STATE 0x40  0x4;
        RMPN      0x48  0x18;
        BITMASK   0x80  rmp_bitmask;
        CTX       0x100 rmpc;
    }

    /// Output of MODIFY_RMP.
    modify_rmp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_RMP.
    destroy_rmp_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        RMPN   0x48 0x18;
    }

    /// Output of DESTROY_RMP.
    destroy_rmp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_RMP.
    query_rmp_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        RMPN   0x48 0x18;
    }

    /// Output of QUERY_RMP.
    query_rmp_out 0x880 {
        STATUS      0x00  0x8;
        SYNDROME    0x20  0x20;
        RMP_CONTEXT 0x100 rmpc;
    }

    /// What MODIFY_RMP changes beside the state.
    rmp_bitmask 0x40 {
        LWM 0x3f 0x1;
    }

    /// Receive memory pool context.
    rmpc 0x780 {
        STATE                0x08  0x4;
        BASIC_CYCLIC_RCV_WQE 0x20  0x1;
        WQ                   0x180 wq;
    }

    /// A work queue. Sizes are log2 of entries, of bytes of an entry (`log_wq_stride`) and of
    /// 4096-byte pages; `page_offset` is in 1/64 of a page.
    wq 0x600 {
        WQ_TYPE                                0x00  0x4;
        WQ_SIGNATURE                           0x04  0x1;
        END_PADDING_MODE                       0x05  0x2;
        CD_SLAVE                               0x07  0x1;
        HDS_SKIP_FIRST_SGE                     0x20  0x1;
        LOG2_HDS_BUF_SIZE                      0x21  0x3;
        PAGE_OFFSET                            0x2b  0x5;
        LWM                                    0x30  0x10;
        PD                                     0x48  0x18;
        UAR_PAGE                               0x68  0x18;
        DBR_ADDR                               0x80  0x40;
        HW_COUNTER                             0xc0  0x20;
        SW_COUNTER                             0xe0  0x20;
        LOG_WQ_STRIDE                          0x10c 0x4;
        LOG_WQ_PG_SZ                           0x113 0x5;
        LOG_WQ_SZ                              0x11b 0x5;
        DBR_UMEM_VALID                         0x120 0x1;
        WQ_UMEM_VALID                          0x121 0x1;
        LOG_HAIRPIN_NUM_PACKETS                0x123 0x5;
        LOG_HAIRPIN_DATA_SZ                    0x12b 0x5;
        LOG_WQE_NUM_OF_STRIDES                 0x134 0x4;
        TWO_BYTE_SHIFT_EN                      0x138 0x1;
        LOG_WQE_STRIDE_SIZE                    0x13d 0x3;
        DBR_UMEM_ID                            0x140 0x20;
        WQ_UMEM_ID                             0x160 0x20;
        WQ_UMEM_OFFSET                         0x180 0x40;
        HEADERS_MKEY                           0x1c0 0x20;
        SHAMPO_ENABLE                          0x1e0 0x1;
        SHAMPO_MODE                            0x1e2 0x2;
        LOG_RESERVATION_SIZE                   0x1e5 0x3;
        LOG_MAX_NUM_OF_PACKETS_PER_RESERVATION 0x1ed 0x3;
        LOG_HEADERS_ENTRY_SIZE                 0x1f6 0x2;
        LOG_HEADERS_BUFFER_ENTRY_NUM           0x1fc 0x4;
        PAS                                    0x600 [0x40];
    }

    /// The address of a page in a work queue's list.
    cmd_pas 0x40 {
        PA_H 0x00 0x20;
        PA_L 0x20 0x14;
    }
}
