//! XRC domains, transport domains, multicast groups.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of ALLOC_XRCD.
    alloc_xrcd_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of ALLOC_XRCD.
    alloc_xrcd_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        XRCD     0x48 0x18;
    }

    /// Input of DEALLOC_XRCD.
    dealloc_xrcd_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        XRCD   0x48 0x18;
    }

    /// Output of DEALLOC_XRCD.
    dealloc_xrcd_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of ALLOC_TRANSPORT_DOMAIN.
    alloc_transport_domain_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
    }

    /// Output of ALLOC_TRANSPORT_DOMAIN.
    alloc_transport_domain_out 0x80 {
        STATUS           0x00 0x8;
        SYNDROME         0x20 0x20;
        TRANSPORT_DOMAIN 0x48 0x18;
    }

    /// Input of DEALLOC_TRANSPORT_DOMAIN.
    dealloc_transport_domain_in 0x80 {
        OPCODE           0x00 0x10;
        UID              0x10 0x10;
        OP_MOD           0x30 0x10;
        TRANSPORT_DOMAIN 0x48 0x18;
    }

    /// Output of DEALLOC_TRANSPORT_DOMAIN.
    dealloc_transport_domain_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of ATTACH_TO_MCG.
    attach_to_mcg_in 0x100 {
        OPCODE        0x00 0x10;
        UID           0x10 0x10;
        OP_MOD        0x30 0x10;
        QPN           0x48 0x18;
        MULTICAST_GID 0x80 [0x8; 16];
    }

    /// Output of ATTACH_TO_MCG.
    attach_to_mcg_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of DETACH_FROM_MCG.
    detach_from_mcg_in 0x100 {
        OPCODE        0x00 0x10;
        UID           0x10 0x10;
        OP_MOD        0x30 0x10;
        QPN           0x48 0x18;
        MULTICAST_GID 0x80 [0x8; 16];
    }

    /// Output of DETACH_FROM_MCG.
    detach_from_mcg_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }
}
