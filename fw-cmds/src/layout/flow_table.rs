//! Flow tables: what becomes of packets by their headers.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_FLOW_TABLE.
    create_flow_table_in 0x200 {
        OPCODE                0x00 0x10;
        UID                   0x10 0x10;
        OP_MOD                0x30 0x10;
        OTHER_VPORT           0x40 0x1;
        OTHER_ESWITCH         0x41 0x1;
        VPORT_NUMBER          0x50 0x10;
        TABLE_TYPE            0x80 0x8;
        ESWITCH_OWNER_VHCA_ID 0x90 0x10;
        FLOW_TABLE_CONTEXT    0xc0 flow_table_context;
    }

    /// Output of CREATE_FLOW_TABLE.
    create_flow_table_out 0x80 {
        STATUS            0x00 0x8;
        ICM_ADDRESS_63_40 0x08 0x18;
        SYNDROME          0x20 0x20;
        ICM_ADDRESS_39_32 0x40 0x8;
        TABLE_ID          0x48 0x18;
        ICM_ADDRESS_31_0  0x60 0x20;
    }

    /// Flow table context. `log_size` is log2 of entries; a packet that no entry takes meets `table_miss_action`: the default
    /// (0), or the table `table_miss_id` (1).
    flow_table_context 0x140 {
        REFORMAT_EN              0x00 0x1;
        DECAP_EN                 0x01 0x1;
        SW_OWNER                 0x02 0x1;
        TERMINATION_TABLE        0x03 0x1;
        TABLE_MISS_ACTION        0x04 0x4;
        LEVEL                    0x08 0x8;
        RTC_VALID                0x10 0x1;
        LOG_SIZE                 0x18 0x8;
        TABLE_MISS_ID            0x28 0x18;
        LAG_MASTER_NEXT_TABLE_ID 0x48 0x18;
        SWS                      0xc0 bytes 0x10;
    }

    /// Input of MODIFY_FLOW_TABLE; `modify_field_select` has bit 0 for what a miss meets.
    modify_flow_table_in 0x200 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        OTHER_VPORT           0x40 0x1;
        OTHER_ESWITCH         0x41 0x1;
        VPORT_NUMBER          0x50 0x10;
        MODIFY_FIELD_SELECT   0x70 0x10;
        TABLE_TYPE            0x80 0x8;
        ESWITCH_OWNER_VHCA_ID 0x90 0x10;
        TABLE_ID              0xa8 0x18;
        FLOW_TABLE_CONTEXT    0xc0 flow_table_context;
    }

    /// Output of MODIFY_FLOW_TABLE.
    modify_flow_table_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DESTROY_FLOW_TABLE.
    destroy_flow_table_in 0x200 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        OTHER_VPORT           0x40 0x1;
        OTHER_ESWITCH         0x41 0x1;
        VPORT_NUMBER          0x50 0x10;
        TABLE_TYPE            0x80 0x8;
        ESWITCH_OWNER_VHCA_ID 0x90 0x10;
        TABLE_ID              0xa8 0x18;
    }

    /// Output of DESTROY_FLOW_TABLE.
    destroy_flow_table_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of SET_FLOW_TABLE_ROOT; `op_mod` 1 goes back to the default.
    set_flow_table_root_in 0x200 {
        OPCODE                            0x00 0x10;
        OP_MOD                            0x30 0x10;
        OTHER_VPORT                       0x40 0x1;
        OTHER_ESWITCH                     0x41 0x1;
        VPORT_NUMBER                      0x50 0x10;
        ESWITCH_OWNER_VHCA_ID             0x70 0x10;
        TABLE_TYPE                        0x80 0x8;
        TABLE_OF_OTHER_VPORT              0x8f 0x1;
        TABLE_VPORT_NUMBER                0x90 0x10;
        TABLE_ID                          0xa8 0x18;
        UNDERLAY_QPN                      0xc8 0x18;
        TABLE_ESWITCH_OWNER_VHCA_ID_VALID 0xe0 0x1;
        TABLE_ESWITCH_OWNER_VHCA_ID       0xf0 0x10;
    }

    /// Output of SET_FLOW_TABLE_ROOT.
    set_flow_table_root_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of CREATE_FLOW_GROUP. `match_criteria` is a mask, of which `match_criteria_enable` says what parts are used.
    create_flow_group_in 0x2000 {
        OPCODE                             0x00  0x10;
        OP_MOD                             0x30  0x10;
        OTHER_VPORT                        0x40  0x1;
        OTHER_ESWITCH                      0x41  0x1;
        VPORT_NUMBER                       0x50  0x10;
        TABLE_TYPE                         0x80  0x8;
        GROUP_TYPE                         0x8c  0x4;
        ESWITCH_OWNER_VHCA_ID              0x90  0x10;
        TABLE_ID                           0xa8  0x18;
        SOURCE_ESWITCH_OWNER_VHCA_ID_VALID 0xc0  0x1;
        START_FLOW_INDEX                   0xe0  0x20;
        END_FLOW_INDEX                     0x120 0x20;
        MATCH_DEFINER_ID                   0x150 0x10;
        MATCH_CRITERIA_ENABLE              0x1f8 0x8;
        MATCH_CRITERIA                     0x200 bytes 0x200;
    }

    /// Output of CREATE_FLOW_GROUP.
    create_flow_group_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        GROUP_ID 0x48 0x18;
    }

    /// Input of DESTROY_FLOW_GROUP.
    destroy_flow_group_in 0x200 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        OTHER_VPORT           0x40 0x1;
        OTHER_ESWITCH         0x41 0x1;
        VPORT_NUMBER          0x50 0x10;
        TABLE_TYPE            0x80 0x8;
        ESWITCH_OWNER_VHCA_ID 0x90 0x10;
        TABLE_ID              0xa8 0x18;
        GROUP_ID              0xc0 0x20;
    }

    /// Output of DESTROY_FLOW_GROUP.
    destroy_flow_group_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of SET_FLOW_TABLE_ENTRY; `op_mod` 1 changes what an entry does.
    set_fte_in 0x1a00 {
        OPCODE                0x00  0x10;
        OP_MOD                0x30  0x10;
        OTHER_VPORT           0x40  0x1;
        OTHER_ESWITCH         0x41  0x1;
        VPORT_NUMBER          0x50  0x10;
        TABLE_TYPE            0x80  0x8;
        ESWITCH_OWNER_VHCA_ID 0x90  0x10;
        TABLE_ID              0xa8  0x18;
        IGNORE_FLOW_LEVEL     0xc0  0x1;
        MODIFY_ENABLE_MASK    0xd8  0x8;
        FLOW_INDEX            0x100 0x20;
        FLOW_CONTEXT          0x200 flow_context;
    }

    /// Output of SET_FLOW_TABLE_ENTRY.
    set_fte_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// What an entry of a flow table takes, and what becomes of it. Behind it come `destination_list_size` times a
    /// [`dest_format_struct`](crate::layout::dest_format_struct) and `flow_counter_list_size` times the number of a counter,
    /// each of 8 bytes.
    flow_context 0x1800 {
        PUSH_VLAN              0x00   bytes 0x4;
        GROUP_ID               0x20   0x20;
        FLOW_TAG               0x48   0x18;
        ACTION                 0x70   0x10;
        EXTENDED_DESTINATION   0x80   0x1;
        UPLINK_HAIRPIN_EN      0x81   0x1;
        FLOW_SOURCE            0x82   0x2;
        ENCRYPT_DECRYPT_TYPE   0x84   0x4;
        DESTINATION_LIST_SIZE  0x88   0x18;
        FLOW_COUNTER_LIST_SIZE 0xa8   0x18;
        PACKET_REFORMAT_ID     0xc0   0x20;
        MODIFY_HEADER_ID       0xe0   0x20;
        PUSH_VLAN_2            0x100  bytes 0x4;
        ENCRYPT_DECRYPT_OBJ_ID 0x120  0x20;
        MATCH_VALUE            0x200  bytes 0x200;
        EXECUTE_ASO            0x1200 bytes 0x20;
        DESTINATION            0x1800 bytes 0x0;
    }

    /// Where packets go: a number, and of what kind.
    dest_format_struct 0x40 {
        DESTINATION_TYPE                        0x00 0x8;
        DESTINATION_ID                          0x08 0x18;
        DESTINATION_ESWITCH_OWNER_VHCA_ID_VALID 0x20 0x1;
        PACKET_REFORMAT                         0x21 0x1;
        DESTINATION_TABLE_TYPE                  0x28 0x8;
        DESTINATION_ESWITCH_OWNER_VHCA_ID       0x30 0x10;
    }

    /// A counter in the list of [`flow_context`](crate::layout::flow_context).
    flow_counter_list 0x40 {
        FLOW_COUNTER_ID 0x00 0x20;
    }

    /// Input of DELETE_FLOW_TABLE_ENTRY.
    delete_fte_in 0x200 {
        OPCODE                0x00  0x10;
        OP_MOD                0x30  0x10;
        OTHER_VPORT           0x40  0x1;
        OTHER_ESWITCH         0x41  0x1;
        VPORT_NUMBER          0x50  0x10;
        TABLE_TYPE            0x80  0x8;
        ESWITCH_OWNER_VHCA_ID 0x90  0x10;
        TABLE_ID              0xa8  0x18;
        FLOW_INDEX            0x100 0x20;
    }

    /// Output of DELETE_FLOW_TABLE_ENTRY.
    delete_fte_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }
}
