//! Where received packets go and sent ones come from: transport interface receive and send objects, and tables of receive queues.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_TIR.
    create_tir_in 0x880 {
        OPCODE 0x00  0x10;
        UID    0x10  0x10;
        OP_MOD 0x30  0x10;
        CTX    0x100 tirc;
    }

    /// Output of CREATE_TIR.
    create_tir_out 0x80 {
        STATUS            0x00 0x8;
        ICM_ADDRESS_63_40 0x08 0x18;
        SYNDROME          0x20 0x20;
        ICM_ADDRESS_39_32 0x40 0x8;
        TIRN              0x48 0x18;
        ICM_ADDRESS_31_0  0x60 0x20;
    }

    /// Input of MODIFY_TIR.
    modify_tir_in 0x880 {
        OPCODE  0x00  0x10;
        UID     0x10  0x10;
        OP_MOD  0x30  0x10;
        TIRN    0x48  0x18;
        BITMASK 0x80  modify_tir_bitmask;
        CTX     0x100 tirc;
    }

    /// Output of MODIFY_TIR.
    modify_tir_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_TIR.
    destroy_tir_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        TIRN   0x48 0x18;
    }

    /// Output of DESTROY_TIR.
    destroy_tir_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_TIR.
    query_tir_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        TIRN   0x48 0x18;
    }

    /// Output of QUERY_TIR.
    query_tir_out 0x880 {
        STATUS      0x00  0x8;
        SYNDROME    0x20  0x20;
        TIR_CONTEXT 0x100 tirc;
    }

    /// What MODIFY_TIR changes.
    modify_tir_bitmask 0x40 {
        SELF_LB_EN   0x3b 0x1;
        HASH         0x3d 0x1;
        PACKET_MERGE 0x3f 0x1;
    }

    /// Transport interface receive context: packets go to one receive queue (`disp_type` 0), or by a hash of their headers to
    /// one of a table (1).
    tirc 0x780 {
        DISP_TYPE                    0x20  0x4;
        TLS_EN                       0x24  0x1;
        LRO_TIMEOUT_PERIOD_USECS     0x84  0x10;
        PACKET_MERGE_MASK            0x94  0x4;
        LRO_MAX_IP_PAYLOAD_SIZE      0x98  0x8;
        INLINE_RQN                   0xe8  0x18;
        RX_HASH_SYMMETRIC            0x100 0x1;
        TUNNELED_OFFLOAD_EN          0x102 0x1;
        INDIRECT_TABLE               0x108 0x18;
        RX_HASH_FN                   0x120 0x4;
        SELF_LB_BLOCK                0x126 0x2;
        TRANSPORT_DOMAIN             0x128 0x18;
        RX_HASH_TOEPLITZ_KEY         0x140 [0x20; 10];
        RX_HASH_FIELD_SELECTOR_OUTER 0x280 rx_hash_field_select;
        RX_HASH_FIELD_SELECTOR_INNER 0x2a0 rx_hash_field_select;
    }

    /// Which headers a hash is made of. `selected_fields` are bits, the lowest the source address.
    rx_hash_field_select 0x20 {
        L3_PROT_TYPE    0x00 0x1;
        L4_PROT_TYPE    0x01 0x1;
        SELECTED_FIELDS 0x02 0x1e;
    }

    /// Input of CREATE_TIS.
    create_tis_in 0x600 {
        OPCODE 0x00  0x10;
        UID    0x10  0x10;
        OP_MOD 0x30  0x10;
        CTX    0x100 tisc;
    }

    /// Output of CREATE_TIS.
    create_tis_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        TISN     0x48 0x18;
    }

    /// Input of MODIFY_TIS.
    modify_tis_in 0x600 {
        OPCODE  0x00  0x10;
        UID     0x10  0x10;
        OP_MOD  0x30  0x10;
        TISN    0x48  0x18;
        BITMASK 0x80  modify_tis_bitmask;
        CTX     0x100 tisc;
    }

    /// Output of MODIFY_TIS.
    modify_tis_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_TIS.
    destroy_tis_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        TISN   0x48 0x18;
    }

    /// Output of DESTROY_TIS.
    destroy_tis_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_TIS.
    query_tis_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        TISN   0x48 0x18;
    }

    /// Output of QUERY_TIS.
    query_tis_out 0x580 {
        STATUS      0x00 0x8;
        SYNDROME    0x20 0x20;
        TIS_CONTEXT 0x80 tisc;
    }

    /// What MODIFY_TIS changes.
    modify_tis_bitmask 0x40 {
        LAG_TX_PORT_AFFINITY        0x3d 0x1;
        STRICT_LAG_TX_PORT_AFFINITY 0x3e 0x1;
        PRIO                        0x3f 0x1;
    }

    /// Transport interface send context.
    tisc 0x500 {
        STRICT_LAG_TX_PORT_AFFINITY 0x00  0x1;
        TLS_EN                      0x01  0x1;
        LAG_TX_PORT_AFFINITY        0x04  0x4;
        PRIO                        0x0c  0x4;
        TRANSPORT_DOMAIN            0x128 0x18;
        UNDERLAY_QPN                0x148 0x18;
        PD                          0x168 0x18;
    }

    /// Input of CREATE_RQT.
    create_rqt_in 0x880 {
        OPCODE      0x00  0x10;
        UID         0x10  0x10;
        OP_MOD      0x30  0x10;
        RQT_CONTEXT 0x100 rqtc;
    }

    /// Output of CREATE_RQT.
    create_rqt_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        RQTN     0x48 0x18;
    }

    /// Input of MODIFY_RQT.
    modify_rqt_in 0x880 {
        OPCODE  0x00  0x10;
        UID     0x10  0x10;
        OP_MOD  0x30  0x10;
        RQTN    0x48  0x18;
        BITMASK 0x80  rqt_bitmask;
        CTX     0x100 rqtc;
    }

    /// Output of MODIFY_RQT.
    modify_rqt_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_RQT.
    destroy_rqt_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        RQTN   0x48 0x18;
    }

    /// Output of DESTROY_RQT.
    destroy_rqt_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_RQT.
    query_rqt_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
        RQTN   0x48 0x18;
    }

    /// Output of QUERY_RQT.
    query_rqt_out 0x880 {
        STATUS      0x00  0x8;
        SYNDROME    0x20  0x20;
        RQT_CONTEXT 0x100 rqtc;
    }

    /// What MODIFY_RQT changes.
    rqt_bitmask 0x40 {
        RQN_LIST 0x3f 0x1;
    }

    /// Context of a table of receive queues, whose list ends the command.
    rqtc 0x780 {
        LIST_Q_TYPE       0xa5  0x3;
        RQT_MAX_SIZE      0xb0  0x10;
        RQ_VHCA_ID_FORMAT 0xc0  0x1;
        RQT_ACTUAL_SIZE   0xd0  0x10;
        RQ_NUM            0x780 [0x20];
    }

    /// A receive queue in a table.
    rq_num 0x20 {
        RQ_NUM 0x08 0x18;
    }
}
