//! The initialization segment: the registers at the start of BAR 0.

layout! {
    DEVICE = KernelDevice("device.h");

    /// The initialization segment, as the driver reads it.
    init_seg 0x10080 {
        FW_REV            0x00    0x20;
        CMDIF_REV_FW_SUB  0x20    0x20;
        CMDQ_ADDR_H       0x80    0x20;
        CMDQ_ADDR_L_SZ    0xa0    0x20;
        CMD_DBELL         0xc0    0x20;
        INITIALIZING      0xfe0   0x20;
        HEALTH            0x1000  health_buffer;
        CMD_EXEC_TO       0x7fc0  0x20;
        CMD_Q_INIT_TO     0x7fe0  0x20;
        INTERNAL_TIMER_H  0x8000  0x20;
        INTERNAL_TIMER_L  0x8020  0x20;
        HEALTH_COUNTER    0x8080  0x20;
        REAL_TIME_H       0x8200  0x20;
        REAL_TIME_L       0x8220  0x20;
        IEEE1588_CLK      0x10000 0x40;
        IEEE1588_CLK_TYPE 0x10040 0x20;
        CLR_INTX          0x10060 0x20;
    }

    /// Health buffer, as the driver reads it.
    /// `rfr_severity` holds the bits that [`constants`](crate::constants) names.
    health_buffer 0x200 {
        ASSERT_VAR      0x00  [0x20; 6];
        ASSERT_EXIT_PTR 0x100 0x20;
        ASSERT_CALLRA   0x120 0x20;
        TIME            0x160 0x20;
        FW_VER          0x180 0x20;
        HW_ID           0x1a0 0x20;
        RFR_SEVERITY    0x1c0 0x8;
        IRISC_INDEX     0x1e0 0x8;
        SYND            0x1e8 0x8;
        EXT_SYND        0x1f0 0x10;
    }
}

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// The initialization segment, bit by bit.
    ///
    /// The driver takes 3 bits (10:8 of `cmdq_addr_l_sz`) for `nic_interface`, this header 2.
    initial_seg 0x20060 {
        FW_REV_MINOR            0x00   0x10;
        FW_REV_MAJOR            0x10   0x10;
        CMD_INTERFACE_REV       0x20   0x10;
        FW_REV_SUBMINOR         0x30   0x10;
        CMDQ_PHY_ADDR_63_32     0x80   0x20;
        CMDQ_PHY_ADDR_31_12     0xa0   0x14;
        NIC_INTERFACE           0xb6   0x2;
        LOG_CMDQ_SIZE           0xb8   0x4;
        LOG_CMDQ_STRIDE         0xbc   0x4;
        COMMAND_DOORBELL_VECTOR 0xc0   0x20;
        INITIALIZING            0xfe0  0x1;
        NIC_INTERFACE_SUPPORTED 0xfe5  0x3;
        EMBEDDED_CPU            0xfe8  0x1;
        HEALTH_BUFFER           0x1000 health_buffer;
        NO_DRAM_NIC_OFFSET      0x1200 0x20;
        CLEAR_INT               0x807f 0x1;
        HEALTH_SYNDROME         0x8080 0x8;
        HEALTH_COUNTER          0x8088 0x18;
    }

    /// Health buffer, bit by bit (`mlx5_ifc_health_buffer_bits`; the plain name is the C struct's).
    health_buffer_bits 0x200 {
        ASSERT_EXISTPTR 0x100 0x20;
        ASSERT_CALLRA   0x120 0x20;
        TIME            0x160 0x20;
        FW_VERSION      0x180 0x20;
        HW_ID           0x1a0 0x20;
        RFR             0x1c0 0x1;
        VALID           0x1c4 0x1;
        SEVERITY        0x1c5 0x3;
        IRISC_INDEX     0x1e0 0x8;
        SYND            0x1e8 0x8;
        EXT_SYND        0x1f0 0x10;
    }
}
