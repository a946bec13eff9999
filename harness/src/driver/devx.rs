//! What user contexts may do: the rules of Linux's DEVX (`drivers/infiniband/hw/mlx5/devx.c`) as tables.
//!
//! The kernel lets a few opcodes pass as general commands; it knows which commands create an object, how the object is destroyed, and which
//! commands query or modify it, so that a command can be held against the handle it is sent on.

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    alloc_pd_out, create_umem_out, dealloc_pd_in, destroy_umem_in, general_obj_in_cmd_hdr, general_obj_out_cmd_hdr,
    mbox_in,
};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::command::{self, HEADER};
use crate::backend::Error;

/// Where a creation command's object gets its number.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// From the output.
    Output(Field),
    /// From the input: its sender chose it.
    Input(Field),
}

/// One command that creates an object.
#[derive(Clone, Copy, Debug)]
struct Creation {
    opcode: Opcode,
    number: Number,
    /// The command that destroys the object, its length in bytes, and where it takes the number.
    destroy: Opcode,
    destroy_len: usize,
    destroy_number: Field,
    /// What else the destroying command takes over, from the same place of the creating one.
    copied: &'static [Field],
    /// Bits that say that a memory is named by its UMEM; the kernel sets them (`devx_set_umem_valid`).
    umem_valid: &'static [u32],
}

const fn field(name: &'static str, offset: u32, width: u32) -> Field {
    Field { layout: "devx", name, offset, width }
}

/// Where most commands have the number of their object: the low 24 bits of dword 2, in inputs and in outputs.
const ID24: Field = field("id", 0x48, 0x18);
const ID32: Field = field("id", 0x40, 0x20);
const COUNTER_SET_ID: Field = field("counter_set_id", 0x58, 0x8);
const TABLE_ID: Field = field("table_id", 0xa8, 0x18);
const GROUP_ID: Field = field("group_id", 0xc0, 0x20);
const FLOW_INDEX: Field = field("flow_index", 0x100, 0x20);
const ELEMENT_ID: Field = field("scheduling_element_id", 0x60, 0x20);
const ELEMENT_ID_CREATED: Field = field("scheduling_element_id", 0x80, 0x20);
const HIERARCHY: Field = field("scheduling_hierarchy", 0x40, 0x8);
const UDP_PORT: Field = field("vxlan_udp_port", 0x70, 0x10);
const OTHER_VPORT: Field = field("other_vport", 0x40, 0x1);
const VPORT: Field = field("vport_number", 0x50, 0x10);
const TABLE_TYPE: Field = field("table_type", 0x80, 0x8);
const GID_HIGH: Field = field("multicast_gid", 0x80, 0x40);
const GID_LOW: Field = field("multicast_gid", 0xc0, 0x40);
const PSV0: Field = field("psv0_index", 0x88, 0x18);
const NUM_PSV: Field = field("num_psv", 0x40, 0x4);
/// `access_mode_1_0` and `access_mode_4_2` of the mkey context in CREATE_MKEY.
const ACCESS_MODE_LOW: Field = field("access_mode_1_0", 0x80 + 0x16, 0x2);
const ACCESS_MODE_HIGH: Field = field("access_mode_4_2", 0x80 + 0x3, 0x3);
const MKEY_UMEM_VALID: Field = field("mkey_umem_valid", 0x61, 0x1);
/// `MLX5_MKC_ACCESS_MODE_KLMS` and `MLX5_MKC_ACCESS_MODE_KSM`: mkeys of mkeys, which name no memory.
const INDIRECT_ACCESS_MODES: [u64; 2] = [2, 3];
const OBJ_TYPE: Field = general_obj_in_cmd_hdr::OBJ_TYPE;

/// The usual case: the number comes from the output and stands at the same place in the destroying command of 16 bytes.
const fn plain(opcode: Opcode, destroy: Opcode, number: Field) -> Creation {
    Creation {
        opcode,
        number: Number::Output(number),
        destroy,
        destroy_len: HEADER,
        destroy_number: number,
        copied: &[],
        umem_valid: &[],
    }
}

