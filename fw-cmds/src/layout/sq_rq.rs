//! Send queues and receive queues of raw packets: commands and contexts.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_SQ.
    create_sq_in 0x880 {
        OPCODE 0x00  0x10;
        UID    0x10  0x10;
        OP_MOD 0x30  0x10;
        CTX    0x100 sqc;
    }

    /// Output of CREATE_SQ.
    create_sq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        SQN      0x48 0x18;
    }

    /// Input of MODIFY_SQ.
    modify_sq_in 0x880 {
        OPCODE         0x00  0x10;
        UID            0x10  0x10;
        OP_MOD         0x30  0x10;
        SQ_STATE       0x40  0x4;
        SQN            0x48  0x18;
        MODIFY_BITMASK 0x80  0x40;
        CTX            0x100 sqc;
    }

    /// Output of MODIFY_SQ.
    modify_sq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_SQ.
    destroy_sq_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        SQN    0x48 0x18;
    }

    /// Output of DESTROY_SQ.
    destroy_sq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_SQ.
    query_sq_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        SQN    0x48 0x18;
    }

    /// Output of QUERY_SQ.
    query_sq_out 0x880 {
        STATUS     0x00  0x8;
        SYNDROME   0x20  0x20;
        SQ_CONTEXT 0x100 sqc;
    }

    /// Send queue context. `state` is 0 (reset), 1 (ready) or 3 (error).
    sqc 0x780 {
        RLKY                           0x00  0x1;
        CD_MASTER                      0x01  0x1;
        FRE                            0x02  0x1;
        FLUSH_IN_ERROR_EN              0x03  0x1;
        ALLOW_MULTI_PKT_SEND_WQE       0x04  0x1;
        MIN_WQE_INLINE_MODE            0x05  0x3;
        STATE                          0x08  0x4;
        REG_UMR                        0x0c  0x1;
        ALLOW_SWP                      0x0d  0x1;
        HAIRPIN                        0x0e  0x1;
        NON_WIRE                       0x0f  0x1;
        TS_FORMAT                      0x1a  0x2;
        USER_INDEX                     0x28  0x18;
        CQN                            0x48  0x18;
        HAIRPIN_PEER_RQ                0x68  0x18;
        HAIRPIN_PEER_VHCA              0x90  0x10;
        TS_CQE_TO_DEST_CQN             0xc8  0x18;
        PACKET_PACING_RATE_LIMIT_INDEX 0xf0  0x10;
        TIS_LST_SZ                     0x100 0x10;
        QOS_QUEUE_GROUP_ID             0x110 0x10;
        TIS_NUM_0                      0x168 0x18;
        WQ                             0x180 wq;
    }

    /// Input of CREATE_RQ.
    create_rq_in 0x880 {
        OPCODE 0x00  0x10;
        UID    0x10  0x10;
        OP_MOD 0x30  0x10;
        CTX    0x100 rqc;
    }

    /// Output of CREATE_RQ.
    create_rq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        RQN      0x48 0x18;
    }

    /// Input of MODIFY_RQ.
    modify_rq_in 0x880 {
        OPCODE         0x00  0x10;
        UID            0x10  0x10;
        OP_MOD         0x30  0x10;
        RQ_STATE       0x40  0x4;
        RQN            0x48  0x18;
        MODIFY_BITMASK 0x80  0x40;
        CTX            0x100 rqc;
    }

    /// Output of MODIFY_RQ.
    modify_rq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_RQ.
    destroy_rq_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        RQN    0x48 0x18;
    }

    /// Output of DESTROY_RQ.
    destroy_rq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_RQ.
    query_rq_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        RQN    0x48 0x18;
    }

    /// Output of QUERY_RQ.
    query_rq_out 0x880 {
        STATUS     0x00  0x8;
        SYNDROME   0x20  0x20;
        RQ_CONTEXT 0x100 rqc;
    }

    /// Receive queue context. `state` as in [`sqc`](crate::layout::sqc); `mem_rq_type` says whether the entries are the queue's
    /// own or those of a receive memory pool.
    rqc 0x780 {
        RLKY                                  0x00  0x1;
        DELAY_DROP_EN                         0x01  0x1;
        SCATTER_FCS                           0x02  0x1;
        VSD                                   0x03  0x1;
        MEM_RQ_TYPE                           0x04  0x4;
        STATE                                 0x08  0x4;
        FLUSH_IN_ERROR_EN                     0x0d  0x1;
        HAIRPIN                               0x0e  0x1;
        TS_FORMAT                             0x1a  0x2;
        USER_INDEX                            0x28  0x18;
        CQN                                   0x48  0x18;
        COUNTER_SET_ID                        0x60  0x8;
        RMPN                                  0x88  0x18;
        HAIRPIN_PEER_SQ                       0xa8  0x18;
        HAIRPIN_PEER_VHCA                     0xd0  0x10;
        SHAMPO_NO_MATCH_ALIGNMENT_GRANULARITY 0x126 0x2;
        SHAMPO_MATCH_CRITERIA_TYPE            0x12e 0x2;
        RESERVATION_TIMEOUT                   0x130 0x10;
        WQ                                    0x180 wq;
    }
}
