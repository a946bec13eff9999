//! Memory on the device (MEMIC).

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Capability type 0xf: memory on the device. Addresses are bytes from the start of BAR 0; `memic_operations` is a bit mask.
    device_mem_cap 0x800 {
        MEMIC                                      0x00  0x1;
        LOG_MIN_MEMIC_ALLOC_SIZE                   0x2b  0x5;
        LOG_MAX_MEMIC_ADDR_ALIGNMENT               0x38  0x8;
        MEMIC_BAR_START_ADDR                       0x40  0x40;
        MEMIC_BAR_SIZE                             0x80  0x20;
        MAX_MEMIC_SIZE                             0xa0  0x20;
        STEERING_SW_ICM_START_ADDRESS              0xc0  0x40;
        LOG_HEADER_MODIFY_SW_ICM_SIZE              0x108 0x8;
        LOG_SW_ICM_ALLOC_GRANULARITY               0x112 0x6;
        LOG_STEERING_SW_ICM_SIZE                   0x118 0x8;
        LOG_INDIRECT_ENCAP_SW_ICM_SIZE             0x120 0x8;
        LOG_HEADER_MODIFY_PATTERN_SW_ICM_SIZE      0x138 0x8;
        HEADER_MODIFY_SW_ICM_START_ADDRESS         0x140 0x40;
        HEADER_MODIFY_PATTERN_SW_ICM_START_ADDRESS 0x1c0 0x40;
        MEMIC_OPERATIONS                           0x200 0x20;
        INDIRECT_ENCAP_SW_ICM_START_ADDRESS        0x240 0x40;
    }

    /// Input of ALLOC_MEMIC. `log_memic_addr_alignment` is log2 of 64 bytes; the range is where in BAR 0 the memory may be.
    alloc_memic_in 0x100 {
        OPCODE                   0x00 0x10;
        OP_MOD                   0x30 0x10;
        LOG_MEMIC_ADDR_ALIGNMENT 0x78 0x8;
        RANGE_START_ADDR         0x80 0x40;
        RANGE_SIZE               0xc0 0x20;
        MEMIC_SIZE               0xe0 0x20;
    }

    /// Output of ALLOC_MEMIC.
    alloc_memic_out 0x80 {
        STATUS           0x00 0x8;
        SYNDROME         0x20 0x20;
        MEMIC_START_ADDR 0x40 0x40;
    }

    /// Input of DEALLOC_MEMIC.
    dealloc_memic_in 0x100 {
        OPCODE           0x00 0x10;
        OP_MOD           0x30 0x10;
        MEMIC_START_ADDR 0x80 0x40;
        MEMIC_SIZE       0xc0 0x20;
    }

    /// Output of DEALLOC_MEMIC.
    dealloc_memic_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of MODIFY_MEMIC. `memic_operation_type` is a bit's number in `memic_operations`.
    modify_memic_in 0x200 {
        OPCODE               0x00 0x10;
        UID                  0x10 0x10;
        OP_MOD               0x30 0x10;
        MEMIC_OPERATION_TYPE 0x78 0x8;
        MEMIC_START_ADDR     0x80 0x40;
    }

    /// Output of MODIFY_MEMIC: where in BAR 0 accesses are operations.
    modify_memic_out 0x200 {
        STATUS               0x00 0x8;
        SYNDROME             0x20 0x20;
        MEMIC_OPERATION_ADDR 0x80 0x40;
    }
}

layout! {
    RDMA_CORE = RdmaCore("tests/test_mlx5_dm_ops.py");

    /// What [`device_mem_cap`] has where Linux's header is silent: how wide an operation's accesses can be, as bit masks of bytes.
    device_mem_cap_operations 0x800 {
        INCREMENT_SIZE_SUP    0x20 0x8;
        TEST_AND_SET_SIZE_SUP 0x30 0x8;
    }
}