impl Creation {
    const fn umem(self, umem_valid: &'static [u32]) -> Creation {
        Creation { umem_valid, ..self }
    }

    const fn input(self, number: Field) -> Creation {
        Creation { number: Number::Input(number), destroy_number: number, ..self }
    }

    const fn long(self, destroy_len: usize, destroy_number: Field, copied: &'static [Field]) -> Creation {
        Creation { destroy_len, destroy_number, copied, ..self }
    }
}

/// What `devx_is_obj_create_cmd` lets pass, with what `devx_obj_build_destroy_cmd` makes of it. CREATE_UMEM isn't among them: it has a call
/// of its own.
#[rustfmt::skip]
const CREATIONS: &[Creation] = &[
    plain(Opcode::CREATE_GENERAL_OBJECT, Opcode::DESTROY_GENERAL_OBJECT, general_obj_out_cmd_hdr::OBJ_ID)
        .long(HEADER, general_obj_in_cmd_hdr::OBJ_ID, &[OBJ_TYPE]),
    plain(Opcode::CREATE_MKEY, Opcode::DESTROY_MKEY, ID24),
    plain(Opcode::CREATE_CQ, Opcode::DESTROY_CQ, ID24).umem(&[0x2e0, 0x86]),
    plain(Opcode::ALLOC_PD, Opcode::DEALLOC_PD, alloc_pd_out::PD).long(HEADER, dealloc_pd_in::PD, &[]),
    plain(Opcode::ALLOC_TRANSPORT_DOMAIN, Opcode::DEALLOC_TRANSPORT_DOMAIN, ID24),
    plain(Opcode::CREATE_RMP, Opcode::DESTROY_RMP, ID24).umem(&[0x3a0, 0x3a1]),
    plain(Opcode::CREATE_SQ, Opcode::DESTROY_SQ, ID24).umem(&[0x3a0, 0x3a1]),
    plain(Opcode::CREATE_RQ, Opcode::DESTROY_RQ, ID24).umem(&[0x3a0, 0x3a1]),
    plain(Opcode::CREATE_RQT, Opcode::DESTROY_RQT, ID24),
    plain(Opcode::CREATE_TIR, Opcode::DESTROY_TIR, ID24),
    plain(Opcode::CREATE_TIS, Opcode::DESTROY_TIS, ID24),
    plain(Opcode::ALLOC_Q_COUNTER, Opcode::DEALLOC_Q_COUNTER, COUNTER_SET_ID),
    plain(Opcode::CREATE_FLOW_TABLE, Opcode::DESTROY_FLOW_TABLE, ID24)
        .long(64, TABLE_ID, &[OTHER_VPORT, VPORT, TABLE_TYPE]),
    plain(Opcode::CREATE_FLOW_GROUP, Opcode::DESTROY_FLOW_GROUP, ID24)
        .long(64, GROUP_ID, &[OTHER_VPORT, VPORT, TABLE_TYPE, TABLE_ID]),
    plain(Opcode::SET_FLOW_TABLE_ENTRY, Opcode::DELETE_FLOW_TABLE_ENTRY, FLOW_INDEX).input(FLOW_INDEX)
        .long(64, FLOW_INDEX, &[OTHER_VPORT, VPORT, TABLE_TYPE, TABLE_ID]),
    plain(Opcode::ALLOC_FLOW_COUNTER, Opcode::DEALLOC_FLOW_COUNTER, ID32),
    plain(Opcode::ALLOC_PACKET_REFORMAT_CONTEXT, Opcode::DEALLOC_PACKET_REFORMAT_CONTEXT, ID32),
    plain(Opcode::ALLOC_MODIFY_HEADER_CONTEXT, Opcode::DEALLOC_MODIFY_HEADER_CONTEXT, ID32),
    plain(Opcode::CREATE_SCHEDULING_ELEMENT, Opcode::DESTROY_SCHEDULING_ELEMENT, ELEMENT_ID_CREATED)
        .long(64, ELEMENT_ID, &[HIERARCHY]),
    plain(Opcode::ADD_VXLAN_UDP_DPORT, Opcode::DELETE_VXLAN_UDP_DPORT, UDP_PORT).input(UDP_PORT),
    plain(Opcode::SET_L2_TABLE_ENTRY, Opcode::DELETE_L2_TABLE_ENTRY, TABLE_ID).input(TABLE_ID).long(64, TABLE_ID, &[]),
    plain(Opcode::CREATE_QP, Opcode::DESTROY_QP, ID24).umem(&[0x743, 0x860]),
    plain(Opcode::CREATE_SRQ, Opcode::DESTROY_SRQ, ID24),
    plain(Opcode::CREATE_XRC_SRQ, Opcode::DESTROY_XRC_SRQ, ID24).umem(&[0x2e0, 0xc7]),
    plain(Opcode::CREATE_DCT, Opcode::DESTROY_DCT, ID24),
    plain(Opcode::CREATE_XRQ, Opcode::DESTROY_XRQ, ID24).umem(&[0x5a0, 0x5a1]),
    plain(Opcode::ATTACH_TO_MCG, Opcode::DETACH_FROM_MCG, ID24).input(ID24).long(32, ID24, &[GID_HIGH, GID_LOW]),
    plain(Opcode::ALLOC_XRCD, Opcode::DEALLOC_XRCD, ID24),
    plain(Opcode::CREATE_PSV, Opcode::DESTROY_PSV, PSV0).long(HEADER, ID24, &[]),
];

