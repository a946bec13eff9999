//! Types of general objects.

use crate::named::named;

named! {
    /// Type of a general object: `obj_type` of the general object commands and of
    /// `affiliated_event_header`. Types from 0xff01 are objects that have commands of their own.
    /// Source: `MLX5_OBJ_TYPE_*` and `MLX5_GENERAL_OBJECT_TYPES_*` of `mlx5_ifc.h`.
    ObjectType(u16) = "MLX5_OBJ_TYPE_";

    SW_ICM                 = 0x0008;
    GENEVE_TLV_OPT         = 0x000b;
    ENCRYPTION_KEY         = 0x000c, "MLX5_GENERAL_OBJECT_TYPES_ENCRYPTION_KEY";
    VIRTIO_NET_Q           = 0x000d;
    IPSEC                  = 0x0013, "MLX5_GENERAL_OBJECT_TYPES_IPSEC";
    MATCH_DEFINER          = 0x0018;
    VIRTIO_Q_COUNTERS      = 0x001c;
    SAMPLER                = 0x0020, "MLX5_GENERAL_OBJECT_TYPES_SAMPLER";
    HEADER_MODIFY_ARGUMENT = 0x0023;
    FLOW_METER_ASO         = 0x0024, "MLX5_GENERAL_OBJECT_TYPES_FLOW_METER_ASO";
    MACSEC                 = 0x0027, "MLX5_GENERAL_OBJECT_TYPES_MACSEC";
    STC                    = 0x0040;
    RTC                    = 0x0041;
    STE                    = 0x0042;
    MODIFY_HDR_PATTERN     = 0x0043;
    PAGE_TRACK             = 0x0046;
    INT_KEK                = 0x0047, "MLX5_GENERAL_OBJECT_TYPES_INT_KEK";
    RDMA_CTRL              = 0x0053, "MLX5_GENERAL_OBJECT_TYPES_RDMA_CTRL";
    PCIE_CONG_EVENT        = 0x0058, "MLX5_GENERAL_OBJECT_TYPES_PCIE_CONG_EVENT";
    MKEY                   = 0xff01;
    QP                     = 0xff02;
    PSV                    = 0xff03;
    RMP                    = 0xff04;
    XRC_SRQ                = 0xff05;
    RQ                     = 0xff06;
    SQ                     = 0xff07;
    TIR                    = 0xff08;
    TIS                    = 0xff09;
    DCT                    = 0xff0a;
    XRQ                    = 0xff0b;
    RQT                    = 0xff0e;
    FLOW_COUNTER           = 0xff0f;
    CQ                     = 0xff10;
    FT_ALIAS               = 0xff15;
    FLOW_TABLE_ALIAS       = 0xff15, "MLX5_GENERAL_OBJECT_TYPES_FLOW_TABLE_ALIAS";
}

impl ObjectType {
    /// An element that shares bandwidth. Not in Linux's header; source: `MLX5_OBJ_TYPE_SCHEDULING_ELEMENT` of rdma-core's
    /// `providers/mlx5/mlx5_ifc.h`.
    pub const SCHEDULING_ELEMENT: Self = Self(0x26);
}
