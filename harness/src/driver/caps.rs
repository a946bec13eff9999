//! The capability pages that the driver has asked for, with the values in force.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::GENERAL_OBJ_TYPES_VIRTIO_NET_Q;
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, device_event_cap};

use super::devx::LEGACY_EVENTS;

/// Which bits of the general page say that there's another one (`core/fw.c`, `mlx5_query_hca_caps`): the field, the bits, the page.
pub(super) const GATES: &[(Field, u64, CapType)] = &[
    (cmd_hca_cap::HCA_CAP_2, 1, CapType::GENERAL_2),
    (cmd_hca_cap::ATOMIC, 1, CapType::ATOMIC),
    (cmd_hca_cap::GENERAL_OBJ_TYPES, GENERAL_OBJ_TYPES_VIRTIO_NET_Q, CapType::VDPA_EMULATION),
    (cmd_hca_cap::EVENT_CAP, 1, CapType::DEV_EVENT),
    (cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER, 1, CapType::TLP_EMULATION),
];

/// Capability pages by type.
#[derive(Clone, Debug, Default)]
pub(super) struct Capabilities {
    pages: BTreeMap<CapType, Vec<u8>>,
}

impl Capabilities {
    pub(super) fn insert(&mut self, cap_type: CapType, page: Vec<u8>) {
        self.pages.insert(cap_type, page);
    }

    /// A field's value; 0 if the device lacks the page.
    pub(super) fn get(&self, cap_type: CapType, field: Field) -> u64 {
        self.pages.get(&cap_type).and_then(|page| field.get(page).ok()).unwrap_or(0)
    }

    /// A field of the general page.
    pub(super) fn general(&self, field: Field) -> u64 {
        self.get(CapType::GENERAL, field)
    }

    /// The pages, beside the general one, that the device says it has.
    pub(super) fn announced(&self) -> impl Iterator<Item = CapType> + '_ {
        let open = |&&(field, bits, _): &&(Field, u64, CapType)| self.general(field) & bits != 0;
        GATES.iter().filter(open).map(|&(_, _, cap_type)| cap_type)
    }

    /// Events about users' objects, a bit for each type; 0 if the device doesn't list any.
    pub(super) fn user_events(&self) -> [u64; 4] {
        let Some(page) = self.pages.get(&CapType::DEV_EVENT) else { return [0; 4] };
        std::array::from_fn(|word| {
            let [affiliated, unaffiliated] =
                [device_event_cap::USER_AFFILIATED_EVENTS, device_event_cap::USER_UNAFFILIATED_EVENTS]
                    .map(|events| events.get(page, word).unwrap_or(0));
            affiliated | unaffiliated
        })
    }

    /// Whether users may subscribe to events of this type of an object (`is_valid_events` of Linux's `devx.c`).
    pub(super) fn allows_subscription(&self, event: EventType) -> bool {
        if self.general(cmd_hca_cap::EVENT_CAP) == 0 {
            return LEGACY_EVENTS.contains(&event);
        }
        let (word, bit) = (usize::from(event.0 / 64), event.0 % 64);
        let listed = self
            .pages
            .get(&CapType::DEV_EVENT)
            .and_then(|page| device_event_cap::USER_AFFILIATED_EVENTS.get(page, word).ok());
        event == EventType::COMP || listed.unwrap_or(0) >> bit & 1 == 1
    }
}