/// CREATE_UMEM, which a context sends by registering memory.
const CREATE_UMEM: Creation = plain(Opcode::CREATE_UMEM, Opcode::DESTROY_UMEM, create_umem_out::UMEM_ID).long(
    HEADER,
    destroy_umem_in::UMEM_ID,
    &[],
);

/// What a command on an object does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// `devx_is_obj_query_cmd`.
    Query,
    /// `devx_is_obj_modify_cmd`.
    Modify,
}

use Use::{Modify, Query};

/// Commands on objects: the opcode, what it does, the command that creates such an object, and where its number stands
/// (`devx_get_obj_id`).
#[rustfmt::skip]
const USES: &[(Opcode, Use, Opcode, Field)] = &[
    (Opcode::QUERY_GENERAL_OBJECT, Query, Opcode::CREATE_GENERAL_OBJECT, general_obj_in_cmd_hdr::OBJ_ID),
    (Opcode::QUERY_MKEY, Query, Opcode::CREATE_MKEY, ID24),
    (Opcode::QUERY_CQ, Query, Opcode::CREATE_CQ, ID24),
    (Opcode::QUERY_RMP, Query, Opcode::CREATE_RMP, ID24),
    (Opcode::QUERY_SQ, Query, Opcode::CREATE_SQ, ID24),
    (Opcode::QUERY_RQ, Query, Opcode::CREATE_RQ, ID24),
    (Opcode::QUERY_RQT, Query, Opcode::CREATE_RQT, ID24),
    (Opcode::QUERY_TIR, Query, Opcode::CREATE_TIR, ID24),
    (Opcode::QUERY_TIS, Query, Opcode::CREATE_TIS, ID24),
    (Opcode::QUERY_Q_COUNTER, Query, Opcode::ALLOC_Q_COUNTER, field("counter_set_id", 0xf8, 0x8)),
    (Opcode::QUERY_FLOW_TABLE, Query, Opcode::CREATE_FLOW_TABLE, TABLE_ID),
    (Opcode::QUERY_FLOW_GROUP, Query, Opcode::CREATE_FLOW_GROUP, GROUP_ID),
    (Opcode::QUERY_FLOW_TABLE_ENTRY, Query, Opcode::SET_FLOW_TABLE_ENTRY, FLOW_INDEX),
    (Opcode::QUERY_FLOW_COUNTER, Query, Opcode::ALLOC_FLOW_COUNTER, field("flow_counter_id", 0xe0, 0x20)),
    (Opcode::QUERY_MODIFY_HEADER_CONTEXT, Query, Opcode::ALLOC_MODIFY_HEADER_CONTEXT, ID32),
    (Opcode::QUERY_SCHEDULING_ELEMENT, Query, Opcode::CREATE_SCHEDULING_ELEMENT, ELEMENT_ID),
    (Opcode::QUERY_L2_TABLE_ENTRY, Query, Opcode::SET_L2_TABLE_ENTRY, TABLE_ID),
    (Opcode::QUERY_QP, Query, Opcode::CREATE_QP, ID24),
    (Opcode::QUERY_SRQ, Query, Opcode::CREATE_SRQ, ID24),
    (Opcode::QUERY_XRC_SRQ, Query, Opcode::CREATE_XRC_SRQ, ID24),
    (Opcode::QUERY_DCT, Query, Opcode::CREATE_DCT, ID24),
    (Opcode::QUERY_XRQ, Query, Opcode::CREATE_XRQ, ID24),
    (Opcode::QUERY_XRQ_DC_PARAMS_ENTRY, Query, Opcode::CREATE_XRQ, ID24),
    (Opcode::QUERY_XRQ_ERROR_PARAMS, Query, Opcode::CREATE_XRQ, ID24),
    (Opcode::QUERY_PACKET_REFORMAT_CONTEXT, Query, Opcode::ALLOC_PACKET_REFORMAT_CONTEXT, ID32),
    (Opcode::MODIFY_GENERAL_OBJECT, Modify, Opcode::CREATE_GENERAL_OBJECT, general_obj_in_cmd_hdr::OBJ_ID),
    (Opcode::MODIFY_CQ, Modify, Opcode::CREATE_CQ, ID24),
    (Opcode::MODIFY_RMP, Modify, Opcode::CREATE_RMP, ID24),
    (Opcode::MODIFY_SQ, Modify, Opcode::CREATE_SQ, ID24),
    (Opcode::MODIFY_RQ, Modify, Opcode::CREATE_RQ, ID24),
    (Opcode::MODIFY_RQT, Modify, Opcode::CREATE_RQT, ID24),
    (Opcode::MODIFY_TIR, Modify, Opcode::CREATE_TIR, ID24),
    (Opcode::MODIFY_TIS, Modify, Opcode::CREATE_TIS, ID24),
    (Opcode::MODIFY_FLOW_TABLE, Modify, Opcode::CREATE_FLOW_TABLE, TABLE_ID),
    (Opcode::MODIFY_SCHEDULING_ELEMENT, Modify, Opcode::CREATE_SCHEDULING_ELEMENT, ELEMENT_ID),
    (Opcode::ADD_VXLAN_UDP_DPORT, Modify, Opcode::ADD_VXLAN_UDP_DPORT, UDP_PORT),
    (Opcode::SET_L2_TABLE_ENTRY, Modify, Opcode::SET_L2_TABLE_ENTRY, TABLE_ID),
    (Opcode::SET_FLOW_TABLE_ENTRY, Modify, Opcode::SET_FLOW_TABLE_ENTRY, FLOW_INDEX),
    (Opcode::RST2INIT_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::INIT2RTR_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::INIT2INIT_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::RTR2RTS_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::RTS2RTS_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::SQERR2RTS_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::_2ERR_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::_2RST_QP, Modify, Opcode::CREATE_QP, ID24),
    (Opcode::ARM_XRC_SRQ, Modify, Opcode::CREATE_XRC_SRQ, ID24),
    (Opcode::ARM_RQ, Modify, Opcode::CREATE_RQ, ID24),
    (Opcode::ARM_DCT_FOR_KEY_VIOLATION, Modify, Opcode::CREATE_DCT, ID24),
    (Opcode::ARM_XRQ, Modify, Opcode::CREATE_XRQ, ID24),
    (Opcode::SET_XRQ_DC_PARAMS_ENTRY, Modify, Opcode::CREATE_XRQ, ID24),
    (Opcode::RELEASE_XRQ_ERROR, Modify, Opcode::CREATE_XRQ, ID24),
    (Opcode::MODIFY_XRQ, Modify, Opcode::CREATE_XRQ, ID24),
];

