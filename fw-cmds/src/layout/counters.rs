//! Counters: of a virtual port, of queues, of flows.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Packets and the bytes in them.
    traffic_counter 0x80 {
        PACKETS 0x00 0x40;
        OCTETS  0x40 0x40;
    }

    /// Input of QUERY_VPORT_COUNTER.
    query_vport_counter_in 0x100 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        OTHER_VPORT  0x40 0x1;
        PORT_NUM     0x4c 0x4;
        VPORT_NUMBER 0x50 0x10;
        CLEAR        0xc0 0x1;
    }

    /// Output of QUERY_VPORT_COUNTER.
    query_vport_counter_out 0x1080 {
        STATUS                    0x00  0x8;
        SYNDROME                  0x20  0x20;
        RECEIVED_ERRORS           0x80  traffic_counter;
        TRANSMIT_ERRORS           0x100 traffic_counter;
        RECEIVED_IB_UNICAST       0x180 traffic_counter;
        TRANSMITTED_IB_UNICAST    0x200 traffic_counter;
        RECEIVED_IB_MULTICAST     0x280 traffic_counter;
        TRANSMITTED_IB_MULTICAST  0x300 traffic_counter;
        RECEIVED_ETH_BROADCAST    0x380 traffic_counter;
        TRANSMITTED_ETH_BROADCAST 0x400 traffic_counter;
        RECEIVED_ETH_UNICAST      0x480 traffic_counter;
        TRANSMITTED_ETH_UNICAST   0x500 traffic_counter;
        RECEIVED_ETH_MULTICAST    0x580 traffic_counter;
        TRANSMITTED_ETH_MULTICAST 0x600 traffic_counter;
        LOCAL_LOOPBACK            0x680 traffic_counter;
    }

    /// Input of ALLOC_Q_COUNTER.
    alloc_q_counter_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of ALLOC_Q_COUNTER.
    alloc_q_counter_out 0x80 {
        STATUS         0x00 0x8;
        SYNDROME       0x20 0x20;
        COUNTER_SET_ID 0x58 0x8;
    }

    /// Input of DEALLOC_Q_COUNTER.
    dealloc_q_counter_in 0x80 {
        OPCODE         0x00 0x10;
        OP_MOD         0x30 0x10;
        COUNTER_SET_ID 0x58 0x8;
    }

    /// Output of DEALLOC_Q_COUNTER.
    dealloc_q_counter_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_Q_COUNTER.
    query_q_counter_in 0x100 {
        OPCODE         0x00 0x10;
        OP_MOD         0x30 0x10;
        OTHER_VPORT    0x40 0x1;
        VPORT_NUMBER   0x50 0x10;
        CLEAR          0xc0 0x1;
        AGGREGATE      0xc1 0x1;
        COUNTER_SET_ID 0xf8 0x8;
    }

    /// Output of QUERY_Q_COUNTER.
    query_q_counter_out 0x800 {
        STATUS                         0x00  0x8;
        SYNDROME                       0x20  0x20;
        RX_WRITE_REQUESTS              0x80  0x20;
        RX_READ_REQUESTS               0xc0  0x20;
        RX_ATOMIC_REQUESTS             0x100 0x20;
        RX_DCT_CONNECT                 0x140 0x20;
        OUT_OF_BUFFER                  0x180 0x20;
        OUT_OF_SEQUENCE                0x1c0 0x20;
        DUPLICATE_REQUEST              0x200 0x20;
        RNR_NAK_RETRY_ERR              0x240 0x20;
        PACKET_SEQ_ERR                 0x280 0x20;
        IMPLIED_NAK_SEQ_ERR            0x2c0 0x20;
        LOCAL_ACK_TIMEOUT_ERR          0x300 0x20;
        REQ_RNR_RETRIES_EXCEEDED       0x380 0x20;
        RESP_LOCAL_LENGTH_ERROR        0x3c0 0x20;
        REQ_LOCAL_LENGTH_ERROR         0x3e0 0x20;
        RESP_LOCAL_QP_ERROR            0x400 0x20;
        LOCAL_OPERATION_ERROR          0x420 0x20;
        RESP_LOCAL_PROTECTION          0x440 0x20;
        REQ_LOCAL_PROTECTION           0x460 0x20;
        RESP_CQE_ERROR                 0x480 0x20;
        REQ_CQE_ERROR                  0x4a0 0x20;
        REQ_MW_BINDING                 0x4c0 0x20;
        REQ_BAD_RESPONSE               0x4e0 0x20;
        REQ_REMOTE_INVALID_REQUEST     0x500 0x20;
        RESP_REMOTE_INVALID_REQUEST    0x520 0x20;
        REQ_REMOTE_ACCESS_ERRORS       0x540 0x20;
        RESP_REMOTE_ACCESS_ERRORS      0x560 0x20;
        REQ_REMOTE_OPERATION_ERRORS    0x580 0x20;
        REQ_TRANSPORT_RETRIES_EXCEEDED 0x5a0 0x20;
        CQ_OVERFLOW                    0x5c0 0x20;
        RESP_CQE_FLUSH_ERROR           0x5e0 0x20;
        REQ_CQE_FLUSH_ERROR            0x600 0x20;
        ROCE_ADP_RETRANS               0x640 0x20;
        ROCE_ADP_RETRANS_TO            0x660 0x20;
        ROCE_SLOW_RESTART              0x680 0x20;
        ROCE_SLOW_RESTART_CNPS         0x6a0 0x20;
        ROCE_SLOW_RESTART_TRANS        0x6c0 0x20;
    }

    /// Input of ALLOC_FLOW_COUNTER. `flow_counter_bulk` times 128 is the number of counters, 0 one counter.
    alloc_flow_counter_in 0x80 {
        OPCODE                     0x00 0x10;
        OP_MOD                     0x30 0x10;
        FLOW_COUNTER_BULK_LOG_SIZE 0x73 0x5;
        FLOW_COUNTER_BULK          0x78 0x8;
    }

    /// Output of ALLOC_FLOW_COUNTER: the first counter.
    alloc_flow_counter_out 0x80 {
        STATUS          0x00 0x8;
        SYNDROME        0x20 0x20;
        FLOW_COUNTER_ID 0x40 0x20;
    }

    /// Input of DEALLOC_FLOW_COUNTER: the first counter of a bulk.
    dealloc_flow_counter_in 0x80 {
        OPCODE          0x00 0x10;
        OP_MOD          0x30 0x10;
        FLOW_COUNTER_ID 0x40 0x20;
    }

    /// Output of DEALLOC_FLOW_COUNTER.
    dealloc_flow_counter_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_FLOW_COUNTER; 0 `num_of_counters` is one.
    query_flow_counter_in 0x100 {
        OPCODE          0x00 0x10;
        OP_MOD          0x30 0x10;
        CLEAR           0xc0 0x1;
        NUM_OF_COUNTERS 0xd0 0x10;
        FLOW_COUNTER_ID 0xe0 0x20;
    }

    /// Output of QUERY_FLOW_COUNTER; `flow_statistics` are a [`traffic_counter`] each, to the end of the command.
    query_flow_counter_out 0x80 {
        STATUS          0x00 0x8;
        SYNDROME        0x20 0x20;
        FLOW_STATISTICS 0x80 bytes 0x0;
    }
}
