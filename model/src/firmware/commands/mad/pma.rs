//! The agent of performance management. Layouts as in Linux's `ib_mad.h` and `ib_pma.h`.
//!
//! No packets move in the model: all counts are 0, but for how often the port went down.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{ib_class_port_info, ib_pma_portcounters, ib_pma_portcounters_ext};
use mlx5_twin_fw_cmds::mad::{BASE_VERSION, CLASS_VERSION, MadStatus, PMA_CLASS_CAP_EXT_WIDTH};

use super::super::{Answer, Failure, Firmware};
use super::Request;
use crate::firmware::port::PORT;

type Got = Result<MadStatus, Failure>;

/// `port_select` that means all ports.
const ALL_PORTS: u8 = 0xff;

/// Response time: 4.096 us * 2^18 at most (ours).
const RESPONSE_TIME: u32 = 18;

pub(super) fn class_port_info(_: &Firmware, _: &Request<'_>, data: &mut Answer<'_>) -> Got {
    use ib_class_port_info as info;
    data.set(info::BASE_VERSION, BASE_VERSION)?;
    data.set(info::CLASS_VERSION, CLASS_VERSION)?;
    data.set(info::CAPABILITY_MASK, PMA_CLASS_CAP_EXT_WIDTH)?;
    data.set(info::CAP_MASK2_RESP_TIME, RESPONSE_TIME)?;
    Ok(MadStatus::SUCCESS)
}

/// Checks the port that the request selects; the answer repeats it.
fn selected(request: &Request<'_>, data: &mut Answer<'_>, field: Field) -> Got {
    let port: u8 = request.data.get(field)?;
    if port != PORT && port != ALL_PORTS {
        return Ok(MadStatus::INVALID_ATTRIB_VALUE);
    }
    data.set(field, port)?;
    Ok(MadStatus::SUCCESS)
}

pub(super) fn port_counters(firmware: &Firmware, request: &Request<'_>, data: &mut Answer<'_>) -> Got {
    data.set(ib_pma_portcounters::LINK_DOWNED_COUNTER, firmware.port.link_downed)?;
    selected(request, data, ib_pma_portcounters::PORT_SELECT)
}

pub(super) fn port_counters_ext(_: &Firmware, request: &Request<'_>, data: &mut Answer<'_>) -> Got {
    selected(request, data, ib_pma_portcounters_ext::PORT_SELECT)
}