/// General commands beside those of the general range (`devx_is_general_cmd`).
const GENERAL: &[Opcode] = &[
    Opcode::QUERY_HCA_CAP,
    Opcode::QUERY_HCA_VPORT_CONTEXT,
    Opcode::QUERY_ESW_VPORT_CONTEXT,
    Opcode::QUERY_VPORT_STATE,
    Opcode::QUERY_ADAPTER,
    Opcode::QUERY_ISSI,
    Opcode::QUERY_NIC_VPORT_CONTEXT,
    Opcode::QUERY_ROCE_ADDRESS,
    Opcode::QUERY_VNIC_ENV,
    Opcode::QUERY_VPORT_COUNTER,
    Opcode::GET_DROPPED_PACKET_LOG,
    Opcode::NOP,
    Opcode::QUERY_CONG_STATUS,
    Opcode::QUERY_CONG_PARAMS,
    Opcode::QUERY_CONG_STATISTICS,
    Opcode::QUERY_LAG,
];

/// Events about objects that have no `affiliated_event_header` (`is_legacy_obj_event_num`), beside COMP.
pub(super) const LEGACY_EVENTS: &[EventType] = &[
    EventType::PATH_MIG,
    EventType::COMM_EST,
    EventType::SQ_DRAINED,
    EventType::SRQ_LAST_WQE,
    EventType::SRQ_RQ_LIMIT,
    EventType::CQ_ERROR,
    EventType::WQ_CATAS_ERROR,
    EventType::PATH_MIG_FAILED,
    EventType::WQ_INVAL_REQ_ERROR,
    EventType::WQ_ACCESS_ERROR,
    EventType::SRQ_CATAS_ERROR,
    EventType::DCT_DRAINED,
    EventType::COMP,
    EventType::DCT_KEY_VIOLATION,
    EventType::XRQ_ERROR,
];

