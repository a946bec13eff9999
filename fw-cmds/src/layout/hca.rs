//! Bring-up and tear-down of a function: HCA state, ISSI, pages, adapter, registers.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of ENABLE_HCA.
    enable_hca_in 0x80 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        EMBEDDED_CPU_FUNCTION 0x40 0x1;
        FUNCTION_ID_TYPE      0x43 0x1;
        FUNCTION_ID           0x50 0x10;
    }

    /// Output of ENABLE_HCA.
    enable_hca_out 0x60 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DISABLE_HCA.
    disable_hca_in 0x80 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        EMBEDDED_CPU_FUNCTION 0x40 0x1;
        FUNCTION_ID_TYPE      0x43 0x1;
        FUNCTION_ID           0x50 0x10;
    }

    /// Output of DISABLE_HCA.
    disable_hca_out 0x60 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of INIT_HCA.
    init_hca_in 0x100 {
        OPCODE      0x00 0x10;
        OP_MOD      0x30 0x10;
        SW_VHCA_ID  0x62 0xe;
        SW_OWNER_ID 0x80 [0x20; 4];
    }

    /// Output of INIT_HCA.
    init_hca_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of TEARDOWN_HCA.
    teardown_hca_in 0x80 {
        OPCODE  0x00 0x10;
        OP_MOD  0x30 0x10;
        PROFILE 0x50 0x10;
    }

    /// Output of TEARDOWN_HCA.
    teardown_hca_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        STATE    0x7f 0x1;
    }

    /// Input of QUERY_ISSI.
    query_issi_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of QUERY_ISSI.
    query_issi_out 0x380 {
        STATUS             0x00  0x8;
        SYNDROME           0x20  0x20;
        CURRENT_ISSI       0x50  0x10;
        SUPPORTED_ISSI_DW0 0x360 0x20;
    }

    /// Input of SET_ISSI.
    set_issi_in 0x80 {
        OPCODE       0x00 0x10;
        OP_MOD       0x30 0x10;
        CURRENT_ISSI 0x50 0x10;
    }

    /// Output of SET_ISSI.
    set_issi_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of QUERY_PAGES.
    query_pages_in 0x80 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        EMBEDDED_CPU_FUNCTION 0x40 0x1;
        FUNCTION_ID           0x50 0x10;
    }

    /// Output of QUERY_PAGES.
    query_pages_out 0x80 {
        STATUS                0x00 0x8;
        SYNDROME              0x20 0x20;
        EMBEDDED_CPU_FUNCTION 0x40 0x1;
        FUNCTION_ID           0x50 0x10;
        NUM_PAGES             0x60 0x20;
    }

    /// Input of MANAGE_PAGES.
    manage_pages_in 0x80 {
        OPCODE                0x00 0x10;
        OP_MOD                0x30 0x10;
        EMBEDDED_CPU_FUNCTION 0x40 0x1;
        FUNCTION_ID           0x50 0x10;
        INPUT_NUM_ENTRIES     0x60 0x20;
        PAS                   0x80 [0x40];
    }

    /// Output of MANAGE_PAGES.
    manage_pages_out 0x80 {
        STATUS             0x00 0x8;
        SYNDROME           0x20 0x20;
        OUTPUT_NUM_ENTRIES 0x40 0x20;
        PAS                0x80 [0x40];
    }

    /// Input of QUERY_ADAPTER.
    query_adapter_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of QUERY_ADAPTER.
    query_adapter_out 0x880 {
        STATUS               0x00 0x8;
        SYNDROME             0x20 0x20;
        QUERY_ADAPTER_STRUCT 0x80 query_adapter_param_block;
    }

    /// What QUERY_ADAPTER tells of the board; `vsd_contd_psid` is the board id (PSID) as text.
    query_adapter_param_block 0x800 {
        IEEE_VENDOR_ID 0xc8  0x18;
        VSD_VENDOR_ID  0xf0  0x10;
        VSD            0x100 bytes 0xd0;
        VSD_CONTD_PSID 0x780 bytes 0x10;
    }

    /// Input of NOP.
    nop_in 0x80 {
        OPCODE 0x00 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of NOP.
    nop_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of SET_DRIVER_VERSION.
    set_driver_version_in 0x280 {
        OPCODE         0x00 0x10;
        OP_MOD         0x30 0x10;
        DRIVER_VERSION 0x80 bytes 0x40;
    }

    /// Output of SET_DRIVER_VERSION.
    set_driver_version_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of ACCESS_REG.
    access_register_in 0x80 {
        OPCODE        0x00 0x10;
        OP_MOD        0x30 0x10;
        REGISTER_ID   0x50 0x10;
        ARGUMENT      0x60 0x20;
        REGISTER_DATA 0x80 [0x20];
    }

    /// Output of ACCESS_REG.
    access_register_out 0x80 {
        STATUS        0x00 0x8;
        SYNDROME      0x20 0x20;
        REGISTER_DATA 0x80 [0x20];
    }

    /// Register HOST_ENDIANNESS; the driver writes it for a physical function.
    register_host_endianness 0x80 {
        HE 0x00 0x1;
    }
}
