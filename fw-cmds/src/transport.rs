//! Numbers of the transport's objects: states and service types of queue pairs, what a transition
//! may change, access modes of memory keys.

use crate::named::named;

named! {
    /// State of a queue pair: `state` of its context. Source: `enum mlx5_qp_state` of `qp.h`, which
    /// is what the driver reads from QUERY_QP. (`mlx5_ifc.h` has `MLX5_QPC_STATE_SQD` = 7, which is
    /// `SQ_DRAINING` here.)
    QpState(u8) = "MLX5_QP_STATE_";

    /// Reset.
    RST         = 0x0;
    /// Initialised: receives can be posted.
    INIT        = 0x1;
    /// Ready to receive.
    RTR         = 0x2;
    /// Ready to send.
    RTS         = 0x3;
    /// The send queue is in error.
    SQER        = 0x4;
    /// The send queue is drained.
    SQD         = 0x5;
    /// Error.
    ERR         = 0x6;
    /// The send queue is being drained.
    SQ_DRAINING = 0x7;
    /// Suspended.
    SUSPENDED   = 0x9;
}

named! {
    /// Service type of a queue pair: `st` of its context. Source: `MLX5_QP_ST_*` of `qp.h`.
    ServiceType(u8) = "MLX5_QP_ST_";

    /// Reliable connection.
    RC            = 0x0;
    /// Unreliable connection.
    UC            = 0x1;
    /// Unreliable datagram.
    UD            = 0x2;
    /// Extended reliable connection.
    XRC           = 0x3;
    /// Raw management datagrams.
    MLX           = 0x4;
    /// Dynamically connected, initiator.
    DCI           = 0x5;
    /// Dynamically connected, target.
    DCT           = 0x6;
    /// Subnet management.
    QP0           = 0x7;
    /// General services.
    QP1           = 0x8;
    /// Raw Ethernet.
    RAW_ETHERTYPE = 0x9;
    /// Raw IPv6.
    RAW_IPV6      = 0xa;
    /// Sniffer.
    SNIFFER       = 0xb;
    /// Registration of memory by work requests.
    REG_UMR       = 0xc;
    /// Precision time protocol.
    PTP_1588      = 0xd;
    /// Synchronous registration.
    SYNC_UMR      = 0xe;
}

named! {
    /// A bit of `opt_param_mask`: what a transition changes beyond what it always does. Source:
    /// `enum mlx5_qp_optpar` of `qp.h`.
    OptParam(u32) = "MLX5_QP_OPTPAR_";

    /// The alternate address path.
    ALT_ADDR_PATH     = 0x0000_0001;
    /// Whether the peer may read.
    RRE               = 0x0000_0002;
    /// Whether the peer may do atomics.
    RAE               = 0x0000_0004;
    /// Whether the peer may write.
    RWE               = 0x0000_0008;
    /// The primary path's index of a P_Key.
    PKEY_INDEX        = 0x0000_0010;
    /// The Q_Key.
    Q_KEY             = 0x0000_0020;
    /// The timeout of RNR NAKs that are sent.
    RNR_TIMEOUT       = 0x0000_0040;
    /// The primary address path.
    PRIMARY_ADDR_PATH = 0x0000_0080;
    /// Reads and atomics under way as requester.
    SRA_MAX           = 0x0000_0100;
    /// Reads and atomics under way as responder.
    RRA_MAX           = 0x0000_0200;
    /// The state of path migration.
    PM_STATE          = 0x0000_0400;
    /// How often to retry.
    RETRY_COUNT       = 0x0000_1000;
    /// How often to retry after an RNR NAK.
    RNR_RETRY         = 0x0000_2000;
    /// How long to wait for an acknowledgement.
    ACK_TIMEOUT       = 0x0000_4000;
    /// The port of a bond to send by.
    LAG_TX_AFF        = 0x0000_8000;
    /// The primary path's port.
    PRI_PORT          = 0x0001_0000;
    /// The shared receive queue.
    SRQN              = 0x0004_0000;
    /// The completion queue of receives.
    CQN_RCV           = 0x0008_0000;
    /// The half-handshake of dynamic connections.
    DC_HS             = 0x0010_0000;
    /// The key of dynamic connections.
    DC_KEY            = 0x0020_0000;
    /// The rate limit.
    PP_INDEX          = 0x0040_0000;
    /// The set of counters.
    COUNTER_SET_ID    = 0x0200_0000;
}

named! {
    /// How a memory key translates addresses: `access_mode_4_2` and `access_mode_1_0` of its
    /// context, together. Source: `MLX5_MKC_ACCESS_MODE_*` of `mlx5_ifc.h`.
    AccessMode(u8) = "MLX5_MKC_ACCESS_MODE_";

    /// Addresses are those of the bus.
    PA       = 0x0;
    /// By a list of pages.
    MTT      = 0x1;
    /// By a list of other keys, each with a length of its own.
    KLMS     = 0x2;
    /// By a list of other keys, all of one length.
    KSM      = 0x3;
    /// Memory that the software steering owns.
    SW_ICM   = 0x4;
    /// Memory on the device.
    MEMIC    = 0x5;
    /// Another function's key.
    CROSSING = 0x6;
}
