//! Discovery: does the device speak `twin-v1`, and how much can it do?

use mlx5_twin_fw_cmds::cap::CapMode;
use mlx5_twin_fw_cmds::layout::{query_hca_cap_in, query_hca_cap_out, twin_cap};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_fw_cmds::twin_v1 as numbers;
use mlx5_twin_fw_cmds::twin_v1::gateway::{END, PAYLOAD};

use super::super::{Error, Limits};
use crate::backend::{self, Backend};

/// Most slots that a ring can have, as log2: an index of a message has 24 bits, and one more bit must be left for the lap.
const LOG_INDEX_SLOTS: u64 = 23;
/// Strides that software can deal with: a head and one dword, to 1 MiB (ours).
const LOG_STRIDES: std::ops::RangeInclusive<u64> = 7..=20;
/// The Read Completion Boundary of functions that aren't root complexes: where completions are cut (PCIe base specification 2.3.1.1).
const BOUNDARY: u64 = 128;

/// What `twin_cap` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability {
    pub(super) limits: Limits,
    /// log2 of the bytes of a slot: the least that holds a head and the largest payload.
    pub(super) log_slot_stride: u32,
}

impl Capability {
    /// Asks the device, and checks what it answers.
    pub(super) fn query(backend: &dyn Backend) -> Result<Capability, Error> {
        let mut input = [0; query_hca_cap_in::SIZE];
        query_hca_cap_in::OPCODE.set(&mut input, u64::from(Opcode::QUERY_HCA_CAP.0))?;
        query_hca_cap_in::OP_MOD.set(&mut input, u64::from(numbers::TWIN_CAP.op_mod(CapMode::Current)))?;
        let output = match backend.general_command(&input, query_hca_cap_out::SIZE) {
            Err(backend::Error::Command { status, .. }) if matches!(status, Status::BAD_PARAM | Status::BAD_OP) => {
                return Err(backend::Error::NoTwin(format!("the firmware answers {status}")).into());
            }
            other => other?,
        };
        Capability::read(query_hca_cap_out::CAPABILITY.slice(&output)?)
    }

    fn read(page: &[u8]) -> Result<Capability, Error> {
        let signature = twin_cap::SIGNATURE.get(page)?;
        if signature != u64::from(numbers::SIGNATURE) {
            return Err(backend::Error::NoTwin(format!("its signature is {signature:#x}")).into());
        }
        let versions = twin_cap::VERSIONS.get(page)?;
        if versions >> numbers::VERSION & 1 == 0 {
            let text = format!("versions {versions:#x}, version {} isn't among them", numbers::VERSION);
            return Err(backend::Error::NoTwin(text).into());
        }
        let least = twin_cap::LOG_MIN_SLOT_STRIDE.get(page)?;
        let most = twin_cap::LOG_MAX_SLOT_STRIDE.get(page)?;
        let payload = twin_cap::MAX_RESPONSE_PAYLOAD.get(page)?;
        let requests = twin_cap::MAX_REQUESTS.get(page)?;
        for (field, value, ok, allowed) in [
            ("log_min_slot_stride", least, LOG_STRIDES.contains(&least), "7 to 20"),
            ("log_max_slot_stride", most, most >= least, "log_min_slot_stride and more"),
            ("max_response_payload", payload, payload >= BOUNDARY, "0x80 and more"),
            ("max_requests", requests, requests >= 1, "1 and more"),
        ] {
            if !ok {
                return Err(Error::Capability { field, value, allowed });
            }
        }
        let number = |field: mlx5_twin_fw_cmds::field::Field| field.get(page).map(|value| value as u16);
        let limits = Limits {
            max_ring_slots: 1 << twin_cap::LOG_MAX_RING_SLOTS.get(page)?.min(LOG_INDEX_SLOTS),
            max_functions: number(twin_cap::MAX_FUNCTIONS)?,
            max_credits: number(twin_cap::MAX_CREDITS)?,
            max_response_payload: (payload.min(END - PAYLOAD) & !3) as usize,
            max_requests: requests as u32,
            max_regions: number(twin_cap::MAX_REGIONS)?.min(numbers::MAX_REGIONS as u16),
            max_doorbells: numbers::MAX_DOORBELLS as u64,
            max_msix: number(twin_cap::MAX_MSIX)?,
            max_region_bytes: twin_cap::MAX_REGION_BYTES.get(page)? as u32,
            static_ports: twin_cap::STATIC_PORTS.get(page)? as u32,
            hotplug_ports: twin_cap::HOTPLUG_PORTS.get(page)? as u32,
        };
        Ok(Capability { limits, log_slot_stride: least as u32 })
    }
}
