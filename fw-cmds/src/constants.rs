//! Numbers that belong to no field: sizes, offsets in a UAR page, operation modifiers, states.

/// Declares constants of one kernel header in `include/linux/mlx5/`, and the list of them by the
/// name the header has. Each row is `NAME: type = value, "KERNEL_NAME";`.
macro_rules! constants {
    (
        $list:ident = $header:literal;
        $( $(#[$doc:meta])* $name:ident: $type:ty = $value:expr, $kernel:literal; )+
    ) => {
        $(
            $(#[$doc])*
            #[doc = concat!("\n\nSource: `", $kernel, "` of `", $header, "`.")]
            pub const $name: $type = $value;
        )+

        #[doc = concat!("The constants above that are from `", $header, "`, by their names there.")]
        pub const $list: &[(&str, u64)] = &[$(($kernel, $name as u64)),+];
    };
}

constants! {
    DEVICE = "device.h";

    /// Entries a command queue can have.
    MAX_COMMANDS: usize = 32, "MLX5_MAX_COMMANDS";
    /// Bytes of a command that one mailbox block carries.
    CMD_DATA_BLOCK_SIZE: usize = 512, "MLX5_CMD_DATA_BLOCK_SIZE";
    /// `type` of a command queue entry.
    PCI_CMD_XPORT: u8 = 7, "MLX5_PCI_CMD_XPORT";
    /// log2 of the device's page size in bytes.
    ADAPTER_PAGE_SHIFT: u32 = 12, "MLX5_ADAPTER_PAGE_SHIFT";
    /// The device's page size in bytes, whatever the host's is.
    ADAPTER_PAGE_SIZE: usize = 4096, "MLX5_ADAPTER_PAGE_SIZE";
    /// BlueFlame registers of a UAR page.
    BFREGS_PER_UAR: usize = 4, "MLX5_BFREGS_PER_UAR";
    /// Bit of `rfr_severity` in the health buffer: a cold reset is required.
    CRR_BIT_OFFSET: u32 = 6, "MLX5_CRR_BIT_OFFSET";
    /// Bit of `rfr_severity` in the health buffer: the firmware asks for a reset.
    RFR_BIT_OFFSET: u32 = 7, "MLX5_RFR_BIT_OFFSET";
    /// Bit of `initializing`: the firmware can be reset by the driver.
    FW_RESET_SUPPORTED_OFFSET: u32 = 30, "MLX5_FW_RESET_SUPPORTED_OFFSET";
    /// Lowest bit of the interface state (3 bits) in `cmdq_addr_l_sz`.
    NIC_IFC_OFFSET: u32 = 8, "MLX5_NIC_IFC_OFFSET";
    /// `sub_type` of a port event: the port is down.
    PORT_CHANGE_SUBTYPE_DOWN: u8 = 1, "MLX5_PORT_CHANGE_SUBTYPE_DOWN";
    /// `sub_type` of a port event: the port is active.
    PORT_CHANGE_SUBTYPE_ACTIVE: u8 = 4, "MLX5_PORT_CHANGE_SUBTYPE_ACTIVE";
    /// `sub_type` of a port event: the port is initialised, and waits for its subnet manager.
    PORT_CHANGE_SUBTYPE_INITIALIZED: u8 = 5, "MLX5_PORT_CHANGE_SUBTYPE_INITIALIZED";
    /// Opcode of a send request that does nothing.
    OPCODE_NOP: u8 = 0x00, "MLX5_OPCODE_NOP";
    /// Opcode of a send request: a packet.
    OPCODE_SEND: u8 = 0x0a, "MLX5_OPCODE_SEND";
    /// Opcode of a send request: packets of one segment each.
    OPCODE_LSO: u8 = 0x0e, "MLX5_OPCODE_LSO";
    /// `grp` of the register PPCNT: those of IEEE 802.3.
    IEEE_802_3_COUNTERS_GROUP: u8 = 0x0, "MLX5_IEEE_802_3_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: those of RFC 2863.
    RFC_2863_COUNTERS_GROUP: u8 = 0x1, "MLX5_RFC_2863_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: those of RFC 2819.
    RFC_2819_COUNTERS_GROUP: u8 = 0x2, "MLX5_RFC_2819_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: those of RFC 3635.
    RFC_3635_COUNTERS_GROUP: u8 = 0x3, "MLX5_RFC_3635_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: more of Ethernet.
    ETHERNET_EXTENDED_COUNTERS_GROUP: u8 = 0x5, "MLX5_ETHERNET_EXTENDED_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: by priority.
    PER_PRIORITY_COUNTERS_GROUP: u8 = 0x10, "MLX5_PER_PRIORITY_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: by traffic class.
    PER_TRAFFIC_CLASS_COUNTERS_GROUP: u8 = 0x11, "MLX5_PER_TRAFFIC_CLASS_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: of the physical layer.
    PHYSICAL_LAYER_COUNTERS_GROUP: u8 = 0x12, "MLX5_PHYSICAL_LAYER_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: InfiniBand's PortCounters.
    INFINIBAND_PORT_COUNTERS_GROUP: u8 = 0x20, "MLX5_INFINIBAND_PORT_COUNTERS_GROUP";
    /// `grp` of the register PPCNT: InfiniBand's PortCountersExtended.
    INFINIBAND_EXTENDED_PORT_COUNTERS_GROUP: u8 = 0x21, "MLX5_INFINIBAND_EXTENDED_PORT_COUNTERS_GROUP";
    /// `admin_state` of a virtual port: as the physical port.
    VPORT_ADMIN_AUTO: u8 = 2, "MLX5_VPORT_ADMIN_STATE_AUTO";
    /// `allowed_list_type` of a virtual port: unicast addresses.
    NIC_VPORT_LIST_UC: u8 = 0, "MLX5_NVPRT_LIST_TYPE_UC";
    /// `allowed_list_type` of a virtual port: multicast addresses.
    NIC_VPORT_LIST_MC: u8 = 1, "MLX5_NVPRT_LIST_TYPE_MC";
    /// `allowed_list_type` of a virtual port: VLANs.
    NIC_VPORT_LIST_VLAN: u8 = 2, "MLX5_NVPRT_LIST_TYPE_VLAN";
    /// `roce_l3_type` of a RoCE address: IPv4. The capability `l3_type` has bit 1 for it.
    ROCE_L3_IPV4: u8 = 0, "MLX5_ROCE_L3_TYPE_IPV4";
    /// `roce_l3_type` of a RoCE address: IPv6. The capability `l3_type` has bit 2 for it.
    ROCE_L3_IPV6: u8 = 1, "MLX5_ROCE_L3_TYPE_IPV6";
}

constants! {
    DOORBELL = "doorbell.h";

    /// Offset of the first BlueFlame register in a UAR page, in bytes.
    BF_OFFSET: u64 = 0x800, "MLX5_BF_OFFSET";
    /// Offset of the doorbell that arms a completion queue in a UAR page, in bytes; 8 bytes wide.
    CQ_DOORBELL: u64 = 0x20, "MLX5_CQ_DOORBELL";
}

constants! {
    DRIVER = "driver.h";

    /// `ownership` of a command queue entry: it is the driver's.
    CMD_OWNER_SW: u8 = 0, "CMD_OWNER_SW";
    /// `ownership` of a command queue entry: it is the device's.
    CMD_OWNER_HW: u8 = 1, "CMD_OWNER_HW";
    /// `register_id` of ACCESS_REG: quality-of-service registers that there are.
    REG_QCAM: u16 = 0x4019, "MLX5_REG_QCAM";
    /// `register_id` of ACCESS_REG: path MTU.
    REG_PMTU: u16 = 0x5003, "MLX5_REG_PMTU";
    /// `register_id` of ACCESS_REG: port type and speed.
    REG_PTYS: u16 = 0x5004, "MLX5_REG_PTYS";
    /// `register_id` of ACCESS_REG: whether a port is up.
    REG_PAOS: u16 = 0x5006, "MLX5_REG_PAOS";
    /// `register_id` of ACCESS_REG: pause frames of a port.
    REG_PFCC: u16 = 0x5007, "MLX5_REG_PFCC";
    /// `register_id` of ACCESS_REG: counters of a port.
    REG_PPCNT: u16 = 0x5008, "MLX5_REG_PPCNT";
    /// `register_id` of ACCESS_REG: virtual lanes of a port.
    REG_PVLC: u16 = 0x500f, "MLX5_REG_PVLC";
    /// `register_id` of ACCESS_REG: port registers that there are.
    REG_PCAM: u16 = 0x507f, "MLX5_REG_PCAM";
    /// `register_id` of ACCESS_REG: description of the node, 64 bytes of text.
    REG_NODE_DESC: u16 = 0x6001, "MLX5_REG_NODE_DESC";
    /// `register_id` of ACCESS_REG: byte order of the host.
    REG_HOST_ENDIANNESS: u16 = 0x7004, "MLX5_REG_HOST_ENDIANNESS";
    /// `register_id` of ACCESS_REG: management registers that there are.
    REG_MCAM: u16 = 0x907f, "MLX5_REG_MCAM";
    /// `register_id` of ACCESS_REG: default timeouts.
    REG_DTOR: u16 = 0xc00e, "MLX5_REG_DTOR";

    /// `admin_status` and `oper_status` of the register PAOS: up.
    PORT_UP: u8 = 1, "MLX5_PORT_UP";
    /// `admin_status` and `oper_status` of the register PAOS: down.
    PORT_DOWN: u8 = 2, "MLX5_PORT_DOWN";
    /// `proto_mask` of the register PTYS: InfiniBand.
    PTYS_IB: u8 = 1 << 0, "MLX5_PTYS_IB";
    /// `proto_mask` of the register PTYS: Ethernet.
    PTYS_EN: u8 = 1 << 2, "MLX5_PTYS_EN";
    /// `vport_state_policy` of a virtual port: its state is that of the physical port.
    POLICY_FOLLOW: u8 = 2, "MLX5_POLICY_FOLLOW";
}

constants! {
    PORT = "port.h";

    /// Link width in the register PTYS: one lane.
    PTYS_WIDTH_1X: u16 = 1 << 0, "MLX5_PTYS_WIDTH_1X";
    /// Link width in the register PTYS: two lanes.
    PTYS_WIDTH_2X: u16 = 1 << 1, "MLX5_PTYS_WIDTH_2X";
    /// Link width in the register PTYS: four lanes.
    PTYS_WIDTH_4X: u16 = 1 << 2, "MLX5_PTYS_WIDTH_4X";
    /// Link width in the register PTYS: eight lanes.
    PTYS_WIDTH_8X: u16 = 1 << 3, "MLX5_PTYS_WIDTH_8X";
    /// Link width in the register PTYS: twelve lanes.
    PTYS_WIDTH_12X: u16 = 1 << 4, "MLX5_PTYS_WIDTH_12X";
    /// Bit number in `eth_proto_*` of the register PTYS: 10 Gb/s over copper.
    ETH_10GBASE_CR: u32 = 12, "MLX5E_10GBASE_CR";
    /// Bit number in `eth_proto_*` of the register PTYS: 25 Gb/s over copper.
    ETH_25GBASE_CR: u32 = 27, "MLX5E_25GBASE_CR";
    /// Bit number in `eth_proto_*` of the register PTYS: 40 Gb/s over four lanes of copper.
    ETH_40GBASE_CR4: u32 = 6, "MLX5E_40GBASE_CR4";
    /// Bit number in `eth_proto_*` of the register PTYS: 50 Gb/s over two lanes of copper.
    ETH_50GBASE_CR2: u32 = 30, "MLX5E_50GBASE_CR2";
    /// Bit number in `eth_proto_*` of the register PTYS: 100 Gb/s over four lanes of copper.
    ETH_100GBASE_CR4: u32 = 20, "MLX5E_100GBASE_CR4";
}

constants! {
    CQ = "cq.h";

    /// Bit of `modify_field_select`: `cq_period`.
    CQ_MODIFY_PERIOD: u32 = 1 << 0, "MLX5_CQ_MODIFY_PERIOD";
    /// Bit of `modify_field_select`: `cq_max_count`.
    CQ_MODIFY_COUNT: u32 = 1 << 1, "MLX5_CQ_MODIFY_COUNT";
    /// Bit of `modify_field_select`: `oi`.
    CQ_MODIFY_OVERRUN: u32 = 1 << 2, "MLX5_CQ_MODIFY_OVERRUN";
    /// Bit of `modify_field_select`: `cq_period_mode`.
    CQ_MODIFY_PERIOD_MODE: u32 = 1 << 4, "MLX5_CQ_MODIFY_PERIOD_MODE";
    /// `cqe_sz` of a completion queue context: 64 bytes that take the room of 128.
    CQE_SIZE_128_PAD: u8 = 2, "CQE_STRIDE_128_PAD";
    /// Opcode of a completion: a send request was carried out.
    CQE_REQ: u8 = 0, "MLX5_CQE_REQ";
    /// Opcode of a completion: a send request wasn't carried out.
    CQE_REQ_ERR: u8 = 13, "MLX5_CQE_REQ_ERR";
    /// `syndrome` of such a completion: the request isn't one that its queue can carry out.
    CQE_SYNDROME_LOCAL_QP_OP_ERR: u8 = 0x02, "MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR";
    /// Bit of the first dword of a completion queue's doorbell: only completions that ask for it raise the event.
    CQ_DB_SOLICITED: u32 = 1 << 24, "MLX5_CQ_DB_REQ_NOT_SOL";
    /// Bit of `resize_field_select`: `log_cq_size`.
    CQ_RESIZE_LOG_SIZE: u32 = 1 << 0, "MLX5_MODIFY_CQ_MASK_LOG_SIZE";
    /// Bit of `resize_field_select`: `page_offset`.
    CQ_RESIZE_PAGE_OFFSET: u32 = 1 << 1, "MLX5_MODIFY_CQ_MASK_PG_OFFSET";
    /// Bit of `resize_field_select`: `log_page_size`.
    CQ_RESIZE_PAGE_SIZE: u32 = 1 << 2, "MLX5_MODIFY_CQ_MASK_PG_SIZE";
}

constants! {
    QP = "qp.h";

    /// `rq_type` of a queue pair context: a receive queue of its own.
    RQ_TYPE_OWN: u8 = 0, "MLX5_NON_ZERO_RQ";
    /// `rq_type` of a queue pair context: a shared receive queue.
    RQ_TYPE_SRQ: u8 = 1, "MLX5_SRQ_RQ";
    /// `rq_type` of a queue pair context: no receive queue.
    RQ_TYPE_NONE: u8 = 3, "MLX5_ZERO_LEN_RQ";
    /// Bits of `fm_ce_se` of a send request: a completion is wanted.
    WQE_CQ_UPDATE: u8 = 2 << 2, "MLX5_WQE_CTRL_CQ_UPDATE";
    /// Bytes of an entry of a send queue.
    SEND_WQE_BB: u64 = 64, "MLX5_SEND_WQE_BB";
}

constants! {
    IFC = "mlx5_ifc.h";

    /// `uid` of resources that every user context may name.
    SHARED_RESOURCE_UID: u16 = 0xffff, "MLX5_SHARED_RESOURCE_UID";

    /// `op_mod` of QUERY_PAGES: pages to boot with.
    QUERY_PAGES_BOOT: u16 = 1, "MLX5_QUERY_PAGES_IN_OP_MOD_BOOT_PAGES";
    /// `op_mod` of QUERY_PAGES: pages to initialise with.
    QUERY_PAGES_INIT: u16 = 2, "MLX5_QUERY_PAGES_IN_OP_MOD_INIT_PAGES";
    /// `op_mod` of QUERY_PAGES: pages to go on with.
    QUERY_PAGES_REGULAR: u16 = 3, "MLX5_QUERY_PAGES_IN_OP_MOD_REGULAR_PAGES";
    /// `op_mod` of MANAGE_PAGES: the driver has no pages to give.
    MANAGE_PAGES_CANT_GIVE: u16 = 0, "MLX5_MANAGE_PAGES_IN_OP_MOD_ALLOCATION_FAIL";
    /// `op_mod` of MANAGE_PAGES: the driver gives pages.
    MANAGE_PAGES_GIVE: u16 = 1, "MLX5_MANAGE_PAGES_IN_OP_MOD_ALLOCATION_SUCCESS";
    /// `op_mod` of MANAGE_PAGES: the driver takes pages back.
    MANAGE_PAGES_TAKE: u16 = 2, "MLX5_MANAGE_PAGES_IN_OP_MOD_HCA_RETURN_PAGES";
    /// `op_mod` of ACCESS_REG: write the register.
    ACCESS_REGISTER_WRITE: u16 = 0, "MLX5_ACCESS_REGISTER_IN_OP_MOD_WRITE";
    /// `op_mod` of ACCESS_REG: read the register.
    ACCESS_REGISTER_READ: u16 = 1, "MLX5_ACCESS_REGISTER_IN_OP_MOD_READ";

    /// `field_select` of a virtual port's context: its port GUID.
    HCA_VPORT_SEL_PORT_GUID: u32 = 1 << 0, "MLX5_HCA_VPORT_SEL_PORT_GUID";
    /// `field_select` of a virtual port's context: its node GUID.
    HCA_VPORT_SEL_NODE_GUID: u32 = 1 << 1, "MLX5_HCA_VPORT_SEL_NODE_GUID";
    /// `field_select` of a virtual port's context: `vport_state_policy`.
    HCA_VPORT_SEL_STATE_POLICY: u32 = 1 << 2, "MLX5_HCA_VPORT_SEL_STATE_POLICY";
    /// Flow counters for each unit of `flow_counter_bulk` of ALLOC_FLOW_COUNTER.
    FC_BULK_SIZE_FACTOR: u32 = 128, "MLX5_FC_BULK_SIZE_FACTOR";

    /// `profile` of TEARDOWN_HCA: everything has been destroyed already.
    TEARDOWN_GRACEFUL_CLOSE: u16 = 0, "MLX5_TEARDOWN_HCA_IN_PROFILE_GRACEFUL_CLOSE";
    /// `profile` of TEARDOWN_HCA: close with resources still there.
    TEARDOWN_FORCE_CLOSE: u16 = 1, "MLX5_TEARDOWN_HCA_IN_PROFILE_FORCE_CLOSE";
    /// `profile` of TEARDOWN_HCA: get ready for a fast close by the interface state.
    TEARDOWN_PREPARE_FAST: u16 = 2, "MLX5_TEARDOWN_HCA_IN_PROFILE_PREPARE_FAST_TEARDOWN";

    /// Interface state: full driver.
    NIC_INTERFACE_FULL_DRIVER: u8 = 0, "MLX5_INITIAL_SEG_NIC_INTERFACE_FULL_DRIVER";
    /// Interface state: disabled.
    NIC_INTERFACE_DISABLED: u8 = 1, "MLX5_INITIAL_SEG_NIC_INTERFACE_DISABLED";
    /// Interface state: a driver that uses no memory of the host.
    NIC_INTERFACE_NO_DRAM: u8 = 2, "MLX5_INITIAL_SEG_NIC_INTERFACE_NO_DRAM_NIC";
    /// Interface state: the driver asks for a reset.
    NIC_INTERFACE_SW_RESET: u8 = 7, "MLX5_INITIAL_SEG_NIC_INTERFACE_SW_RESET";

    /// `status` of an event queue context: all is well.
    EQC_STATUS_OK: u8 = 0, "MLX5_EQC_STATUS_OK";
    /// `status` of an event queue context: an entry could not be written.
    EQC_STATUS_EQ_WRITE_FAILURE: u8 = 0xa, "MLX5_EQC_STATUS_EQ_WRITE_FAILURE";
    /// `st` of an event queue context: the next event raises the interrupt.
    EQC_ST_ARMED: u8 = 0x9, "MLX5_EQC_ST_ARMED";
    /// `st` of an event queue context: the interrupt was raised, or the queue was never armed.
    EQC_ST_FIRED: u8 = 0xa, "MLX5_EQC_ST_FIRED";

    /// `op_mod` of MODIFY_CQ: change moderation, event queue or overrun.
    MODIFY_CQ_FIELDS: u16 = 0, "MLX5_MODIFY_CQ_IN_OP_MOD_MODIFY_CQ";
    /// `op_mod` of MODIFY_CQ: change the buffer.
    MODIFY_CQ_RESIZE: u16 = 1, "MLX5_MODIFY_CQ_IN_OP_MOD_RESIZE_CQ";
    /// `cqe_sz` of a completion queue context: 64 bytes.
    CQE_SIZE_64: u8 = 0, "MLX5_CQC_CQE_SZ_64_BYTES";
    /// `cqe_sz` of a completion queue context: 128 bytes.
    CQE_SIZE_128: u8 = 1, "MLX5_CQC_CQE_SZ_128_BYTES";
    /// `st` of a completion queue context: the next completion that was asked to be told raises the event.
    CQC_ST_SOLICITED: u8 = 0x6, "MLX5_CQC_ST_SOLICITED_NOTIFICATION_REQUEST_ARMED";
    /// `st` of a completion queue context: the next completion raises the event.
    CQC_ST_ARMED: u8 = 0x9, "MLX5_CQC_ST_NOTIFICATION_REQUEST_ARMED";
    /// `st` of a completion queue context: the event was raised, or the queue was never armed.
    CQC_ST_FIRED: u8 = 0xa, "MLX5_CQC_ST_FIRED";
    /// `status` of a completion queue context: it works.
    CQC_STATUS_OK: u8 = 0x0, "MLX5_CQC_STATUS_OK";
    /// `status` of a completion queue context: an entry found no room.
    CQC_STATUS_OVERFLOW: u8 = 0x9, "MLX5_CQC_STATUS_CQ_OVERFLOW";
    /// `op_mod` of ARM_RQ: a shared receive queue.
    ARM_RQ_SRQ: u16 = 1, "MLX5_ARM_RQ_IN_OP_MOD_SRQ";
    /// `op_mod` of ARM_XRC_SRQ.
    ARM_XRC_SRQ: u16 = 1, "MLX5_ARM_XRC_SRQ_IN_OP_MOD_XRC_SRQ";
    /// `state` of a receive memory pool: ready.
    RMPC_STATE_RDY: u8 = 1, "MLX5_RMPC_STATE_RDY";
    /// `state` of a receive memory pool: in error.
    RMPC_STATE_ERR: u8 = 3, "MLX5_RMPC_STATE_ERR";
    /// `wq_type` of a work queue: entries are linked by their index.
    WQ_TYPE_LINKED_LIST: u8 = 0, "MLX5_WQ_TYPE_LINKED_LIST";
    /// `wq_type` of a work queue: entries are used in turn.
    WQ_TYPE_CYCLIC: u8 = 1, "MLX5_WQ_TYPE_CYCLIC";
    /// `mtu` of a queue pair context: 256 bytes.
    QPC_MTU_256: u8 = 1, "MLX5_QPC_MTU_256_BYTES";
    /// `mtu` of a queue pair context: 4096 bytes.
    QPC_MTU_4K: u8 = 5, "MLX5_QPC_MTU_4K_BYTES";

    /// `scheduling_hierarchy`: elements of the e-switch.
    SCHEDULING_HIERARCHY_E_SWITCH: u8 = 2, "SCHEDULING_HIERARCHY_E_SWITCH";
    /// `scheduling_hierarchy`: elements of the function's own queues.
    SCHEDULING_HIERARCHY_NIC: u8 = 3, "SCHEDULING_HIERARCHY_NIC";
    /// `element_type` of a scheduling element: shares bandwidth among others.
    SCHEDULING_ELEMENT_TSAR: u8 = 0, "SCHEDULING_CONTEXT_ELEMENT_TYPE_TSAR";
    /// `element_type` of a scheduling element: a leaf, to which queues are attached.
    SCHEDULING_ELEMENT_QUEUE_GROUP: u8 = 4, "SCHEDULING_CONTEXT_ELEMENT_TYPE_QUEUE_GROUP";
    /// Bit of `modify_bitmask` of a scheduling element: `bw_share`.
    SCHEDULING_MODIFY_BW_SHARE: u64 = 1, "MODIFY_SCHEDULING_ELEMENT_IN_MODIFY_BITMASK_BW_SHARE";
    /// Bit of `modify_bitmask` of a scheduling element: `max_average_bw`.
    SCHEDULING_MODIFY_MAX_AVERAGE_BW: u64 = 2, "MODIFY_SCHEDULING_ELEMENT_IN_MODIFY_BITMASK_MAX_AVERAGE_BW";

    /// `op_mod` of MODIFY_MEMIC: make a place for an operation.
    MODIFY_MEMIC_ALLOC: u16 = 0, "MLX5_MODIFY_MEMIC_OP_MOD_ALLOC";
    /// `op_mod` of MODIFY_MEMIC: give the place back.
    MODIFY_MEMIC_DEALLOC: u16 = 1, "MLX5_MODIFY_MEMIC_OP_MOD_DEALLOC";

    /// `state` of a send queue: reset.
    SQC_STATE_RST: u8 = 0, "MLX5_SQC_STATE_RST";
    /// `state` of a send queue: ready.
    SQC_STATE_RDY: u8 = 1, "MLX5_SQC_STATE_RDY";
    /// `state` of a send queue: in error.
    SQC_STATE_ERR: u8 = 3, "MLX5_SQC_STATE_ERR";
    /// `state` of a receive queue: reset.
    RQC_STATE_RST: u8 = 0, "MLX5_RQC_STATE_RST";
    /// `state` of a receive queue: ready.
    RQC_STATE_RDY: u8 = 1, "MLX5_RQC_STATE_RDY";
    /// `state` of a receive queue: in error.
    RQC_STATE_ERR: u8 = 3, "MLX5_RQC_STATE_ERR";
    /// `mem_rq_type` of a receive queue: its entries are its own.
    RQC_INLINE: u8 = 0, "MLX5_RQC_MEM_RQ_TYPE_MEMORY_RQ_INLINE";
    /// `mem_rq_type` of a receive queue: its entries are those of a receive memory pool.
    RQC_RMP: u8 = 1, "MLX5_RQC_MEM_RQ_TYPE_MEMORY_RQ_RMP";
    /// Bit of `modify_bitmask` of MODIFY_RQ: `vsd`.
    RQ_MODIFY_VSD: u64 = 1 << 1, "MLX5_MODIFY_RQ_IN_MODIFY_BITMASK_VSD";
    /// Bit of `modify_bitmask` of MODIFY_RQ: `scatter_fcs`.
    RQ_MODIFY_SCATTER_FCS: u64 = 1 << 2, "MLX5_MODIFY_RQ_IN_MODIFY_BITMASK_SCATTER_FCS";
    /// Bit of `modify_bitmask` of MODIFY_RQ: `counter_set_id`.
    RQ_MODIFY_COUNTER: u64 = 1 << 3, "MLX5_MODIFY_RQ_IN_MODIFY_BITMASK_RQ_COUNTER_SET_ID";
    /// `disp_type` of a TIR: one receive queue.
    TIRC_DIRECT: u8 = 0, "MLX5_TIRC_DISP_TYPE_DIRECT";
    /// `disp_type` of a TIR: a table of receive queues.
    TIRC_INDIRECT: u8 = 1, "MLX5_TIRC_DISP_TYPE_INDIRECT";
    /// `rx_hash_fn` of a TIR: XOR.
    RX_HASH_XOR8: u8 = 1, "MLX5_RX_HASH_FN_INVERTED_XOR8";
    /// `rx_hash_fn` of a TIR: Toeplitz.
    RX_HASH_TOEPLITZ: u8 = 2, "MLX5_RX_HASH_FN_TOEPLITZ";

    /// `table_miss_action` of a flow table: what its type does by default.
    FLOW_MISS_DEFAULT: u8 = 0, "MLX5_FLOW_TABLE_MISS_ACTION_DEF";
    /// `table_miss_action` of a flow table: to another table.
    FLOW_MISS_FORWARD: u8 = 1, "MLX5_FLOW_TABLE_MISS_ACTION_FWD";
    /// Bit of `modify_field_select` of MODIFY_FLOW_TABLE: what a miss meets.
    MODIFY_FLOW_TABLE_MISS: u16 = 1 << 0, "MLX5_MODIFY_FLOW_TABLE_MISS_TABLE_ID";
    /// `destination_type`: a flow table.
    FLOW_DESTINATION_TABLE: u8 = 1, "MLX5_IFC_FLOW_DESTINATION_TYPE_FLOW_TABLE";
    /// `destination_type`: a TIR.
    FLOW_DESTINATION_TIR: u8 = 2, "MLX5_IFC_FLOW_DESTINATION_TYPE_TIR";
    /// Bit of `action` of a flow: let it pass.
    FLOW_ALLOW: u16 = 0x1, "MLX5_FLOW_CONTEXT_ACTION_ALLOW";
    /// Bit of `action` of a flow: drop it.
    FLOW_DROP: u16 = 0x2, "MLX5_FLOW_CONTEXT_ACTION_DROP";
    /// Bit of `action` of a flow: to the list of destinations.
    FLOW_FORWARD: u16 = 0x4, "MLX5_FLOW_CONTEXT_ACTION_FWD_DEST";
    /// Bit of `action` of a flow: count it by the list of counters.
    FLOW_COUNT: u16 = 0x8, "MLX5_FLOW_CONTEXT_ACTION_COUNT";
    /// Bit number in `modify_enable_mask` of SET_FLOW_TABLE_ENTRY: `action`.
    FLOW_MODIFY_ACTION: u8 = 0, "MLX5_SET_FTE_MODIFY_ENABLE_MASK_ACTION";
    /// Bit number in `modify_enable_mask` of SET_FLOW_TABLE_ENTRY: `flow_tag`.
    FLOW_MODIFY_TAG: u8 = 1, "MLX5_SET_FTE_MODIFY_ENABLE_MASK_FLOW_TAG";
    /// Bit number in `modify_enable_mask` of SET_FLOW_TABLE_ENTRY: the list of destinations.
    FLOW_MODIFY_DESTINATIONS: u8 = 2, "MLX5_SET_FTE_MODIFY_ENABLE_MASK_DESTINATION_LIST";
    /// Bit number in `modify_enable_mask` of SET_FLOW_TABLE_ENTRY: the list of counters.
    FLOW_MODIFY_COUNTERS: u8 = 3, "MLX5_SET_FTE_MODIFY_ENABLE_MASK_FLOW_COUNTERS";

    /// `op_mod` of QUERY_VPORT_STATE and MODIFY_VPORT_STATE: the function's virtual port.
    VPORT_STATE_VNIC: u16 = 0, "MLX5_VPORT_STATE_OP_MOD_VNIC_VPORT";

    /// `port_type` of the general capabilities: InfiniBand.
    PORT_TYPE_IB: u8 = 0, "MLX5_CAP_PORT_TYPE_IB";
    /// `port_type` of the general capabilities: Ethernet.
    PORT_TYPE_ETH: u8 = 1, "MLX5_CAP_PORT_TYPE_ETH";

    /// `cap` of a user context: raw packets may be sent.
    UCTX_CAP_RAW_TX: u32 = 1 << 0, "MLX5_UCTX_CAP_RAW_TX";
    /// `cap` of a user context: internal device resources may be used.
    UCTX_CAP_INTERNAL_DEV_RES: u32 = 1 << 1, "MLX5_UCTX_CAP_INTERNAL_DEV_RES";
    /// `cap` of a user context: RDMA control of this function.
    UCTX_CAP_RDMA_CTRL: u32 = 1 << 3, "MLX5_UCTX_CAP_RDMA_CTRL";
    /// `cap` of a user context: RDMA control of other functions.
    UCTX_CAP_RDMA_CTRL_OTHER_VHCA: u32 = 1 << 4, "MLX5_UCTX_CAP_RDMA_CTRL_OTHER_VHCA";

    /// `general_obj_types` of the general capabilities: VIRTIO_NET_Q objects can be created, and
    /// the VirtIO emulation page is there.
    GENERAL_OBJ_TYPES_VIRTIO_NET_Q: u64 = 1 << 13, "MLX5_GENERAL_OBJ_TYPES_CAP_VIRTIO_NET_Q";
}

/// `memic_operation_type`: a byte that is written is added to what is there. Source: `MEMIC_ATOMIC_INCREMENT` of rdma-core's
/// `tests/test_mlx5_dm_ops.py`.
pub const MEMIC_INCREMENT: u8 = 0;

/// `memic_operation_type`: a byte that is read becomes 1. Source: `MEMIC_ATOMIC_TEST_AND_SET` of rdma-core's
/// `tests/test_mlx5_dm_ops.py`.
pub const MEMIC_TEST_AND_SET: u8 = 1;

/// Bytes of a command that the queue entry itself carries. Source: `in` and `out` of `struct
/// mlx5_cmd_layout` in `device.h`.
pub const CMD_INLINE_SIZE: usize = crate::layout::cmd_layout::IN.len as usize;

/// Bit of `modify_field_select` of MODIFY_CQ: `c_eqn`. Source: `CmdInputFieldSelectModifyCqFields` of
/// rdma-core's `tests/mlx5_prm_structs.py`.
pub const CQ_MODIFY_EQN: u32 = 1 << 3;

/// Alignment of a mailbox block in bytes: the low 10 bits of its address are reserved. Source:
/// `next_pointer_31_10` of `mlx5_ifc_cmd_if_box_bits` in `mlx5_ifc.h`.
pub const CMD_MAILBOX_ALIGN: u64 = 1 << 10;

/// `cmd_interface_rev` that a driver expects. Source: `CMD_IF_REV` of
/// `drivers/net/ethernet/mellanox/mlx5/core/cmd.c`.
pub const CMD_IF_REV: u16 = 5;

/// Offset in a UAR page, in bytes, of the doorbell that sets the consumer index of an event queue
/// and arms it: the queue's number in bits 31:24, the index in bits 23:0. Source:
/// `MLX5_EQ_DOORBEL_OFFSET` of `drivers/net/ethernet/mellanox/mlx5/core/eq.c`.
pub const EQ_DOORBELL_ARM: u64 = 0x40;

/// As [`EQ_DOORBELL_ARM`], without arming the queue. Source: `eq_update_ci` of
/// `drivers/net/ethernet/mellanox/mlx5/core/lib/eq.h`, which writes two words further on.
pub const EQ_DOORBELL: u64 = 0x48;

/// Bit of `initializing`: the function is that of the embedded CPU. Source: `MLX5_ECPU_BIT_NUM` of
/// `drivers/net/ethernet/mellanox/mlx5/core/ecpf.h`.
pub const ECPU_BIT: u32 = 23;

/// Bit of `initializing`: the firmware is not ready yet. Source: `initializing` of
/// `mlx5_ifc_initial_seg_bits` in `mlx5_ifc.h`.
pub const INITIALIZING_BIT: u32 = 31;