/// `MLX5_EVENT_QUEUE_TYPE_DCT` of `device.h`.
pub(super) const QUEUE_TYPE_DCT: u16 = 6;

/// How events name an object, by the command that created it: the queue's type of legacy events (`MLX5_EVENT_QUEUE_TYPE_*`), and
/// the object type of all others (`get_legacy_obj_type`, `get_dec_obj_type`).
const EVENT_NAMES: &[(Opcode, u16, ObjectType)] = &[
    (Opcode::CREATE_QP, 0, ObjectType::QP),
    (Opcode::CREATE_RQ, 1, ObjectType::RQ),
    (Opcode::CREATE_SQ, 2, ObjectType::SQ),
    (Opcode::CREATE_DCT, QUEUE_TYPE_DCT, ObjectType::DCT),
    (Opcode::CREATE_TIR, 0, ObjectType::TIR),
    (Opcode::CREATE_TIS, 0, ObjectType::TIS),
    (Opcode::CREATE_PSV, 0, ObjectType::PSV),
    (Opcode::CREATE_MKEY, 0, ObjectType::MKEY),
    (Opcode::CREATE_RMP, 0, ObjectType::RMP),
    (Opcode::CREATE_XRC_SRQ, 0, ObjectType::XRC_SRQ),
    (Opcode::CREATE_XRQ, 0, ObjectType::XRQ),
    (Opcode::CREATE_RQT, 0, ObjectType::RQT),
    (Opcode::ALLOC_FLOW_COUNTER, 0, ObjectType::FLOW_COUNTER),
    (Opcode::CREATE_CQ, 0, ObjectType::CQ),
];

