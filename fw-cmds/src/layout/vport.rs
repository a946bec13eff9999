//! What a port tells of itself by commands: the context of its virtual port, its GIDs and P_Keys.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of QUERY_HCA_VPORT_CONTEXT.
    query_hca_vport_context_in 0x80 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        OTHER_VPORT  0x40 0x1;
        PORT_NUM     0x4c 0x4;
        VPORT_NUMBER 0x50 0x10;
    }

    /// Output of QUERY_HCA_VPORT_CONTEXT.
    query_hca_vport_context_out 0x1080 {
        STATUS            0x00 0x8;
        SYNDROME          0x20 0x20;
        HCA_VPORT_CONTEXT 0x80 hca_vport_context;
    }

    /// Input of MODIFY_HCA_VPORT_CONTEXT.
    modify_hca_vport_context_in 0x1080 {
        OPCODE            0x00 0x10;
        OP_MOD            0x30 0x10;
        OTHER_VPORT       0x40 0x1;
        PORT_NUM          0x4c 0x4;
        VPORT_NUMBER      0x50 0x10;
        HCA_VPORT_CONTEXT 0x80 hca_vport_context;
    }

    /// Output of MODIFY_HCA_VPORT_CONTEXT.
    modify_hca_vport_context_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// An InfiniBand virtual port. `cap_mask1_field_select` is the bits of `cap_mask1` that can be changed (query) or are
    /// (modify); `vport_state` and `port_physical_state` are numbered as in IBTA's PortInfo.
    hca_vport_context 0x1000 {
        FIELD_SELECT           0x00  0x20;
        SM_VIRT_AWARE          0x100 0x1;
        HAS_SMI                0x101 0x1;
        HAS_RAW                0x102 0x1;
        GRH_REQUIRED           0x103 0x1;
        NUM_PORT_PLANE         0x108 0x8;
        PORT_PHYSICAL_STATE    0x110 0x4;
        VPORT_STATE_POLICY     0x114 0x4;
        PORT_STATE             0x118 0x4;
        VPORT_STATE            0x11c 0x4;
        SYSTEM_IMAGE_GUID      0x140 0x40;
        PORT_GUID              0x180 0x40;
        NODE_GUID              0x1c0 0x40;
        CAP_MASK1              0x200 0x20;
        CAP_MASK1_FIELD_SELECT 0x220 0x20;
        CAP_MASK2              0x240 0x20;
        CAP_MASK2_FIELD_SELECT 0x260 0x20;
        LID                    0x300 0x10;
        INIT_TYPE_REPLY        0x314 0x4;
        LMC                    0x318 0x3;
        SUBNET_TIMEOUT         0x31b 0x5;
        SM_LID                 0x320 0x10;
        SM_SL                  0x330 0x4;
        QKEY_VIOLATION_COUNTER 0x340 0x10;
        PKEY_VIOLATION_COUNTER 0x350 0x10;
    }

    /// Input of QUERY_HCA_VPORT_GID; index 0xffff asks for all.
    query_hca_vport_gid_in 0x80 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        OTHER_VPORT  0x40 0x1;
        PORT_NUM     0x4c 0x4;
        VPORT_NUMBER 0x50 0x10;
        GID_INDEX    0x70 0x10;
    }

    /// Output of QUERY_HCA_VPORT_GID; `gid` are elements of 16 bytes to the end of the command.
    query_hca_vport_gid_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        GIDS_NUM 0x60 0x10;
        GID      0x80 bytes 0x0;
    }

    /// Input of QUERY_HCA_VPORT_PKEY; index 0xffff asks for all.
    query_hca_vport_pkey_in 0x80 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        OTHER_VPORT  0x40 0x1;
        PORT_NUM     0x4c 0x4;
        VPORT_NUMBER 0x50 0x10;
        PKEY_INDEX   0x70 0x10;
    }

    /// Output of QUERY_HCA_VPORT_PKEY; each element is a [`pkey`].
    query_hca_vport_pkey_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        PKEY     0x80 [0x20];
    }

    /// A P_Key: bit 15 is full membership.
    pkey 0x20 {
        PKEY 0x10 0x10;
    }

    /// Input of QUERY_SPECIAL_CONTEXTS.
    query_special_contexts_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of QUERY_SPECIAL_CONTEXTS: memory keys with a meaning of their own.
    query_special_contexts_out 0x100 {
        STATUS                      0x00 0x8;
        SYNDROME                    0x20 0x20;
        DUMP_FILL_MKEY              0x40 0x20;
        RESD_LKEY                   0x60 0x20;
        NULL_MKEY                   0x80 0x20;
        TERMINATE_SCATTER_LIST_MKEY 0xa0 0x20;
        REPEATED_MKEY               0xc0 0x20;
    }
}
