//! `twin-v1`: how TLPs reach software and how it answers. All of it is this project's own, and nothing of it is the vendor's;
//! `harness/PROTOCOL.md` is its documentation.
//!
//! Numbers are big-endian, as in all that a device of this family exchanges with software.

layout! {
    OURS = Ours;

    /// The capability page `0x7f0`: whether and how far a device speaks `twin-v1`. A device that doesn't know the page answers
    /// BAD_PARAM.
    twin_cap 0x200 {
        SIGNATURE            0x00 0x20;
        VERSIONS             0x20 0x20;
        LOG_MAX_CHANNEL      0x43 0x5;
        LOG_MAX_RING_SLOTS   0x4b 0x5;
        LOG_MIN_SLOT_STRIDE  0x53 0x5;
        LOG_MAX_SLOT_STRIDE  0x5b 0x5;
        MAX_FUNCTIONS        0x60 0x10;
        MAX_CREDITS          0x70 0x10;
        MAX_RESPONSE_PAYLOAD 0x80 0x20;
        MAX_REQUESTS         0xa0 0x20;
        MAX_REGIONS          0xc0 0x10;
        MAX_MSIX             0xd0 0x10;
        STATIC_PORTS         0xe0 0x20;
        HOTPLUG_PORTS        0x100 0x20;
        MAX_REGION_BYTES     0x120 0x20;
    }

    /// The context of a TLP channel, a general object of type `0x7e00`.
    tlp_channel 0x800 {
        MODIFY_FIELD_SELECT 0x00 0x40;
        FLAGS               0x40 0x8;
        VERSION             0x48 0x8;
        STATE               0x50 0x8;
        LOG_RING_SLOTS      0x5b 0x5;
        LOG_SLOT_STRIDE     0x63 0x5;
        GATEWAY_PAGE_ID     0x70 0x10;
        RING_UMEM_ID        0x88 0x18;
        CREDITS             0xb0 0x10;
        RING_UMEM_OFFSET    0xc0 0x40;
        PRODUCER_INDEX      0x108 0x18;
        CONSUMER_INDEX      0x128 0x18;
        OPEN_REQUESTS       0x140 0x20;
        MESSAGES            0x180 0x40;
        RESPONSES           0x1c0 0x40;
        WITHHELD            0x200 0x40;
        LAST_FAULT          0x248 0x8;
        FAULTS              0x280 [0x20; 16];
        PRIMARY_ID          0x480 0x20;
        REORDERED           0x4c0 0x40;
        EXPORT_KEY          0x500 0x40;
        REDELIVERED         0x540 0x40;
    }

    /// The context of an emulated function, a general object of type `0x7e01`.
    emulated_function 0x1100 {
        MODIFY_FIELD_SELECT  0x00 0x40;
        CHANNEL_ID           0x40 0x20;
        PORT                 0x60 0x10;
        STATE                0x70 0x8;
        NUM_MSIX             0x80 0x10;
        MSIX_CAP_OFFSET      0x90 0x10;
        PCIE_CAP_OFFSET      0xa0 0x10;
        NUM_REGIONS          0xb8 0x8;
        FUNCTION_ID          0xc0 0x10;
        PM_CAP_OFFSET        0xd0 0x10;
        NO_SOFT_RESET        0xe0 0x1;
        POWER_STATE          0xe8 0x8;
        HOTPLUG_STATE        0xf0 0x8;
        BARS                 0x100 bytes 0x18;
        ROM_LOG_SIZE         0x1da 0x6;
        ROM_VALUE            0x1e0 0x20;
        REGIONS              0x200 bytes 0x100;
        DOORBELL             0xa00 [0x20; 48];
        COMMAND              0x1000 0x10;
        MSIX_CONTROL         0x1010 0x10;
        DEVICE_CONTROL       0x1020 0x10;
        BAR_VALUES           0x1040 [0x20; 6];
    }

    /// A BAR of an emulated function.
    emulated_bar 0x20 {
        KIND         0x04 0x4;
        PREFETCHABLE 0x0f 0x1;
        LOG_SIZE     0x1a 0x6;
    }

    /// A region of a BAR: what becomes of accesses to it.
    emulated_region 0x80 {
        KIND   0x00 0x8;
        BAR    0x08 0x8;
        FLAGS  0x10 0x8;
        OFFSET 0x20 0x20;
        LENGTH 0x40 0x40;
    }

    /// The head of a message in a channel's ring; the payload follows it.
    tlp_message 0x200 {
        KIND           0x00 0x8;
        FLAGS          0x08 0x8;
        FUNCTION       0x10 0x10;
        REQUEST_ID     0x20 0x20;
        TIME_PS        0x40 0x40;
        HEADER_LEN     0x80 0x8;
        PREFIX_LEN     0x88 0x8;
        PAYLOAD_LEN    0x90 0x10;
        SEQUENCE       0xa0 0x20;
        EVENT          0xc0 0x20;
        BAR            0xe0 0x8;
        BAR_OFFSET     0x100 0x40;
        HEADER         0x140 bytes 0x10;
        PREFIXES       0x1c0 bytes 0x4;
        OWNER          0x1ff 0x1;
    }

    /// The head of a message that tells of a host's write without being a TLP: the same bytes as `tlp_message`, otherwise named.
    notice_message 0x200 {
        KIND       0x00 0x8;
        FUNCTION   0x10 0x10;
        VALUE      0x20 0x20;
        TIME_PS    0x40 0x40;
        SEQUENCE   0xa0 0x20;
        NUMBER     0xc0 0x20;
        BAR        0xe0 0x8;
        BAR_OFFSET 0x100 0x40;
        OWNER      0x1ff 0x1;
    }

    /// Asks what is at a downstream port of the device's switch. The opcode is ours.
    query_emulated_port_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        PORT   0x40 0x10;
    }

    /// What is at a downstream port.
    query_emulated_port_out 0x100 {
        STATUS        0x00 0x8;
        SYNDROME      0x20 0x20;
        PRESENT       0x47 0x1;
        STATIC        0x4f 0x1;
        HOTPLUG_STATE 0x50 0x8;
        CLAIMED       0x5f 0x1;
        LINK_ACTIVE   0x67 0x1;
        FUNCTION_ID   0x70 0x10;
        HOST_TIME_PS  0x80 0x40;
    }

    /// Creates or destroys the function at a hot-plug port, plugs it in or asks the host to let it go: `OP_MOD` says which. The opcode is
    /// ours.
    modify_emulated_port_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        PORT   0x40 0x10;
    }

    /// The answer: the state that the port is in now.
    modify_emulated_port_out 0x80 {
        STATUS        0x00 0x8;
        SYNDROME      0x20 0x20;
        HOTPLUG_STATE 0x50 0x8;
    }

    /// Reads bytes that the device keeps: of a stateful region, or of doorbells. The opcode is ours.
    query_emulated_region_in 0x100 {
        OPCODE   0x00 0x10;
        UID      0x10 0x10;
        OP_MOD   0x30 0x10;
        FUNCTION 0x40 0x20;
        REGION   0x68 0x8;
        OFFSET   0x80 0x20;
        LENGTH   0xa0 0x20;
    }

    /// The bytes follow, as the host reads them, by rising address.
    query_emulated_region_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        LENGTH   0x40 0x20;
    }

    /// Sets bytes that the device keeps; they follow, by rising address. `OP_MOD` says which of them. The opcode is ours.
    modify_emulated_region_in 0x100 {
        OPCODE   0x00 0x10;
        UID      0x10 0x10;
        OP_MOD   0x30 0x10;
        FUNCTION 0x40 0x20;
        REGION   0x68 0x8;
        OFFSET   0x80 0x20;
        LENGTH   0xa0 0x20;
    }

    /// Nothing but the status.
    modify_emulated_region_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// The quadword whose store at `POST` of a gateway page starts a response.
    gateway_post 0x40 {
        KIND          0x00 0x8;
        FUNCTION      0x08 0x8;
        FUNCTION_HIGH 0x10 0x4;
        LENGTH        0x14 0xc;
        ID            0x20 0x20;
    }
}
