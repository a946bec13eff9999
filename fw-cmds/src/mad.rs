//! Named numbers of MADs, InfiniBand's management datagrams.

use crate::named::named;

named! {
    /// Management class of a MAD. Source: `IB_MGMT_CLASS_*` of `include/rdma/ib_mad.h`; those that a device answers itself.
    MadClass(u8) = "IB_MGMT_CLASS_";

    SUBN_LID_ROUTED     = 0x01;
    SUBN_DIRECTED_ROUTE = 0x81;
    PERF_MGMT           = 0x04;
}

named! {
    /// Method of a MAD; a response has bit 7 set. Source: `IB_MGMT_METHOD_*` of `include/rdma/ib_mad.h`.
    MadMethod(u8) = "IB_MGMT_METHOD_";

    GET          = 0x01;
    SET          = 0x02;
    SEND         = 0x03;
    TRAP         = 0x05;
    REPORT       = 0x06;
    TRAP_REPRESS = 0x07;
    GET_TABLE    = 0x12;
    RESP         = 0x80;
    GET_RESP     = 0x81;
    REPORT_RESP  = 0x86;
}

named! {
    /// Status of a MAD. Source: `IB_MGMT_MAD_STATUS_*` of `include/rdma/ib_mad.h`.
    MadStatus(u16) = "IB_MGMT_MAD_STATUS_";

    SUCCESS                   = 0x0000;
    BUSY                      = 0x0001;
    REDIRECT_REQD             = 0x0002;
    BAD_VERSION               = 0x0004;
    UNSUPPORTED_METHOD        = 0x0008;
    UNSUPPORTED_METHOD_ATTRIB = 0x000c;
    INVALID_ATTRIB_VALUE      = 0x001c;
}

named! {
    /// Attribute of subnet management. Source: `IB_SMP_ATTR_*` of `include/rdma/ib_smi.h`.
    SmpAttribute(u16) = "IB_SMP_ATTR_";

    NODE_DESC  = 0x0010;
    NODE_INFO  = 0x0011;
    GUID_INFO  = 0x0014;
    PORT_INFO  = 0x0015;
    PKEY_TABLE = 0x0016;
}

named! {
    /// Attribute of performance management. Source: `IB_PMA_*` of `include/rdma/ib_pma.h`.
    PmaAttribute(u16) = "IB_PMA_";

    CLASS_PORT_INFO   = 0x0001;
    PORT_COUNTERS     = 0x0012;
    PORT_COUNTERS_EXT = 0x001d;
}

/// `base_version` of every MAD of InfiniBand. Source: `IB_MGMT_BASE_VERSION` of `include/rdma/ib_mad.h`.
pub const BASE_VERSION: u8 = 1;

/// `class_version` of the classes of [`MadClass`]. Source: IBTA, as Linux sets it (`init_query_mad` of its `mlx5_ib.h`).
pub const CLASS_VERSION: u8 = 1;

/// Capability of a [`PmaAttribute::CLASS_PORT_INFO`]: there are the attributes with 64-bit counters. Source:
/// `IB_PMA_CLASS_CAP_EXT_WIDTH` of `include/rdma/ib_pma.h`.
pub const PMA_CLASS_CAP_EXT_WIDTH: u16 = 1 << 9;
