//! Completion queues: commands and context.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_CQ.
    create_cq_in 0x880 {
        OPCODE        0x00  0x10;
        UID           0x10  0x10;
        OP_MOD        0x30  0x10;
        CQ_CONTEXT    0x80  cqc;
        CQ_UMEM_VALID 0x2e0 0x1;
        PAS           0x880 [0x40];
    }

    /// Output of CREATE_CQ.
    create_cq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        CQN      0x48 0x18;
    }

    /// Input of DESTROY_CQ.
    destroy_cq_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        CQN    0x48 0x18;
    }

    /// Output of DESTROY_CQ.
    destroy_cq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_CQ.
    query_cq_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        CQN    0x48 0x18;
    }

    /// Output of QUERY_CQ.
    query_cq_out 0x880 {
        STATUS     0x00  0x8;
        SYNDROME   0x20  0x20;
        CQ_CONTEXT 0x80  cqc;
        PAS        0x880 [0x40];
    }

    /// Input of MODIFY_CQ.
    modify_cq_in 0x880 {
        OPCODE                                  0x00  0x10;
        UID                                     0x10  0x10;
        OP_MOD                                  0x30  0x10;
        CQN                                     0x48  0x18;
        MODIFY_FIELD_SELECT_RESIZE_FIELD_SELECT 0x60  bytes 0x4;
        CQ_CONTEXT                              0x80  cqc;
        CQ_UMEM_VALID                           0x2e0 0x1;
        PAS                                     0x880 [0x40];
    }

    /// Output of MODIFY_CQ.
    modify_cq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// What MODIFY_CQ changes with `op_mod` 0, a bit for each (`MLX5_CQ_MODIFY_*` of `cq.h`).
    modify_field_select 0x20 {
        MODIFY_FIELD_SELECT 0x00 0x20;
    }

    /// What MODIFY_CQ changes with `op_mod` 1, a bit for each (`MLX5_MODIFY_CQ_MASK_*` of `cq.h`).
    resize_field_select 0x20 {
        RESIZE_FIELD_SELECT 0x00 0x20;
    }

    /// Completion queue context. Sizes are log2 of entries and of 4096-byte pages; `page_offset` is in
    /// 1/64 of a page.
    cqc 0x200 {
        STATUS                   0x00  0x4;
        DBR_UMEM_VALID           0x06  0x1;
        APU_CQ                   0x07  0x1;
        CQE_SZ                   0x08  0x3;
        CC                       0x0b  0x1;
        SCQE_BREAK_MODERATION_EN 0x0d  0x1;
        OI                       0x0e  0x1;
        CQ_PERIOD_MODE           0x0f  0x2;
        CQE_COMP_EN              0x11  0x1;
        MINI_CQE_RES_FORMAT      0x12  0x2;
        ST                       0x14  0x4;
        CQE_COMPRESSION_LAYOUT   0x1e  0x2;
        PAGE_OFFSET              0x54  0x6;
        LOG_CQ_SIZE              0x63  0x5;
        UAR_PAGE                 0x68  0x18;
        CQ_PERIOD                0x84  0xc;
        CQ_MAX_COUNT             0x90  0x10;
        C_EQN_OR_APU_ELEMENT     0xa0  0x20;
        LOG_PAGE_SIZE            0xc3  0x5;
        LAST_NOTIFIED_INDEX      0x108 0x18;
        LAST_SOLICIT_INDEX       0x128 0x18;
        CONSUMER_COUNTER         0x148 0x18;
        PRODUCER_COUNTER         0x168 0x18;
        DBR_ADDR                 0x1c0 0x40;
    }
}

layout! {
    RDMA_CORE = RdmaCore("tests/mlx5_prm_structs.py");

    /// What CREATE_CQ has instead of `pas` if `cq_umem_valid` is 1: where Linux's header is silent.
    create_cq_umem 0x880 {
        CQ_UMEM_OFFSET = "e_mtt_pointer_or_cq_umem_offset" 0x280 0x40;
        CQ_UMEM_ID                                         0x2c0 0x20;
    }

    /// What a completion queue context has if `dbr_umem_valid` is 1; `dbr_addr` is an offset in that
    /// UMEM then. Linux's header is silent.
    cqc_umem 0x200 {
        DBR_UMEM_ID 0x20 0x20;
    }
}

layout! {
    RDMA_CORE_QUEUES = RdmaCore("providers/mlx5/mlx5dv.h");

    /// Beginning of a send request: index and opcode, the queue's number and the request's length in 16 bytes, what is to be told
    /// of it.
    wqe_ctrl_seg 0x80 {
        OPMOD_IDX_OPCODE 0x00 0x20;
        QPN_DS           0x20 0x20;
        FM_CE_SE         0x58 0x8;
    }

    /// Entry of a completion queue. In `op_own` are the opcode (upper half) and a bit that toggles with each lap (the lowest).
    cqe64 0x200 {
        SOP_DROP_QPN 0x1c0 0x20;
        WQE_COUNTER  0x1e0 0x10;
        OP_OWN       0x1f8 0x8;
    }

    /// The same for a request that wasn't carried out.
    err_cqe 0x200 {
        VENDOR_ERR_SYND  0x1b0 0x8;
        SYNDROME         0x1b8 0x8;
        S_WQE_OPCODE_QPN 0x1c0 0x20;
        WQE_COUNTER      0x1e0 0x10;
        OP_OWN           0x1f8 0x8;
    }
}
