//! MAD_IFC: a management datagram (MAD) to the port's own agents, and their answer.
//!
//! The agents answer Get of what the port is, from the same data as the commands do; a driver without the capability `ib_virt`
//! asks in this way, and one without `vport_counters` asks for counters. What an agent can't do, the MAD's own status says; only
//! what is no request at all is refused as a command.

mod pma;
mod smp;

use mlx5_twin_fw_cmds::field::Bytes;
use mlx5_twin_fw_cmds::layout::{ib_mad_hdr, ib_pma_mad, ib_smp, mad_ifc_in, mad_ifc_out};
use mlx5_twin_fw_cmds::mad::{BASE_VERSION, CLASS_VERSION, MadClass, MadMethod, MadStatus, PmaAttribute, SmpAttribute};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::port::named_port;

/// Bits of `op_mod`: keys that are not to be checked. The port has none, so they change nothing.
const IGNORE_KEYS: u16 = 3;

/// Answers Get of an attribute: writes its data, which is all zero before. What the request has there comes with its modifier.
type Get = fn(&Firmware, &Request<'_>, &mut Answer<'_>) -> Result<MadStatus, Failure>;

/// What an agent needs of a request.
struct Request<'a> {
    /// The attribute modifier.
    modifier: u32,
    /// The attribute's data.
    data: Command<'a>,
}

/// An attribute that can be got.
struct Attribute {
    class: MadClass,
    id: u16,
    /// Where its data are in the MAD.
    data: Bytes,
    get: Get,
}

const fn smp(id: SmpAttribute, get: Get) -> Attribute {
    Attribute { class: MadClass::SUBN_LID_ROUTED, id: id.0, data: ib_smp::DATA, get }
}

const fn pma(id: PmaAttribute, get: Get) -> Attribute {
    Attribute { class: MadClass::PERF_MGMT, id: id.0, data: ib_pma_mad::DATA, get }
}

const ATTRIBUTES: &[Attribute] = &[
    smp(SmpAttribute::NODE_DESC, smp::node_description),
    smp(SmpAttribute::NODE_INFO, smp::node_info),
    smp(SmpAttribute::GUID_INFO, smp::guid_info),
    smp(SmpAttribute::PORT_INFO, smp::port_info),
    smp(SmpAttribute::PKEY_TABLE, smp::pkey_table),
    pma(PmaAttribute::CLASS_PORT_INFO, pma::class_port_info),
    pma(PmaAttribute::PORT_COUNTERS, pma::port_counters),
    pma(PmaAttribute::PORT_COUNTERS_EXT, pma::port_counters_ext),
];

pub(in super::super) fn exchange(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if command.op_mod() & !IGNORE_KEYS != 0 {
        return Err(Failure::OP_MOD);
    }
    named_port(command, mad_ifc_in::PORT)?;
    if command.flag(mad_ifc_in::PLANE_INDEX)? {
        return Err(Failure::PORT_PLANE);
    }
    let request = mad_ifc_in::MAD.slice(command.bytes()).map_err(|error| Failure::of_input(&error))?;
    let header = Command::new(request);
    if header.get::<u8>(ib_mad_hdr::BASE_VERSION)? != BASE_VERSION {
        return Err(Failure::MAD_VERSION);
    }
    let method: u8 = header.get(ib_mad_hdr::METHOD)?;
    if method & MadMethod::RESP.0 != 0 {
        return Err(Failure::MAD_RESPONSE);
    }
    answer.set_bytes(mad_ifc_out::RESPONSE_MAD_PACKET, request)?;
    let response = mad_ifc_out::RESPONSE_MAD_PACKET.slice_mut(answer.bytes_mut());
    let response = response.map_err(|error| Failure::of_output(&error))?;
    let status = respond(firmware, &header, MadMethod(method), response)?;
    let fields = [(ib_mad_hdr::METHOD, u64::from(method | MadMethod::RESP.0)), (ib_mad_hdr::STATUS, status.0.into())];
    for (field, value) in fields {
        field.set(response, value).map_err(|error| Failure::of_output(&error))?;
    }
    Ok(Effect::None)
}

/// Fills in the attribute's data, if there is such an attribute: gives the MAD's status.
fn respond(
    firmware: &Firmware,
    header: &Command<'_>,
    method: MadMethod,
    response: &mut [u8],
) -> Result<MadStatus, Failure> {
    // The two classes of subnet management differ in how their packets travel only.
    let class = match MadClass(header.get(ib_mad_hdr::MGMT_CLASS)?) {
        MadClass::SUBN_DIRECTED_ROUTE => MadClass::SUBN_LID_ROUTED,
        class => class,
    };
    let known = ATTRIBUTES.iter().any(|attribute| attribute.class == class);
    if !known || header.get::<u8>(ib_mad_hdr::CLASS_VERSION)? != CLASS_VERSION {
        return Ok(MadStatus::BAD_VERSION);
    }
    if !matches!(method, MadMethod::GET | MadMethod::SET) {
        return Ok(MadStatus::UNSUPPORTED_METHOD);
    }
    let id: u16 = header.get(ib_mad_hdr::ATTR_ID)?;
    let attribute = ATTRIBUTES.iter().find(|attribute| attribute.class == class && attribute.id == id);
    let Some(attribute) = attribute.filter(|_| method == MadMethod::GET) else {
        return Ok(MadStatus::UNSUPPORTED_METHOD_ATTRIB);
    };
    let data = attribute.data.slice(header.bytes()).map_err(|error| Failure::of_input(&error))?;
    let request = Request { modifier: header.get(ib_mad_hdr::ATTR_MOD)?, data: Command::new(data) };
    let room = attribute.data.slice_mut(response).map_err(|error| Failure::of_output(&error))?;
    let status = (attribute.get)(firmware, &request, &mut Answer::new(room))?;
    if status != MadStatus::SUCCESS {
        // What could not be done is sent back as it came.
        room.copy_from_slice(data);
    }
    Ok(status)
}