/// Whether DEVX lets a command pass as a general one. `tunnels`: `vhca_tunnel_commands` of the general capabilities isn't 0.
pub(super) fn is_general(input: &[u8], tunnels: bool) -> bool {
    let opcode = command::opcode(input);
    let tunnelled = tunnels && tunnel(input) != 0;
    tunnelled || (Opcode::GENERAL_START..Opcode::GENERAL_END).contains(&opcode) || GENERAL.contains(&opcode)
}

fn tunnel(input: &[u8]) -> u64 {
    general_obj_in_cmd_hdr::VHCA_TUNNEL_ID.get(input).unwrap_or(0)
}

/// Commands on objects can't be sent through a tunnel.
fn refuse_tunnel(input: &[u8]) -> Result<(), Error> {
    match tunnel(input) {
        0 => Ok(()),
        id => Err(Error::Invalid(format!("vhca_tunnel_id {id:#x} in a command on an object: must be 0"))),
    }
}

/// An object that a command created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    created_by: Opcode,
    /// Type of a general object, 0 for others.
    obj_type: u16,
    number: u32,
    destroy: Vec<u8>,
}

/// Checks that a command may create an object, and sets the bits that say that its memory is named by UMEM.
pub(super) fn prepare_creation(input: &mut [u8]) -> Result<(), Error> {
    refuse_tunnel(input)?;
    let opcode = command::opcode(input);
    let creation = CREATIONS.iter().find(|creation| creation.opcode == opcode);
    let allowed = match opcode {
        // Another op_mod changes an entry that is there.
        Opcode::SET_FLOW_TABLE_ENTRY => mbox_in::OP_MOD.get(input)? == 0,
        // Several at once could not be destroyed by one handle.
        Opcode::CREATE_PSV => NUM_PSV.get(input)? == 1,
        _ => true,
    };
    let Some(creation) = creation.filter(|_| allowed) else {
        return Err(Error::Invalid(format!("{opcode} isn't a command that creates an object")));
    };
    if opcode == Opcode::CREATE_MKEY {
        let mode = ACCESS_MODE_HIGH.get(input)? << 2 | ACCESS_MODE_LOW.get(input)?;
        if !INDIRECT_ACCESS_MODES.contains(&mode) {
            MKEY_UMEM_VALID.set(input, 1)?;
        }
    }
    for &offset in creation.umem_valid {
        field("umem_valid", offset, 1).set(input, 1)?;
    }
    Ok(())
}

impl Object {
    /// The object that `input` created, as `output` says.
    pub(super) fn created(input: &[u8], output: &[u8]) -> Result<Object, Error> {
        let opcode = command::opcode(input);
        let all = CREATIONS.iter().chain([&CREATE_UMEM]);
        let Some(creation) = all.into_iter().find(|creation| creation.opcode == opcode) else {
            return Err(Error::Invalid(format!("{opcode} isn't a command that creates an object")));
        };
        let number = match creation.number {
            Number::Output(number) => number.get(output)?,
            Number::Input(number) => number.get(input)?,
        };
        let mut destroy = vec![0; creation.destroy_len];
        mbox_in::OPCODE.set(&mut destroy, u64::from(creation.destroy.0))?;
        mbox_in::UID.set(&mut destroy, mbox_in::UID.get(input)?)?;
        creation.destroy_number.set(&mut destroy, number)?;
        for copied in creation.copied {
            copied.set(&mut destroy, copied.get(input)?)?;
        }
        let general = opcode == Opcode::CREATE_GENERAL_OBJECT;
        let obj_type = if general { OBJ_TYPE.get(input)? as u16 } else { 0 };
        Ok(Object { created_by: opcode, obj_type, number: number as u32, destroy })
    }

