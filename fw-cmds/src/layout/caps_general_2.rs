//! Capability type 0x20: general device capabilities 2, every named field of the header.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// General device capabilities 2.
    cmd_hca_cap_2 0x800 {
        MIGRATABLE                                  0x80  0x1;
        DP_ORDERING_FORCE                           0x88  0x1;
        QUERY_VUID                                  0x92  0x1;
        UMR_LOG_ENTITY_SIZE_5                       0x98  0x1;
        MAX_REFORMAT_INSERT_SIZE                    0xa0  0x8;
        MAX_REFORMAT_INSERT_OFFSET                  0xa8  0x8;
        MAX_REFORMAT_REMOVE_SIZE                    0xb0  0x8;
        MAX_REFORMAT_REMOVE_OFFSET                  0xb8  0x8;
        MIGRATION_MULTI_LOAD                        0xc8  0x1;
        MIGRATION_TRACKING_STATE                    0xc9  0x1;
        MULTIPLANE_QP_UD                            0xca  0x1;
        MIGRATION_IN_CHUNKS                         0xd0  0x1;
        SF_EQ_USAGE                                 0xd2  0x1;
        MULTIPLANE                                  0xd8  0x1;
        MIGRATION_STATE                             0xd9  0x1;
        CROSS_VHCA_OBJECT_TO_OBJECT_SUPPORTED       0xe0  0x20;
        ALLOWED_OBJECT_FOR_OTHER_VHCA_ACCESS        0x100 0x40;
        FLOW_TABLE_TYPE_2_TYPE                      0x1a0 0x8;
        FORMAT_SELECT_DW_8_6_EXT                    0x1aa 0x1;
        LOG_MIN_MKEY_ENTITY_SIZE                    0x1ab 0x5;
        GENERAL_OBJ_TYPES_127_64                    0x1c0 0x40;
        SW_VHCA_ID_VALID                            0x221 0x1;
        SW_VHCA_ID                                  0x222 0xe;
        TS_CQE_METADATA_SIZE2WQE_COUNTER            0x24b 0x5;
        FORMAT_SELECT_DW_GTPU_DW_0                  0x280 0x8;
        FORMAT_SELECT_DW_GTPU_DW_1                  0x288 0x8;
        FORMAT_SELECT_DW_GTPU_DW_2                  0x290 0x8;
        FORMAT_SELECT_DW_GTPU_FIRST_EXT_DW_0        0x298 0x8;
        GENERATE_WQE_TYPE                           0x2a0 0x20;
        MIN_MKEY_LOG_ENTITY_SIZE_FIXED_BUFFER       0x38b 0x5;
        EC_VF_VPORT_BASE                            0x390 0x10;
        MAX_MKEY_LOG_ENTITY_SIZE_FIXED_BUFFER       0x3a2 0x6;
        MAX_MKEY_LOG_ENTITY_SIZE_MTT                0x3aa 0x6;
        MAX_RQT_VHCA_ID                             0x3b0 0x10;
        PCC_IFA2                                    0x3f0 0x1;
        MIN_MKEY_LOG_ENTITY_SIZE_FIXED_BUFFER_VALID 0x401 0x1;
        RETURN_REG_ID                               0x410 0x10;
        FLOW_TABLE_HASH_TYPE                        0x43c 0x4;
        MAX_NUM_EQS_24B                             0x448 0x18;
        LOAD_BALANCE_ID                             0x5a4 0x4;
        QUERY_ADJACENT_FUNCTIONS_ID                 0x5c0 0x1;
        INGRESS_EGRESS_ESW_VPORT_CONNECT            0x5c1 0x1;
        FUNCTION_ID_TYPE_VHCA_ID                    0x5c2 0x1;
        LAG_PER_MP_GROUP                            0x5c4 0x1;
        DELEGATE_VHCA_MANAGEMENT_PROFILES           0x5d0 0x10;
        DELEGATED_VHCA_MAX                          0x5e0 0x10;
        DELEGATE_VHCA_MAX                           0x5f0 0x10;
    }
}
