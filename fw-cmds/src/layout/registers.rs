//! Registers that ACCESS_REG reads and writes, but for HOST_ENDIANNESS: those of a port, and the timeouts.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Register NODE_DESC: the node's description, text that need not end with a zero. The header has the struct for
    /// its writing; reading gives the same bytes (`mlx5_query_node_desc` of the driver's `port.c`).
    set_node_in 0x200 {
        NODE_DESCRIPTION 0x00 bytes 0x40;
    }

    /// Register PTYS: widths and speeds of a port. `proto_mask` says of which protocol (1: InfiniBand); the widths are bits
    /// of `enum mlx5_ptys_width`, the speeds bits from SDR (bit 0) on.
    ptys_reg 0x200 {
        AN_DISABLE_ADMIN         0x01  0x1;
        AN_DISABLE_CAP           0x02  0x1;
        LOCAL_PORT               0x08  0x8;
        PLANE_IND                0x18  0x4;
        PROTO_MASK               0x1d  0x3;
        AN_STATUS                0x20  0x4;
        DATA_RATE_OPER           0x30  0x10;
        EXT_ETH_PROTO_CAPABILITY 0x40  0x20;
        ETH_PROTO_CAPABILITY     0x60  0x20;
        IB_LINK_WIDTH_CAPABILITY 0x80  0x10;
        IB_PROTO_CAPABILITY      0x90  0x10;
        EXT_ETH_PROTO_ADMIN      0xa0  0x20;
        ETH_PROTO_ADMIN          0xc0  0x20;
        IB_LINK_WIDTH_ADMIN      0xe0  0x10;
        IB_PROTO_ADMIN           0xf0  0x10;
        EXT_ETH_PROTO_OPER       0x100 0x20;
        ETH_PROTO_OPER           0x120 0x20;
        IB_LINK_WIDTH_OPER       0x140 0x10;
        IB_PROTO_OPER            0x150 0x10;
        LANE_RATE_OPER           0x168 0x14;
        CONNECTOR_TYPE           0x17c 0x4;
        ETH_PROTO_LP_ADVERTISE   0x180 0x20;
    }

    /// Register PMTU: the MTUs of a port in bytes.
    pmtu_reg 0x80 {
        LOCAL_PORT 0x08 0x8;
        MAX_MTU    0x20 0x10;
        ADMIN_MTU  0x40 0x10;
        OPER_MTU   0x60 0x10;
    }

    /// Register PVLC: virtual lanes of a port, as a number of 1, 2, 4, 8 or 15 data lanes.
    pvlc_reg 0x80 {
        LOCAL_PORT     0x08 0x8;
        VL_HW_CAP      0x3c 0x4;
        VL_ADMIN       0x5c 0x4;
        VL_OPERATIONAL 0x7c 0x4;
    }

    /// Register PAOS: whether a port is up, by its administration and in fact (1: up, 2: down). A write takes
    /// `admin_status` only with `ase`.
    paos_reg 0x80 {
        SWID         0x00 0x8;
        LOCAL_PORT   0x08 0x8;
        ADMIN_STATUS 0x14 0x4;
        OPER_STATUS  0x1c 0x4;
        ASE          0x20 0x1;
        EE           0x21 0x1;
        E            0x3e 0x2;
    }

    /// A timeout in [`dtor_reg`]: the multiplier is 0 for milliseconds, 1 for seconds, 2 for minutes, 3 for hours.
    default_timeout 0x20 {
        TO_MULTIPLIER 0x00 0x3;
        TO_VALUE      0x0c 0x14;
    }

    /// Register DTOR: how long a driver is to wait for what.
    dtor_reg 0x200 {
        PCIE_TOGGLE_TO       0x20  default_timeout;
        HEALTH_POLL_TO       0xa0  default_timeout;
        FULL_CRDUMP_TO       0xc0  default_timeout;
        FW_RESET_TO          0xe0  default_timeout;
        FLUSH_ON_ERR_TO      0x100 default_timeout;
        PCI_SYNC_UPDATE_TO   0x120 default_timeout;
        TEAR_DOWN_TO         0x140 default_timeout;
        FSM_REACTIVATE_TO    0x160 default_timeout;
        RECLAIM_PAGES_TO     0x180 default_timeout;
        RECLAIM_VFS_PAGES_TO 0x1a0 default_timeout;
        RESET_UNLOAD_TO      0x1c0 default_timeout;
    }

    /// Register PPCNT: a group of a port's counters. `clr` sets those of the group to zero after they are read.
    ppcnt_reg 0x800 {
        SWID        0x00 0x8;
        LOCAL_PORT  0x08 0x8;
        PNAT        0x10 0x2;
        GRP         0x1a 0x6;
        CLR         0x20 0x1;
        PLANE_IND   0x34 0x4;
        PRIO_TC     0x3b 0x5;
        COUNTER_SET 0x40 bytes 0xf8;
    }

    /// Counter group 0x20 of [`ppcnt_reg`]: InfiniBand's PortCounters.
    ib_port_cntrs_grp_data_layout 0x140 {
        SYMBOL_ERROR_COUNTER            0x00  0x10;
        LINK_ERROR_RECOVERY_COUNTER     0x10  0x8;
        LINK_DOWNED_COUNTER             0x18  0x8;
        PORT_RCV_ERRORS                 0x20  0x10;
        PORT_RCV_REMOTE_PHYSICAL_ERRORS 0x30  0x10;
        PORT_RCV_SWITCH_RELAY_ERRORS    0x40  0x10;
        PORT_XMIT_DISCARDS              0x50  0x10;
        PORT_XMIT_CONSTRAINT_ERRORS     0x60  0x8;
        PORT_RCV_CONSTRAINT_ERRORS      0x68  0x8;
        LINK_OVERRUN_ERRORS             0x78  0x8;
        VL_15_DROPPED                   0x90  0x10;
        PORT_XMIT_WAIT                  0x120 0x20;
    }

    /// Counter group 0x21 of [`ppcnt_reg`]: InfiniBand's PortCountersExtended. Data counts dwords.
    ib_ext_port_cntrs_grp_data_layout 0x7c0 {
        PORT_XMIT_DATA_HIGH           0x300 0x20;
        PORT_XMIT_DATA_LOW            0x320 0x20;
        PORT_RCV_DATA_HIGH            0x340 0x20;
        PORT_RCV_DATA_LOW             0x360 0x20;
        PORT_XMIT_PKTS_HIGH           0x380 0x20;
        PORT_XMIT_PKTS_LOW            0x3a0 0x20;
        PORT_RCV_PKTS_HIGH            0x3c0 0x20;
        PORT_RCV_PKTS_LOW             0x3e0 0x20;
        PORT_UNICAST_XMIT_PKTS_HIGH   0x480 0x20;
        PORT_UNICAST_XMIT_PKTS_LOW    0x4a0 0x20;
        PORT_MULTICAST_XMIT_PKTS_HIGH 0x4c0 0x20;
        PORT_MULTICAST_XMIT_PKTS_LOW  0x4e0 0x20;
        PORT_UNICAST_RCV_PKTS_HIGH    0x500 0x20;
        PORT_UNICAST_RCV_PKTS_LOW     0x520 0x20;
        PORT_MULTICAST_RCV_PKTS_HIGH  0x540 0x20;
        PORT_MULTICAST_RCV_PKTS_LOW   0x560 0x20;
    }

    /// Register PCAM: which port registers (0x5000 to 0x507f) there are; bit i from the least significant on stands for
    /// the group's register i.
    pcam_reg 0x280 {
        FEATURE_GROUP            0x08  0x8;
        ACCESS_REG_GROUP         0x18  0x8;
        PORT_ACCESS_REG_CAP_MASK 0x40  bytes 0x10;
        FEATURE_CAP_MASK         0x140 bytes 0x10;
    }

    /// Register MCAM: as [`pcam_reg`] for management registers, groups of 0x80 from 0x9000 on.
    mcam_reg 0x240 {
        FEATURE_GROUP           0x08  0x8;
        ACCESS_REG_GROUP        0x18  0x8;
        MNG_ACCESS_REG_CAP_MASK 0x40  bytes 0x10;
        MNG_FEATURE_CAP_MASK    0x140 bytes 0x10;
    }

    /// Register QCAM: as [`pcam_reg`] for quality-of-service registers, from 0x4000 on.
    qcam_reg 0x240 {
        FEATURE_GROUP           0x08  0x8;
        ACCESS_REG_GROUP        0x18  0x8;
        QOS_ACCESS_REG_CAP_MASK 0x40  bytes 0x10;
        QOS_FEATURE_CAP_MASK    0x140 bytes 0x10;
    }
}