    /// The command that destroys it.
    pub(super) fn destroy(&self) -> &[u8] {
        &self.destroy
    }

    /// Its number, as the firmware has it.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// How an event of this type names the object's kind.
    pub(super) fn event_kind(&self, event: EventType) -> u16 {
        let named = EVENT_NAMES.iter().find(|(opcode, ..)| *opcode == self.created_by);
        if LEGACY_EVENTS.contains(&event) {
            return named.map_or(0, |(_, queue_type, _)| *queue_type);
        }
        named.map_or(self.obj_type, |(_, _, object_type)| object_type.0)
    }

    /// Checks that a command is one of this use, and that it's about this object.
    pub(super) fn check_use(&self, wanted: Use, input: &[u8]) -> Result<(), Error> {
        refuse_tunnel(input)?;
        let opcode = command::opcode(input);
        let found = USES.iter().find(|(used, what, ..)| *used == opcode && *what == wanted);
        let op_mod_fits = opcode != Opcode::SET_FLOW_TABLE_ENTRY || mbox_in::OP_MOD.get(input)? == 1;
        let Some((_, _, created_by, number)) = found.filter(|_| op_mod_fits) else {
            let what = if wanted == Query { "queries" } else { "modifies" };
            return Err(Error::Invalid(format!("{opcode} isn't a command that {what} an object")));
        };
        let general = *created_by == Opcode::CREATE_GENERAL_OBJECT;
        let obj_type = if general { OBJ_TYPE.get(input)? as u16 } else { 0 };
        let named = (*created_by, obj_type, number.get(input)? as u32);
        if named != (self.created_by, self.obj_type, self.number) {
            return Err(Error::Invalid(format!(
                "{opcode} names object {:#x}, the handle is that of {:#x} made by {}",
                named.2, self.number, self.created_by
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(opcode: Opcode, len: usize) -> Vec<u8> {
        let mut input = vec![0; len];
        mbox_in::OPCODE.set(&mut input, u64::from(opcode.0)).expect("fits");
        mbox_in::UID.set(&mut input, 7).expect("fits");
        input
    }

    #[test]
    fn every_creation_can_be_undone() {
        for creation in CREATIONS {
            let mut create = input(creation.opcode, 0x200);
            if creation.opcode == Opcode::CREATE_PSV {
                NUM_PSV.set(&mut create, 1).expect("fits");
            }
            prepare_creation(&mut create).expect("allowed");
            let mut output = vec![0; 0x40];
            match creation.number {
                Number::Output(number) => number.set(&mut output, 0x5a).expect("fits"),
                Number::Input(number) => number.set(&mut create, 0x5a).expect("fits"),
            }
            for copied in creation.copied {
                copied.set(&mut create, 1).expect("fits");
            }
            let object = Object::created(&create, &output).expect("was created");
            assert_eq!(object.number(), 0x5a, "{}", creation.opcode);
            let destroy = object.destroy();
            assert_eq!(command::opcode(destroy), creation.destroy);
            assert_eq!(mbox_in::UID.get(destroy), Ok(7));
            assert_eq!(creation.destroy_number.get(destroy), Ok(0x5a));
            assert!(creation.copied.iter().all(|copied| copied.get(destroy) == Ok(1)), "{}", creation.opcode);
        }
    }

    /// Bytes of two destroying commands, by hand from the kernel header.
    #[test]
    fn destroying_commands_have_their_bytes() {
        let mut create = input(Opcode::CREATE_GENERAL_OBJECT, 0x20);
        OBJ_TYPE.set(&mut create, 0x7e00).expect("fits");
        let object = Object::created(&create, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]).expect("was created");
        assert_eq!(object.destroy(), [0x0a, 0x03, 0, 7, 0, 0, 0x7e, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(object.event_kind(EventType::OBJECT_CHANGE), 0x7e00);
        let create = input(Opcode::CREATE_CQ, 0x110);
        let object = Object::created(&create, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 4, 0, 0, 0, 0]).expect("was created");
        assert_eq!(object.destroy(), [0x04, 0x01, 0, 7, 0, 0, 0, 0, 0, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!((object.event_kind(EventType::COMP), object.event_kind(EventType::OBJECT_CHANGE)), (0, 0xff10));
    }

    #[test]
    fn uses_are_held_against_the_handle() {
        let object = |opcode: Opcode, obj_type: u16| {
            let mut create = input(opcode, 0x20);
            OBJ_TYPE.set(&mut create, u64::from(obj_type)).expect("fits");
            Object::created(&create, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]).expect("was created")
        };
        let channel = object(Opcode::CREATE_GENERAL_OBJECT, 0x7e00);
        let mut query = input(Opcode::QUERY_GENERAL_OBJECT, 0x20);
        OBJ_TYPE.set(&mut query, 0x7e00).expect("fits");
        general_obj_in_cmd_hdr::OBJ_ID.set(&mut query, 9).expect("fits");
        assert_eq!(channel.check_use(Query, &query), Ok(()));
        assert!(channel.check_use(Modify, &query).is_err(), "a query doesn't modify");
        assert!(object(Opcode::CREATE_GENERAL_OBJECT, 0x7e01).check_use(Query, &query).is_err(), "another type");
        assert!(object(Opcode::CREATE_CQ, 0).check_use(Query, &query).is_err(), "another kind");
        let mut other = query.clone();
        general_obj_in_cmd_hdr::OBJ_ID.set(&mut other, 8).expect("fits");
        assert!(channel.check_use(Query, &other).is_err(), "another number");
        general_obj_in_cmd_hdr::VHCA_TUNNEL_ID.set(&mut query, 1).expect("fits");
        assert!(channel.check_use(Query, &query).is_err(), "through a tunnel");
        assert!(channel.check_use(Query, &[]).is_err());
    }

    #[test]
    fn only_general_commands_are_general() {
        for (name, opcode) in Opcode::ALL {
            let general = is_general(&input(*opcode, 16), false);
            let in_range = (0xb00..0xd00).contains(&opcode.0);
            assert_eq!(general, in_range || GENERAL.contains(opcode), "{name}");
            let is_use = USES.iter().any(|(used, ..)| used == opcode);
            let creates = CREATIONS.iter().any(|creation| creation.opcode == *opcode);
            assert!(!(general && (is_use || creates)), "{name}");
        }
        let mut tunnelled = input(Opcode::CREATE_QP, 16);
        general_obj_in_cmd_hdr::VHCA_TUNNEL_ID.set(&mut tunnelled, 1).expect("fits");
        assert!(is_general(&tunnelled, true) && !is_general(&tunnelled, false));
    }

    #[test]
    fn what_a_user_may_not_create() {
        for opcode in
            [Opcode::ENABLE_HCA, Opcode::CREATE_EQ, Opcode::ALLOC_UAR, Opcode::CREATE_UMEM, Opcode::CREATE_PSV]
        {
            assert!(prepare_creation(&mut input(opcode, 0x200)).is_err(), "{opcode}");
        }
        assert!(prepare_creation(&mut []).is_err());
        assert!(prepare_creation(&mut input(Opcode::CREATE_CQ, 16)).is_err(), "too short for its own fields");
    }

    #[test]
    fn memory_is_named_by_umem() {
        for (mode, valid) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
            let mut create = input(Opcode::CREATE_MKEY, 0x110);
            ACCESS_MODE_LOW.set(&mut create, mode).expect("fits");
            prepare_creation(&mut create).expect("allowed");
            assert_eq!(MKEY_UMEM_VALID.get(&create), Ok(valid), "access mode {mode}");
        }
        let mut create = input(Opcode::CREATE_QP, 0x110);
        prepare_creation(&mut create).expect("allowed");
        assert_eq!((create[0x743 / 8], create[0x10c]), (1 << 4, 1 << 7));
    }
}
