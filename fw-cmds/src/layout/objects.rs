//! General objects: one set of commands for any object type.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// The start of CREATE, MODIFY, QUERY and DESTROY_GENERAL_OBJECT; the object follows.
    /// `op_param` is [`general_obj_create_param`] or [`general_obj_query_param`].
    general_obj_in_cmd_hdr 0x80 {
        OPCODE         0x00 0x10;
        UID            0x10 0x10;
        VHCA_TUNNEL_ID 0x20 0x10;
        OBJ_TYPE       0x30 0x10;
        OBJ_ID         0x40 0x20;
        OP_PARAM       0x60 0x20;
    }

    /// The start of the output of the general object commands.
    general_obj_out_cmd_hdr 0x80 {
        STATUS   0x00 0x8;
        SYNDROME 0x20 0x20;
        OBJ_ID   0x40 0x20;
    }

    /// `op_param` of CREATE_GENERAL_OBJECT.
    general_obj_create_param 0x20 {
        ALIAS_OBJECT  0x00 0x1;
        LOG_OBJ_RANGE 0x03 0x5;
    }

    /// `op_param` of QUERY_GENERAL_OBJECT.
    general_obj_query_param 0x20 {
        ALIAS_OBJECT 0x00 0x1;
        OBJ_OFFSET   0x01 0x1f;
    }
}
