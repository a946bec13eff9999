//! MAD_IFC, and the MADs it carries: headers and attributes as InfiniBand has them.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of MAD_IFC. Bit 0 of `op_mod` ignores the M_Key, bit 1 the B_Key.
    mad_ifc_in 0x880 {
        OPCODE      0x00 0x10;
        OP_MOD      0x30 0x10;
        REMOTE_LID  0x40 0x10;
        PLANE_INDEX 0x50 0x8;
        PORT        0x58 0x8;
        MAD         0x80 bytes 0x100;
    }

    /// Output of MAD_IFC.
    mad_ifc_out 0x880 {
        STATUS              0x00 0x8;
        SYNDROME            0x20 0x20;
        RESPONSE_MAD_PACKET 0x80 bytes 0x100;
    }
}

layout! {
    MAD = KernelRdma("ib_mad.h");

    /// The header of every MAD.
    ib_mad_hdr 0xc0 {
        BASE_VERSION   0x00 0x8;
        MGMT_CLASS     0x08 0x8;
        CLASS_VERSION  0x10 0x8;
        METHOD         0x18 0x8;
        STATUS         0x20 0x10;
        CLASS_SPECIFIC 0x30 0x10;
        TID            0x40 0x40;
        ATTR_ID        0x80 0x10;
        RESV           0x90 0x10;
        ATTR_MOD       0xa0 0x20;
    }

    /// Attribute ClassPortInfo. `cap_mask2_resp_time`: 27 bits of capabilities, then 5 of response time.
    ib_class_port_info 0x240 {
        BASE_VERSION        0x00  0x8;
        CLASS_VERSION       0x08  0x8;
        CAPABILITY_MASK     0x10  0x10;
        CAP_MASK2_RESP_TIME 0x20  0x20;
        REDIRECT_GID        0x40  bytes 0x10;
        REDIRECT_TCSLFL     0xc0  0x20;
        REDIRECT_LID        0xe0  0x10;
        REDIRECT_PKEY       0xf0  0x10;
        REDIRECT_QP         0x100 0x20;
        REDIRECT_QKEY       0x120 0x20;
        TRAP_GID            0x140 bytes 0x10;
        TRAP_TCSLFL         0x1c0 0x20;
        TRAP_LID            0x1e0 0x10;
        TRAP_PKEY           0x1f0 0x10;
        TRAP_HLQP           0x200 0x20;
        TRAP_QKEY           0x220 0x20;
    }
}

layout! {
    SMI = KernelRdma("ib_smi.h");

    /// A MAD of subnet management.
    ib_smp 0x800 {
        BASE_VERSION  0x00  0x8;
        MGMT_CLASS    0x08  0x8;
        CLASS_VERSION 0x10  0x8;
        METHOD        0x18  0x8;
        STATUS        0x20  0x10;
        HOP_PTR       0x30  0x8;
        HOP_CNT       0x38  0x8;
        TID           0x40  0x40;
        ATTR_ID       0x80  0x10;
        RESV          0x90  0x10;
        ATTR_MOD      0xa0  0x20;
        MKEY          0xc0  0x40;
        DR_SLID       0x100 0x10;
        DR_DLID       0x110 0x10;
        DATA          0x200 bytes 0x40;
        INITIAL_PATH  0x400 bytes 0x40;
        RETURN_PATH   0x600 bytes 0x40;
    }

    /// Attribute PortInfo, as far as Linux's struct goes; see [`port_info_rest`]. Where a name joins two or more, the first is in
    /// the upper bits of the byte.
    ib_port_info 0x200 {
        MKEY                          0x00  0x40;
        GID_PREFIX                    0x40  0x40;
        LID                           0x80  0x10;
        SM_LID                        0x90  0x10;
        CAP_MASK                      0xa0  0x20;
        DIAG_CODE                     0xc0  0x10;
        MKEY_LEASE_PERIOD             0xd0  0x10;
        LOCAL_PORT_NUM                0xe0  0x8;
        LINK_WIDTH_ENABLED            0xe8  0x8;
        LINK_WIDTH_SUPPORTED          0xf0  0x8;
        LINK_WIDTH_ACTIVE             0xf8  0x8;
        LINKSPEED_PORTSTATE           0x100 0x8;
        PORTPHYSSTATE_LINKDOWN        0x108 0x8;
        MKEYPROT_RESV_LMC             0x110 0x8;
        LINKSPEEDACTIVE_ENABLED       0x118 0x8;
        NEIGHBORMTU_MASTERSMSL        0x120 0x8;
        VLCAP_INITTYPE                0x128 0x8;
        VL_HIGH_LIMIT                 0x130 0x8;
        VL_ARB_HIGH_CAP               0x138 0x8;
        VL_ARB_LOW_CAP                0x140 0x8;
        INITTYPEREPLY_MTUCAP          0x148 0x8;
        VLSTALLCNT_HOQLIFE            0x150 0x8;
        OPERATIONALVL_PEI_PEO_FPI_FPO 0x158 0x8;
        MKEY_VIOLATIONS               0x160 0x10;
        PKEY_VIOLATIONS               0x170 0x10;
        QKEY_VIOLATIONS               0x180 0x10;
        GUID_CAP                      0x190 0x8;
        CLIENTREREG_RESV_SUBNETTO     0x198 0x8;
        RESV_RESPTIMEVALUE            0x1a0 0x8;
        LOCALPHYERRORS_OVERRUNERRORS  0x1a8 0x8;
        MAX_CREDIT_HINT               0x1b0 0x10;
        RESV                          0x1c0 0x8;
        LINK_ROUNDTRIP_LATENCY        0x1c8 bytes 0x3;
    }

    /// Attribute NodeInfo.
    ib_node_info 0x140 {
        BASE_VERSION   0x00  0x8;
        CLASS_VERSION  0x08  0x8;
        NODE_TYPE      0x10  0x8;
        NUM_PORTS      0x18  0x8;
        SYS_GUID       0x20  0x40;
        NODE_GUID      0x60  0x40;
        PORT_GUID      0xa0  0x40;
        PARTITION_CAP  0xe0  0x10;
        DEVICE_ID      0xf0  0x10;
        REVISION       0x100 0x20;
        LOCAL_PORT_NUM 0x120 0x8;
        VENDOR_ID      0x128 bytes 0x3;
    }
}

