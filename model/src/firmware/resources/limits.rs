//! How much of everything there may be.

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, device_mem_cap};

use super::flows::MAX_FLOW_TABLES;
use super::memic::MEMIC_UNIT;
use crate::profile::{Capabilities, Profile, ProfileError};

/// Entries in the page lists of all UMEMs, queues and memory keys together, at most: 32 MiB of the
/// simulator's memory, 16 GiB of registered memory in pages of 4 KiB. Ours.
pub const PAGE_BUDGET: usize = 1 << 22;

/// Number of the first queue pair: 0 and 1 stand for the port's own, and Linux's driver has special
/// numbers below this one. Ours.
pub const FIRST_QPN: u32 = 0x40;

/// Index of the first memory key: 0 is none, and keys of index 1 end lists in work requests (`qp.h`,
/// `MLX5_INVALID_LKEY` = 0x100).
pub const FIRST_MKEY: u32 = 2;

/// Numbers on the wire have 24 bits, and all of them set is none (`qp.h`, `mkc.qpn`).
const NUMBERS: u32 = 0xff_ffff;

/// General objects at most. Ours: no public capability says how many there are.
pub const MAX_OBJECTS: u32 = 1 << 16;

/// What the current capabilities and the device allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// User contexts: 2^`log_max_uctx`; none if that is 0, which means 'no DEVX' to Linux.
    pub uctxs: u32,
    /// Capabilities a user context may ask for (`uctx_cap`).
    pub uctx_cap: u32,
    /// Index of the first UAR page.
    pub first_uar: u32,
    /// UAR pages.
    pub uars: u32,
    /// Protection domains: 2^`log_max_pd`.
    pub pds: u32,
    /// Transport domains: 2^`log_max_transport_domain`; none if that is 0, which means that Linux
    /// makes none.
    pub transport_domains: u32,
    /// XRC domains: 2^`log_max_xrcd`, none without `xrc`.
    pub xrcds: u32,
    /// UMEMs: 2^`log_max_umem`.
    pub umems: u32,
    /// Whether the driver itself may have UMEMs (`umem_uid_0`).
    pub umem_uid_0: bool,
    /// Whether UMEMs may ask for address translation services (`ats`).
    pub ats: bool,
    /// Event queues: `max_num_eqs`, or 2^`log_max_eq` if that is 0.
    pub eqs: u32,
    /// log2 of the entries of an event queue (`log_max_eq_sz`).
    pub log_eq_size: u32,
    /// Completion queues: 2^`log_max_cq`.
    pub cqs: u32,
    /// Memory keys: 2^`log_max_mkey`, less those whose index is reserved.
    pub mkeys: u32,
    /// Shared receive queues of either kind: 2^`log_max_srq`.
    pub srqs: u32,
    /// Receive memory pools: 2^`log_max_rmp`.
    pub rmps: u32,
    /// Queue pairs: 2^`log_max_qp`.
    pub qps: u32,
    /// Multicast groups: 2^`log_max_mcg`.
    pub multicast_groups: u32,
    /// Queue pairs of a multicast group: `max_qp_mcg`.
    pub multicast_qps: u32,
    /// MSI-X vectors of the function.
    pub msix_vectors: u16,
    /// Q counters: `max_qp_cnt`, or as many as their ids of 8 bits allow.
    pub q_counters: u32,
    /// Flow counters: `max_flow_counter_31_16` and `max_flow_counter_15_0`.
    pub flow_counters: u32,
    /// Sizes of bulks of flow counters, in bits (`flow_counter_bulk_alloc`).
    pub flow_counter_bulk: u32,
    /// Flow counters that can be queried at once: 2^`log_max_flow_counter_bulk`.
    pub flow_counter_query: u32,
    /// Pieces of memory on the device: `max_memic_size` in units of 64 bytes.
    pub memics: u32,
    /// Send queues: 2^`log_max_sq`; none of these and the following without `eth_net_offloads`.
    pub sqs: u32,
    /// Receive queues: 2^`log_max_rq`.
    pub rqs: u32,
    /// Tables of receive queues: 2^`log_max_rqt`.
    pub rqts: u32,
    /// Transport interface receive objects: 2^`log_max_tir`.
    pub tirs: u32,
    /// Transport interface send objects: 2^`log_max_tis`.
    pub tiss: u32,
    /// Flow tables: as many as the model stores; none without `nic_flow_table`.
    pub flow_tables: u32,
}

