//! Transitions of a queue pair from state to state.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Input of RST2INIT_QP.
    rst2init_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        ECE            0xa0 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of RST2INIT_QP.
    rst2init_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        ECE      0x60 0x20;
    }

    /// Input of INIT2RTR_QP.
    init2rtr_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        ECE            0xa0 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of INIT2RTR_QP.
    init2rtr_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        ECE      0x60 0x20;
    }

    /// Input of RTR2RTS_QP.
    rtr2rts_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        ECE            0xa0 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of RTR2RTS_QP.
    rtr2rts_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        ECE      0x60 0x20;
    }

    /// Input of RTS2RTS_QP.
    rts2rts_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        ECE            0xa0 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of RTS2RTS_QP.
    rts2rts_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        ECE      0x60 0x20;
    }

    /// Input of SQERR2RTS_QP.
    sqerr2rts_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of SQERR2RTS_QP.
    sqerr2rts_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of 2ERR_QP.
    qp_2err_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        QPN    0x48 0x18;
    }

    /// Output of 2ERR_QP.
    qp_2err_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of 2RST_QP.
    qp_2rst_in 0x80 {
        OPCODE 0x00 0x10;
        UID    0x10 0x10;
        OP_MOD 0x30 0x10;
        QPN    0x48 0x18;
    }

    /// Output of 2RST_QP.
    qp_2rst_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of SQD_RTS_QP.
    sqd2rts_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of SQD_RTS_QP.
    sqd2rts_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
    }

    /// Input of INIT2INIT_QP.
    init2init_qp_in 0x880 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        OP_MOD         0x30 0x10;
        QPN            0x48 0x18;
        OPT_PARAM_MASK 0x80 0x20;
        ECE            0xa0 0x20;
        QPC            0xc0 qpc;
    }

    /// Output of INIT2INIT_QP.
    init2init_qp_out 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        ECE      0x60 0x20;
    }
}