layout! {
    PMA = KernelRdma("ib_pma.h");

    /// A MAD of performance management.
    ib_pma_mad 0x800 {
        MAD_HDR 0x00  ib_mad_hdr;
        DATA    0x200 bytes 0xc0;
    }

    /// Attribute PortCounters.
    ib_pma_portcounters 0x160 {
        PORT_SELECT                  0x08  0x8;
        COUNTER_SELECT               0x10  0x10;
        SYMBOL_ERROR_COUNTER         0x20  0x10;
        LINK_ERROR_RECOVERY_COUNTER  0x30  0x8;
        LINK_DOWNED_COUNTER          0x38  0x8;
        PORT_RCV_ERRORS              0x40  0x10;
        PORT_RCV_REMPHYS_ERRORS      0x50  0x10;
        PORT_RCV_SWITCH_RELAY_ERRORS 0x60  0x10;
        PORT_XMIT_DISCARDS           0x70  0x10;
        PORT_XMIT_CONSTRAINT_ERRORS  0x80  0x8;
        PORT_RCV_CONSTRAINT_ERRORS   0x88  0x8;
        LINK_OVERRUN_ERRORS          0x98  0x8;
        VL15_DROPPED                 0xb0  0x10;
        PORT_XMIT_DATA               0xc0  0x20;
        PORT_RCV_DATA                0xe0  0x20;
        PORT_XMIT_PACKETS            0x100 0x20;
        PORT_RCV_PACKETS             0x120 0x20;
        PORT_XMIT_WAIT               0x140 0x20;
    }

    /// Attribute PortCountersExtended. Data counts dwords.
    ib_pma_portcounters_ext 0x240 {
        PORT_SELECT                 0x08  0x8;
        COUNTER_SELECT              0x10  0x10;
        PORT_XMIT_DATA              0x40  0x40;
        PORT_RCV_DATA               0x80  0x40;
        PORT_XMIT_PACKETS           0xc0  0x40;
        PORT_RCV_PACKETS            0x100 0x40;
        PORT_UNICAST_XMIT_PACKETS   0x140 0x40;
        PORT_UNICAST_RCV_PACKETS    0x180 0x40;
        PORT_MULTICAST_XMIT_PACKETS 0x1c0 0x40;
        PORT_MULTICAST_RCV_PACKETS  0x200 0x40;
    }
}

layout! {
    DRIVER = KernelDriver("drivers/infiniband/hw/mlx5/mad.c");

    /// The last bytes of attribute PortInfo, which Linux's struct doesn't have and its driver reads
    /// (`mlx5_query_mad_ifc_port`). The speeds: 1 FDR, 2 EDR, 4 HDR, 8 NDR.
    port_info_rest 0x200 {
        CAP_MASK2                0x1e0 0x10;
        LINK_SPEED_EXT_ACTIVE    0x1f0 0x4;
        LINK_SPEED_EXT_SUPPORTED 0x1f4 0x4;
        LINK_SPEED_EXT_ENABLED   0x1fb 0x5;
    }
}
