//! Types of events in event queues.

use crate::named::named;

named! {
    /// Type of an event: `event_type` of an event queue entry, and the bit number in an event
    /// bitmask. Source: `enum mlx5_event` of `device.h`.
    ///
    /// `NOTIFY_ANY` is the driver's wildcard for a subscription, no event; its value is that of
    /// `COMP`, which can't be subscribed to.
    EventType(u8) = "MLX5_EVENT_TYPE_";

    COMP                  = 0x00;
    NOTIFY_ANY            = 0x00;
    PATH_MIG              = 0x01;
    COMM_EST              = 0x02;
    SQ_DRAINED            = 0x03;
    CQ_ERROR              = 0x04;
    WQ_CATAS_ERROR        = 0x05;
    PATH_MIG_FAILED       = 0x07;
    INTERNAL_ERROR        = 0x08;
    PORT_CHANGE           = 0x09;
    CMD                   = 0x0a;
    PAGE_REQUEST          = 0x0b;
    PAGE_FAULT            = 0x0c;
    NIC_VPORT_CHANGE      = 0x0d;
    ESW_FUNCTIONS_CHANGED = 0x0e;
    VHCA_STATE_CHANGE     = 0x0f;
    WQ_INVAL_REQ_ERROR    = 0x10;
    WQ_ACCESS_ERROR       = 0x11;
    SRQ_CATAS_ERROR       = 0x12;
    SRQ_LAST_WQE          = 0x13;
    SRQ_RQ_LIMIT          = 0x14;
    GPIO_EVENT            = 0x15;
    PORT_MODULE_EVENT     = 0x16;
    TEMP_WARN_EVENT       = 0x17;
    XRQ_ERROR             = 0x18;
    REMOTE_CONFIG         = 0x19;
    DB_BF_CONGESTION      = 0x1a;
    STALL_EVENT           = 0x1b;
    DCT_DRAINED           = 0x1c;
    DCT_KEY_VIOLATION     = 0x1d;
    FPGA_ERROR            = 0x20;
    FPGA_QP_ERROR         = 0x21;
    GENERAL_EVENT         = 0x22;
    MONITOR_COUNTER       = 0x24;
    PPS_EVENT             = 0x25;
    DEVICE_TRACER         = 0x26;
    OBJECT_CHANGE         = 0x27;
}