impl Limits {
    /// The limits that go with a profile's device and the current capabilities.
    ///
    /// # Errors
    /// [`ProfileError`] if the regions of BAR0 don't fit, which a validated profile's do.
    pub fn new(profile: &Profile, capabilities: &Capabilities) -> Result<Self, ProfileError> {
        let bar0 = profile.bar0(capabilities)?;
        let cap = |field: Field| u32::try_from(capabilities.general(field)).unwrap_or(u32::MAX);
        let log = |field| 1u32.checked_shl(cap(field)).unwrap_or(u32::MAX);
        let none_if_0 = |field| if cap(field) == 0 { 0 } else { log(field) };
        let memic_size = capabilities.max_field(CapType::DEV_MEM, device_mem_cap::MAX_MEMIC_SIZE);
        let srqs = log(cmd_hca_cap::LOG_MAX_SRQ).min(NUMBERS / 2);
        let eqs = match cap(cmd_hca_cap::MAX_NUM_EQS) {
            0 => log(cmd_hca_cap::LOG_MAX_EQ),
            eqs => eqs,
        };
        let ethernet = cap(cmd_hca_cap::ETH_NET_OFFLOADS) != 0;
        let packets = |field| if ethernet { log(field) } else { 0 };
        let qps = log(cmd_hca_cap::LOG_MAX_QP).min(NUMBERS - FIRST_QPN);
        let sqs = packets(cmd_hca_cap::LOG_MAX_SQ).min(NUMBERS - FIRST_QPN - qps);
        Ok(Self {
            uctxs: none_if_0(cmd_hca_cap::LOG_MAX_UCTX),
            uctx_cap: cap(cmd_hca_cap::UCTX_CAP),
            first_uar: profile.device.first_uar,
            uars: bar0.uar_count(),
            pds: log(cmd_hca_cap::LOG_MAX_PD),
            transport_domains: none_if_0(cmd_hca_cap::LOG_MAX_TRANSPORT_DOMAIN),
            xrcds: if cap(cmd_hca_cap::XRC) == 0 { 0 } else { log(cmd_hca_cap::LOG_MAX_XRCD) },
            umems: log(cmd_hca_cap::LOG_MAX_UMEM),
            umem_uid_0: cap(cmd_hca_cap::UMEM_UID_0) != 0,
            ats: cap(cmd_hca_cap::ATS) != 0,
            // An EQ number has 8 bits, and 0 is not used.
            eqs: eqs.min(255),
            log_eq_size: cap(cmd_hca_cap::LOG_MAX_EQ_SZ),
            cqs: log(cmd_hca_cap::LOG_MAX_CQ).min(NUMBERS - 1),
            mkeys: log(cmd_hca_cap::LOG_MAX_MKEY).saturating_sub(FIRST_MKEY),
            srqs,
            rmps: log(cmd_hca_cap::LOG_MAX_RMP).min(NUMBERS - 1 - srqs),
            qps,
            multicast_groups: log(cmd_hca_cap::LOG_MAX_MCG),
            multicast_qps: cap(cmd_hca_cap::MAX_QP_MCG),
            msix_vectors: profile.device.msix_vectors,
            // 0 is not used.
            q_counters: cap(cmd_hca_cap::MAX_QP_CNT).min(255),
            flow_counters: cap(cmd_hca_cap::MAX_FLOW_COUNTER_31_16) << 16 | cap(cmd_hca_cap::MAX_FLOW_COUNTER_15_0),
            flow_counter_bulk: cap(cmd_hca_cap::FLOW_COUNTER_BULK_ALLOC),
            flow_counter_query: log(cmd_hca_cap::LOG_MAX_FLOW_COUNTER_BULK),
            memics: u32::try_from(memic_size / MEMIC_UNIT).unwrap_or(u32::MAX),
            sqs,
            rqs: packets(cmd_hca_cap::LOG_MAX_RQ).min(NUMBERS - FIRST_QPN - qps - sqs),
            rqts: packets(cmd_hca_cap::LOG_MAX_RQT).min(NUMBERS - 1),
            tirs: packets(cmd_hca_cap::LOG_MAX_TIR).min(NUMBERS - 1),
            tiss: packets(cmd_hca_cap::LOG_MAX_TIS).min(NUMBERS - 1),
            flow_tables: if cap(cmd_hca_cap::NIC_FLOW_TABLE) == 0 { 0 } else { MAX_FLOW_TABLES },
        })
    }

    /// Number of the first send queue: after those of queue pairs.
    pub(super) fn first_sq(&self) -> u32 {
        FIRST_QPN + self.qps
    }

    /// Number of the first receive queue: after those of send queues.
    pub(super) fn first_rq(&self) -> u32 {
        self.first_sq() + self.sqs
    }
}
