//! Queue pairs: creation, destruction, query, and the context with its address paths.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_QP.
    create_qp_in 0x880 {
        OPCODE         0x00  0x10;
        UID            0x10  0x10;
        OP_MOD         0x30  0x10;
        QPC_EXT        0x40  0x1;
        INPUT_QPN      0x48  0x18;
        OPT_PARAM_MASK 0x80  0x20;
        ECE            0xa0  0x20;
        QPC            0xc0  qpc;
        WQ_UMEM_OFFSET 0x800 0x40;
        WQ_UMEM_ID     0x840 0x20;
        WQ_UMEM_VALID  0x860 0x1;
        PAS            0x880 [0x40];
    }

    /// Output of CREATE_QP.
    create_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        QPN      0x48 0x18;
        ECE      0x60 0x20;
    }

    /// Input of DESTROY_QP.
    destroy_qp_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        QPN    0x48 0x18;
    }

    /// Output of DESTROY_QP.
    destroy_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_QP.
    query_qp_in 0x80 {
        OPCODE  0x00 0x10;
        OP_MOD  0x30 0x10;
        QPC_EXT 0x40 0x1;
        QPN     0x48 0x18;
    }

    /// Output of QUERY_QP.
    query_qp_out 0xe80 {
        STATUS                    0x00  0x8;
        SYNDROME                  0x20  0x20;
        OPT_PARAM_MASK            0x80  0x20;
        ECE                       0xa0  0x20;
        QPC                       0xc0  qpc;
        QP_PAS_OR_QPC_EXT_AND_PAS 0x880 bytes 0xc0;
    }

    /// Queue pair context. Sizes are log2 of entries (send queue: of 64 bytes; receive queue: of
    /// `16 << log_rq_stride` bytes) and of 4096-byte pages; `page_offset` is in 1/64 of a page.
    qpc 0x740 {
        STATE                          0x00  0x4;
        LAG_TX_PORT_AFFINITY           0x04  0x4;
        ST                             0x08  0x8;
        ISOLATE_VL_TC                  0x12  0x1;
        PM_STATE                       0x13  0x2;
        REQ_E2E_CREDIT_MODE            0x16  0x2;
        OFFLOAD_TYPE                   0x18  0x4;
        END_PADDING_MODE               0x1c  0x2;
        WQ_SIGNATURE                   0x20  0x1;
        BLOCK_LB_MC                    0x21  0x1;
        ATOMIC_LIKE_WRITE_EN           0x22  0x1;
        LATENCY_SENSITIVE              0x23  0x1;
        DRAIN_SIGERR                   0x25  0x1;
        DP_ORDERING_FORCE              0x27  0x1;
        PD                             0x28  0x18;
        MTU                            0x40  0x3;
        LOG_MSG_MAX                    0x43  0x5;
        LOG_RQ_SIZE                    0x49  0x4;
        LOG_RQ_STRIDE                  0x4d  0x3;
        NO_SQ                          0x50  0x1;
        LOG_SQ_SIZE                    0x51  0x4;
        RETRY_MODE                     0x56  0x2;
        TS_FORMAT                      0x58  0x2;
        RLKY                           0x5b  0x1;
        ULP_STATELESS_OFFLOAD_MODE     0x5c  0x4;
        COUNTER_SET_ID                 0x60  0x8;
        UAR_PAGE                       0x68  0x18;
        USER_INDEX                     0x88  0x18;
        LOG_PAGE_SIZE                  0xa3  0x5;
        REMOTE_QPN                     0xa8  0x18;
        PRIMARY_ADDRESS_PATH           0xc0  ads;
        SECONDARY_ADDRESS_PATH         0x220 ads;
        LOG_ACK_REQ_FREQ               0x380 0x4;
        LOG_SRA_MAX                    0x388 0x3;
        RETRY_COUNT                    0x38d 0x3;
        RNR_RETRY                      0x390 0x3;
        FRE                            0x394 0x1;
        CUR_RNR_RETRY                  0x395 0x3;
        CUR_RETRY_COUNT                0x398 0x3;
        PACKET_PACING_RATE_LIMIT_INDEX 0x3b0 0x10;
        NEXT_SEND_PSN                  0x3c8 0x18;
        LOG_NUM_DCI_STREAM_CHANNELS    0x3e3 0x5;
        CQN_SND                        0x3e8 0x18;
        LOG_NUM_DCI_ERRORED_STREAMS    0x403 0x5;
        DETH_SQPN                      0x408 0x18;
        LAST_ACKED_PSN                 0x448 0x18;
        SSN                            0x468 0x18;
        LOG_RRA_MAX                    0x488 0x3;
        ATOMIC_MODE                    0x48c 0x4;
        RRE                            0x490 0x1;
        RWE                            0x491 0x1;
        RAE                            0x492 0x1;
        PAGE_OFFSET                    0x494 0x6;
        DP_ORDERING_1                  0x49c 0x1;
        CD_SLAVE_RECEIVE               0x49d 0x1;
        CD_SLAVE_SEND                  0x49e 0x1;
        CD_MASTER                      0x49f 0x1;
        MIN_RNR_NAK                    0x4a3 0x5;
        NEXT_RCV_PSN                   0x4a8 0x18;
        XRCD                           0x4c8 0x18;
        CQN_RCV                        0x4e8 0x18;
        DBR_ADDR                       0x500 0x40;
        Q_KEY                          0x540 0x20;
        RQ_TYPE                        0x565 0x3;
        SRQN_RMPN_XRQN                 0x568 0x18;
        RMSN                           0x588 0x18;
        HW_SQ_WQEBB_COUNTER            0x5a0 0x10;
        SW_SQ_WQEBB_COUNTER            0x5b0 0x10;
        HW_RQ_COUNTER                  0x5c0 0x20;
        SW_RQ_COUNTER                  0x5e0 0x20;
        CGS                            0x62f 0x1;
        CS_REQ                         0x630 0x8;
        CS_RES                         0x638 0x8;
        DC_ACCESS_KEY                  0x640 0x40;
        DBR_UMEM_VALID                 0x683 0x1;
    }

    /// An address path of a queue pair.
    ads 0x160 {
        FL             0x00  0x1;
        FREE_AR        0x01  0x1;
        PKEY_INDEX     0x10  0x10;
        PLANE_INDEX    0x20  0x8;
        GRH            0x28  0x1;
        MLID           0x29  0x7;
        RLID           0x30  0x10;
        ACK_TIMEOUT    0x40  0x5;
        SRC_ADDR_INDEX 0x48  0x8;
        STAT_RATE      0x54  0x4;
        HOP_LIMIT      0x58  0x8;
        TCLASS         0x64  0x8;
        FLOW_LABEL     0x6c  0x14;
        RGID_RIP       0x80  [0x8; 16];
        F_DSCP         0x104 0x1;
        F_ECN          0x105 0x1;
        F_ETH_PRIO     0x107 0x1;
        ECN            0x108 0x2;
        DSCP           0x10a 0x6;
        UDP_SPORT      0x110 0x10;
        DEI_CFI        0x120 0x1;
        ETH_PRIO       0x121 0x3;
        SL             0x124 0x4;
        VHCA_PORT_NUM  0x128 0x8;
        RMAC_47_32     0x130 0x10;
        RMAC_31_0      0x140 0x20;
    }
}

layout! {
    RDMA_CORE = RdmaCore("providers/mlx5/mlx5_ifc.h");

    /// What a queue pair context has if `dbr_umem_valid` is 1; `dbr_addr` is an offset in that UMEM
    /// then. Linux's header is silent.
    qpc_umem 0x740 {
        DBR_UMEM_ID 0x720 0x20;
    }
}
