//! Quality of service: packet pacing and scheduling elements. QUERY_SCHEDULING_ELEMENT is left out: the header gives its answer the
//! first words of a command.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Capability type 0xc: quality of service. Rates are in kbit/s, element and TSAR types bit masks.
    qos_cap 0x800 {
        PACKET_PACING                 0x00  0x1;
        ESW_SCHEDULING                0x01  0x1;
        ESW_BW_SHARE                  0x02  0x1;
        ESW_RATE_LIMIT                0x03  0x1;
        PACKET_PACING_BURST_BOUND     0x05  0x1;
        PACKET_PACING_TYPICAL_SIZE    0x06  0x1;
        NIC_SQ_SCHEDULING             0x08  0x1;
        NIC_BW_SHARE                  0x09  0x1;
        NIC_RATE_LIMIT                0x0a  0x1;
        PACKET_PACING_UID             0x0b  0x1;
        LOG_ESW_MAX_SCHED_DEPTH       0x0c  0x4;
        PACKET_PACING_REQ_UD          0x22  0x1;
        PACKET_PACING_REQ_UC          0x23  0x1;
        ESW_CROSS_ESW_SCHED           0x29  0x1;
        LOG_MAX_QOS_NIC_QUEUE_GROUP   0x2b  0x5;
        PACKET_PACING_MAX_RATE        0x40  0x20;
        PACKET_PACING_MIN_RATE        0x60  0x20;
        LOG_ESW_MAX_RATE_LIMIT        0x8b  0x5;
        PACKET_PACING_RATE_TABLE_SIZE 0x90  0x10;
        ESW_ELEMENT_TYPE              0xa0  0x10;
        ESW_TSAR_TYPE                 0xb0  0x10;
        MAX_QOS_PARA_VPORT            0xd0  0x10;
        MAX_TSAR_BW_SHARE             0xe0  0x20;
        NIC_ELEMENT_TYPE              0x100 0x10;
        NIC_TSAR_TYPE                 0x110 0x10;
        LOG_METER_ASO_GRANULARITY     0x123 0x5;
        LOG_METER_ASO_MAX_ALLOC       0x12b 0x5;
        LOG_MAX_NUM_METER_ASO         0x133 0x5;
    }

    /// A rate of packet pacing, in kbit/s; 0: none.
    set_pp_rate_limit_context 0x180 {
        RATE_LIMIT          0x00 0x20;
        BURST_UPPER_BOUND   0x20 0x20;
        TYPICAL_PACKET_SIZE 0x50 0x10;
    }

    /// Input of SET_PP_RATE_LIMIT. Index 0 stands for 'unlimited'.
    set_pp_rate_limit_in 0x200 {
        OPCODE           0x00 0x10;
        UID              0x10 0x10;
        OP_MOD           0x30 0x10;
        RATE_LIMIT_INDEX 0x50 0x10;
        CTX              0x80 set_pp_rate_limit_context;
    }

    /// Output of SET_PP_RATE_LIMIT.
    set_pp_rate_limit_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// A scheduling element. `element_attributes` depend on its type.
    scheduling_context 0x200 {
        ELEMENT_TYPE       0x00 0x8;
        ELEMENT_ATTRIBUTES 0x20 bytes 0x4;
        PARENT_ELEMENT_ID  0x40 0x20;
        BW_SHARE           0xa0 0x20;
        MAX_AVERAGE_BW     0xc0 0x20;
        MAX_BW_OBJ_ID      0xe0 0x20;
    }

    /// `element_attributes` of an element that shares bandwidth among others (TSAR).
    tsar_element 0x20 {
        TRAFFIC_CLASS 0x00 0x4;
        TSAR_TYPE     0x08 0x8;
    }

    /// Input of CREATE_SCHEDULING_ELEMENT.
    create_scheduling_element_in 0x400 {
        OPCODE               0x00  0x10;
        OP_MOD               0x30  0x10;
        SCHEDULING_HIERARCHY 0x40  0x8;
        SCHEDULING_CONTEXT   0x100 scheduling_context;
    }

    /// Output of CREATE_SCHEDULING_ELEMENT.
    create_scheduling_element_out 0x200 {
        STATUS                0x00 0x8;
        SYNDROME              0x20 0x20;
        SCHEDULING_ELEMENT_ID 0x80 0x20;
    }

    /// Input of DESTROY_SCHEDULING_ELEMENT.
    destroy_scheduling_element_in 0x200 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        SCHEDULING_HIERARCHY  0x40 0x8;
        SCHEDULING_ELEMENT_ID 0x60 0x20;
    }

    /// Output of DESTROY_SCHEDULING_ELEMENT.
    destroy_scheduling_element_out 0x200 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of MODIFY_SCHEDULING_ELEMENT.
    modify_scheduling_element_in 0x400 {
        OPCODE                0x00  0x10;
        OP_MOD                0x30  0x10;
        SCHEDULING_HIERARCHY  0x40  0x8;
        SCHEDULING_ELEMENT_ID 0x60  0x20;
        MODIFY_BITMASK        0xa0  0x20;
        SCHEDULING_CONTEXT    0x100 scheduling_context;
    }

    /// Output of MODIFY_SCHEDULING_ELEMENT.
    modify_scheduling_element_out 0x200 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }
}

layout! {
    RDMA_CORE = RdmaCore("providers/mlx5/mlx5_ifc.h");

    /// The body of the general object SCHEDULING_ELEMENT, behind the command's header: where Linux's header is silent.
    sched_elem 0x400 {
        MODIFY_FIELD_SELECT  0x00  0x40;
        SCHEDULING_HIERARCHY 0x40  0x8;
        SCHED_CONTEXT        0x100 scheduling_context;
    }
}
