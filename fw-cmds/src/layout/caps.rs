//! QUERY_HCA_CAP, SET_HCA_CAP and the smaller capability pages.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of QUERY_HCA_CAP.
    query_hca_cap_in 0x80 {
        OPCODE           0x00 0x10;
        OP_MOD           0x30 0x10;
        OTHER_FUNCTION   0x40 0x1;
        EC_VF_FUNCTION   0x41 0x1;
        FUNCTION_ID_TYPE 0x43 0x1;
        FUNCTION_ID      0x50 0x10;
    }

    /// Output of QUERY_HCA_CAP.
    query_hca_cap_out 0x8080 {
        STATUS     0x00 0x8;
        SYNDROME   0x20 0x20;
        CAPABILITY 0x80 bytes 0x1000;
    }

    /// Input of SET_HCA_CAP.
    set_hca_cap_in 0x8080 {
        OPCODE           0x00 0x10;
        OP_MOD           0x30 0x10;
        OTHER_FUNCTION   0x40 0x1;
        EC_VF_FUNCTION   0x41 0x1;
        FUNCTION_ID_TYPE 0x43 0x1;
        FUNCTION_ID      0x50 0x10;
        CAPABILITY       0x80 bytes 0x1000;
    }

    /// Output of SET_HCA_CAP.
    set_hca_cap_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Capability type 2: on-demand paging.
    odp_cap 0x800 {
        TRANSPORT_PAGE_FAULT_SCHEME_CAP 0x00  odp_scheme_cap;
        MEMORY_PAGE_FAULT_SCHEME_CAP    0x200 odp_scheme_cap;
        MEM_PAGE_FAULT                  0x600 0x1;
    }

    /// One paging scheme of [`odp_cap`].
    odp_scheme_cap 0x200 {
        SIG           0x40  0x1;
        PAGE_PREFETCH 0x45  0x1;
        RC_ODP_CAPS   0x80  odp_per_transport_service_cap;
        UC_ODP_CAPS   0xa0  odp_per_transport_service_cap;
        UD_ODP_CAPS   0xc0  odp_per_transport_service_cap;
        XRC_ODP_CAPS  0xe0  odp_per_transport_service_cap;
        DC_ODP_CAPS   0x100 odp_per_transport_service_cap;
    }

    /// What a transport can do on pages that are not there.
    odp_per_transport_service_cap 0x20 {
        SEND        0x00 0x1;
        RECEIVE     0x01 0x1;
        WRITE       0x02 0x1;
        READ        0x03 0x1;
        ATOMIC      0x04 0x1;
        SRQ_RECEIVE 0x05 0x1;
    }

    /// Capability type 3: atomic operations.
    /// `atomic_operations` is a bit mask, the sizes are bit masks of bytes.
    atomic_caps 0x800 {
        ATOMIC_REQ_8B_ENDIANNESS_MODE = "atomic_req_8B_endianness_mode" 0x40 0x2;
        SUPPORTED_ATOMIC_REQ_8B_ENDIANNESS_MODE_1 = "supported_atomic_req_8B_endianness_mode_1" 0x46 0x1;
        ATOMIC_OPERATIONS 0x90 0x10;
        ATOMIC_SIZE_QP    0xb0 0x10;
        ATOMIC_SIZE_DC    0xd0 0x10;
    }

    /// Capability type 0x13: VirtIO emulation and its doorbell window (VAR).
    ///
    /// Units differ: `log_doorbell_stride` is log2 of bytes, `log_doorbell_bar_size` log2 of 4096-byte
    /// pages, `doorbell_bar_offset` bytes from the start of BAR 0.
    virtio_emulation_cap 0x800 {
        DESC_TUNNEL_OFFLOAD_TYPE  0x00  0x1;
        ETH_FRAME_OFFLOAD_TYPE    0x01  0x1;
        VIRTIO_VERSION_1_0        0x02  0x1;
        DEVICE_FEATURES_BITS_MASK 0x03  0xd;
        EVENT_MODE                0x10  0x8;
        VIRTIO_QUEUE_TYPE         0x18  0x8;
        MAX_TUNNEL_DESC           0x20  0x10;
        LOG_DOORBELL_STRIDE       0x33  0x5;
        LOG_DOORBELL_BAR_SIZE     0x3b  0x5;
        DOORBELL_BAR_OFFSET       0x40  0x40;
        MAX_EMULATED_DEVICES      0x80  0x8;
        MAX_NUM_VIRTIO_QUEUES     0x88  0x18;
        DESC_GROUP_MKEY_SUPPORTED 0xd3  0x1;
        FREEZE_TO_RDY_SUPPORTED   0xd4  0x1;
        UMEM_1_BUFFER_PARAM_A     0x100 0x20;
        UMEM_1_BUFFER_PARAM_B     0x120 0x20;
        UMEM_2_BUFFER_PARAM_A     0x140 0x20;
        UMEM_2_BUFFER_PARAM_B     0x160 0x20;
        UMEM_3_BUFFER_PARAM_A     0x180 0x20;
        UMEM_3_BUFFER_PARAM_B     0x1a0 0x20;
    }

    /// Capability type 0x14: events that user space may subscribe to, bit masks by event type.
    /// Bit `t % 64` of element `t / 64` stands for event type `t`.
    device_event_cap 0x200 {
        USER_AFFILIATED_EVENTS   0x00  [0x40; 4];
        USER_UNAFFILIATED_EVENTS 0x100 [0x40; 4];
    }

    /// Capability type 0x2a: TLP emulation and its response gateway pages.
    ///
    /// `log_tlp_rsp_gw_page_stride` is log2 of 4096-byte pages, `tlp_rsp_gw_pages_bar_offset` bytes from
    /// the start of BAR 0.
    tlp_dev_emu_capabilities 0x800 {
        LOG_TLP_RSP_GW_PAGE_STRIDE  0x33  0x5;
        TLP_RSP_GW_NUM_PAGES        0x10c 0x4;
        TLP_RSP_GW_PAGES_BAR_OFFSET 0x1c0 0x40;
    }
}
