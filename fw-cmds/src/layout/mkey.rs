//! Memory keys: commands and context.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of CREATE_MKEY.
    create_mkey_in 0x880 {
        OPCODE                           0x00  0x10;
        UID                              0x10  0x10;
        OP_MOD                           0x30  0x10;
        PG_ACCESS                        0x60  0x1;
        MKEY_UMEM_VALID                  0x61  0x1;
        DATA_DIRECT                      0x62  0x1;
        MEMORY_KEY_MKEY_ENTRY            0x80  mkc;
        TRANSLATIONS_OCTWORD_ACTUAL_SIZE 0x300 0x20;
        KLM_PAS_MTT                      0x880 [0x20];
    }

    /// Output of CREATE_MKEY.
    create_mkey_out 0x80 {
        STATUS     0x00 0x8;
        SYNDROME   0x20 0x20;
        MKEY_INDEX 0x48 0x18;
    }

    /// Input of QUERY_MKEY.
    query_mkey_in 0x80 {
        OPCODE     0x00 0x10;
        OP_MOD     0x30 0x10;
        MKEY_INDEX 0x48 0x18;
        PG_ACCESS  0x60 0x1;
    }

    /// Output of QUERY_MKEY.
    query_mkey_out 0x980 {
        STATUS                0x00  0x8;
        SYNDROME              0x20  0x20;
        MEMORY_KEY_MKEY_ENTRY 0x80  mkc;
        BSF0_KLM0_PAS_MTT0_1  0x880 [0x8; 16];
        BSF1_KLM1_PAS_MTT2_3  0x900 [0x8; 16];
    }

    /// Input of DESTROY_MKEY.
    destroy_mkey_in 0x80 {
        OPCODE     0x00 0x10;
        UID        0x10 0x10;
        OP_MOD     0x30 0x10;
        MKEY_INDEX 0x48 0x18;
    }

    /// Output of DESTROY_MKEY.
    destroy_mkey_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Memory key context. `log_page_size` is log2 of bytes; sizes of translations are in units of 16
    /// bytes.
    mkc 0x200 {
        FREE                              0x01  0x1;
        ACCESS_MODE_4_2                   0x03  0x3;
        RELAXED_ORDERING_WRITE            0x0d  0x1;
        SMALL_FENCE_ON_RDMA_READ_RESPONSE 0x0f  0x1;
        UMR_EN                            0x10  0x1;
        A                                 0x11  0x1;
        RW                                0x12  0x1;
        RR                                0x13  0x1;
        LW                                0x14  0x1;
        LR                                0x15  0x1;
        ACCESS_MODE_1_0                   0x16  0x2;
        MA_TRANSLATION_MODE               0x1a  0x2;
        QPN                               0x20  0x18;
        MKEY_7_0                          0x38  0x8;
        LENGTH64                          0x60  0x1;
        BSF_EN                            0x61  0x1;
        SYNC_UMR                          0x62  0x1;
        EXPECTED_SIGERR_COUNT             0x65  0x1;
        EN_RINVAL                         0x67  0x1;
        PD                                0x68  0x18;
        START_ADDR                        0x80  0x40;
        LEN                               0xc0  0x40;
        BSF_OCTWORD_SIZE                  0x100 0x20;
        CROSSING_TARGET_VHCA_ID           0x180 0x10;
        TRANSLATIONS_OCTWORD_SIZE         0x1a0 0x20;
        RELAXED_ORDERING_READ             0x1d9 0x1;
        LOG_PAGE_SIZE                     0x1da 0x6;
        PCIE_TPH_EN                       0x1e5 0x1;
        PCIE_TPH_PH                       0x1e6 0x2;
        PCIE_TPH_STEERING_TAG_INDEX       0x1e8 0x8;
    }
}

layout! {
    RDMA_CORE = RdmaCore("tests/mlx5_prm_structs.py");

    /// What CREATE_MKEY has instead of `klm_pas_mtt` if `mkey_umem_valid` is 1: where Linux's header
    /// is silent.
    create_mkey_umem 0x880 {
        MKEY_UMEM_ID     0x320 0x20;
        MKEY_UMEM_OFFSET 0x340 0x40;
    }
}
