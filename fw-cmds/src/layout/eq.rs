//! Event queues: commands, context, entries and the data of the events.

layout! {
    DEVICE = KernelDevice("device.h");

    /// Event queue entry, as the driver reads it. Bit 0 of `owner` toggles with each lap.
    eqe 0x200 {
        TYPE      0x08  0x8;
        SUB_TYPE  0x18  0x8;
        DATA      0x100 bytes 0x1c;
        SIGNATURE 0x1f0 0x8;
        OWNER     0x1f8 0x8;
    }

    /// Event data of COMMAND_INTERFACE_COMPLETION.
    eqe_cmd 0xe0 {
        VECTOR 0x00 0x20;
    }

    /// Event data of PAGE_REQUEST.
    eqe_page_req 0xe0 {
        EC_FUNCTION 0x00 0x10;
        FUNC_ID     0x10 0x10;
        NUM_PAGES   0x20 0x20;
    }

    /// Event data of a completion event.
    eqe_comp 0xe0 {
        CQN 0xc0 0x20;
    }

    /// Event data about a queue pair or shared receive queue.
    eqe_qp_srq 0xe0 {
        TYPE     0xa0 0x8;
        QP_SRQ_N 0xc0 0x20;
    }

    /// Event data of a completion queue error.
    eqe_cq_err 0x60 {
        CQN      0x00 0x20;
        SYNDROME 0x58 0x8;
    }

    /// Event data of a port change; the port is in the high nibble of `port`.
    eqe_port_state 0x48 {
        PORT 0x40 0x8;
    }

    /// Event data of OBJECT_CHANGE.
    eqe_obj_change 0x40 {
        OBJ_TYPE 0x10 0x10;
        OBJ_ID   0x20 0x20;
    }

    /// Event data of VHCA_STATE_CHANGE.
    eqe_vhca_state 0x20 {
        EC_FUNCTION 0x00 0x10;
        FUNCTION_ID 0x10 0x10;
    }
}

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_EQ.
    create_eq_in 0x880 {
        OPCODE           0x00  0x10;
        UID              0x10  0x10;
        OP_MOD           0x30  0x10;
        EQ_CONTEXT_ENTRY 0x80  eqc;
        EVENT_BITMASK    0x2c0 [0x40; 4];
        PAS              0x880 [0x40];
    }

    /// Output of CREATE_EQ.
    create_eq_out 0x80 {
        STATUS    0x00 0x8;
        SYNDROME  0x20 0x20;
        EQ_NUMBER 0x58 0x8;
    }

    /// Input of DESTROY_EQ.
    destroy_eq_in 0x80 {
        OPCODE    0x00 0x10;
        OP_MOD    0x30 0x10;
        EQ_NUMBER 0x58 0x8;
    }

    /// Output of DESTROY_EQ.
    destroy_eq_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_EQ.
    query_eq_in 0x80 {
        OPCODE    0x00 0x10;
        OP_MOD    0x30 0x10;
        EQ_NUMBER 0x58 0x8;
    }

    /// Output of QUERY_EQ.
    query_eq_out 0x880 {
        STATUS           0x00  0x8;
        SYNDROME         0x20  0x20;
        EQ_CONTEXT_ENTRY 0x80  eqc;
        EVENT_BITMASK    0x2c0 0x40;
        PAS              0x880 [0x40];
    }

    /// Event queue context. Sizes are log2 of entries and of 4096-byte pages.
    eqc 0x200 {
        STATUS           0x00  0x4;
        EC               0x0d  0x1;
        OI               0x0e  0x1;
        ST               0x14  0x4;
        PAGE_OFFSET      0x54  0x6;
        LOG_EQ_SIZE      0x63  0x5;
        UAR_PAGE         0x68  0x18;
        INTR             0xb4  0xc;
        LOG_PAGE_SIZE    0xc3  0x5;
        CONSUMER_COUNTER 0x148 0x18;
        PRODUCER_COUNTER 0x168 0x18;
    }

    /// Event queue entry, bit by bit (`mlx5_ifc_eqe_bits`; the plain name is the C struct's).
    eqe_bits 0x200 {
        EVENT_TYPE     0x08  0x8;
        EVENT_SUB_TYPE 0x18  0x8;
        EVENT_DATA     0x100 bytes 0x1c;
        SIGNATURE      0x1f0 0x8;
        OWNER          0x1ff 0x1;
    }

    /// Event data: commands have completed, bit i for queue entry i.
    cmd_inter_comp_event 0xe0 {
        COMMAND_COMPLETION_VECTOR 0x00 0x20;
    }

    /// Event data: the device asks for pages or gives some back.
    pages_req_event 0xe0 {
        FUNCTION_ID 0x10 0x10;
        NUM_PAGES   0x20 0x20;
    }

    /// Event data: the object that an affiliated event is about.
    affiliated_event_header 0x40 {
        OBJ_TYPE 0x10 0x10;
        OBJ_ID   0x20 0x20;
    }

    /// Event data: the port has changed its state.
    port_state_change_event 0xe0 {
        PORT_NUM 0x40 0x4;
    }

    /// Event data: a completion queue has entries.
    comp_event 0xe0 {
        CQ_NUMBER 0xc8 0x18;
    }

    /// Event data: a queue pair, receive or send queue.
    qp_events 0xe0 {
        TYPE        0xa0 0x8;
        QPN_RQN_SQN 0xc8 0x18;
    }
}
