//! What an Ethernet port tells of itself by commands: the context of its virtual port, its state, its RoCE addresses.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of QUERY_NIC_VPORT_CONTEXT.
    query_nic_vport_context_in 0x80 {
        OPCODE            0x00 0x10;
        OP_MOD            0x30 0x10;
        OTHER_VPORT       0x40 0x1;
        VPORT_NUMBER      0x50 0x10;
        ALLOWED_LIST_TYPE 0x65 0x3;
    }

    /// Output of QUERY_NIC_VPORT_CONTEXT.
    query_nic_vport_context_out 0x880 {
        STATUS            0x00 0x8;
        SYNDROME          0x20 0x20;
        NIC_VPORT_CONTEXT 0x80 nic_vport_context;
    }

    /// Input of MODIFY_NIC_VPORT_CONTEXT.
    modify_nic_vport_context_in 0x1000 {
        OPCODE            0x00  0x10;
        OP_MOD            0x30  0x10;
        OTHER_VPORT       0x40  0x1;
        VPORT_NUMBER      0x50  0x10;
        FIELD_SELECT      0x60  modify_nic_vport_field_select;
        NIC_VPORT_CONTEXT 0x800 nic_vport_context;
    }

    /// What MODIFY_NIC_VPORT_CONTEXT changes.
    modify_nic_vport_field_select 0x20 {
        AFFILIATION         0x12 0x1;
        DISABLE_UC_LOCAL_LB 0x14 0x1;
        DISABLE_MC_LOCAL_LB 0x15 0x1;
        NODE_GUID           0x16 0x1;
        PORT_GUID           0x17 0x1;
        MIN_INLINE          0x18 0x1;
        MTU                 0x19 0x1;
        CHANGE_EVENT        0x1a 0x1;
        PROMISC             0x1b 0x1;
        PERMANENT_ADDRESS   0x1c 0x1;
        ADDRESSES_LIST      0x1d 0x1;
        ROCE_EN             0x1e 0x1;
    }

    /// Output of MODIFY_NIC_VPORT_CONTEXT.
    modify_nic_vport_context_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// An Ethernet virtual port. `allowed_list_type` says what `current_uc_mac_address` is a list of: unicast addresses (0),
    /// multicast ones (1), VLANs (2).
    nic_vport_context 0x800 {
        MIN_WQE_INLINE_MODE        0x05  0x3;
        DISABLE_MC_LOCAL_LB        0x1d  0x1;
        DISABLE_UC_LOCAL_LB        0x1e  0x1;
        ROCE_EN                    0x1f  0x1;
        ARM_CHANGE_EVENT           0x20  0x1;
        EVENT_ON_MTU               0x3b  0x1;
        EVENT_ON_PROMISC_CHANGE    0x3c  0x1;
        EVENT_ON_VLAN_CHANGE       0x3d  0x1;
        EVENT_ON_MC_ADDRESS_CHANGE 0x3e  0x1;
        EVENT_ON_UC_ADDRESS_CHANGE 0x3f  0x1;
        VHCA_ID_TYPE               0x40  0x1;
        AFFILIATION_CRITERIA       0x4c  0x4;
        AFFILIATED_VHCA_ID         0x50  0x10;
        SD_GROUP                   0x101 0x3;
        SD_GROUP_SIZE              0x108 0x8;
        MTU                        0x130 0x10;
        SYSTEM_IMAGE_GUID          0x140 0x40;
        PORT_GUID                  0x180 0x40;
        NODE_GUID                  0x1c0 0x40;
        QKEY_VIOLATION_COUNTER     0x340 0x10;
        PROMISC_UC                 0x780 0x1;
        PROMISC_MC                 0x781 0x1;
        PROMISC_ALL                0x782 0x1;
        ALLOWED_LIST_TYPE          0x785 0x3;
        ALLOWED_LIST_SIZE          0x790 0x10;
        PERMANENT_ADDRESS          0x7a0 mac_address_layout;
        CURRENT_UC_MAC_ADDRESS     0x800 [0x40];
    }

    /// A MAC address.
    mac_address_layout 0x40 {
        MAC_ADDR_47_32 0x10 0x10;
        MAC_ADDR_31_0  0x20 0x20;
    }

    /// A VLAN in the list of a [`nic_vport_context`](crate::layout::nic_vport_context).
    vlan_layout 0x40 {
        VLAN 0x14 0xc;
    }

    /// Input of QUERY_VPORT_STATE.
    query_vport_state_in 0x80 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        OTHER_VPORT  0x40 0x1;
        VPORT_NUMBER 0x50 0x10;
    }

    /// Output of QUERY_VPORT_STATE.
    query_vport_state_out 0x80 {
        STATUS       0x00 0x8;
        SYNDROME     0x20 0x20;
        MAX_TX_SPEED 0x60 0x10;
        ADMIN_STATE  0x78 0x4;
        STATE        0x7c 0x4;
    }

    /// Input of SET_ROCE_ADDRESS.
    set_roce_address_in 0x180 {
        OPCODE             0x00 0x10;
        OP_MOD             0x30 0x10;
        ROCE_ADDRESS_INDEX 0x40 0x10;
        VHCA_PORT_NUM      0x5c 0x4;
        ROCE_ADDRESS       0x80 roce_addr_layout;
    }

    /// Output of SET_ROCE_ADDRESS.
    set_roce_address_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_ROCE_ADDRESS.
    query_roce_address_in 0x80 {
        OPCODE             0x00 0x10;
        OP_MOD             0x30 0x10;
        ROCE_ADDRESS_INDEX 0x40 0x10;
        VHCA_PORT_NUM      0x5c 0x4;
    }

    /// Output of QUERY_ROCE_ADDRESS.
    query_roce_address_out 0x180 {
        STATUS       0x00 0x8;
        SYNDROME     0x20 0x20;
        ROCE_ADDRESS 0x80 roce_addr_layout;
    }

    /// An entry of the table of RoCE addresses.
    roce_addr_layout 0x100 {
        SOURCE_L3_ADDRESS 0x00 [0x8; 16];
        VLAN_VALID        0x83 0x1;
        VLAN_ID           0x84 0xc;
        SOURCE_MAC_47_32  0x90 0x10;
        SOURCE_MAC_31_0   0xa0 0x20;
        ROCE_L3_TYPE      0xd4 0x4;
        ROCE_VERSION      0xd8 0x8;
    }
}
