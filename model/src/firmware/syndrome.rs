//! Syndromes: the 32-bit number beside the status of a refused command, one for each rule.
//!
//! What a real device puts there is not public. The values here are ours: [`BASE`] and a number
//! that never changes its meaning. `SYNDROMES.md` of this crate is the same table for reading.

use core::fmt;

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::status::Status;
use thiserror::Error;

/// What all syndromes of this project have in common: `TW` in ASCII in the upper half.
pub const BASE: u32 = 0x5457_0000;

/// A syndrome as the driver sees it in the second dword of an answer. 0 is 'none'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syndrome(pub u32);

impl Syndrome {
    /// What an accepted command answers.
    pub const NONE: Self = Self(0);

    /// The row of [`TABLE`] that explains this syndrome, if it is one of ours.
    #[must_use]
    pub fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.failure.syndrome == self)
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => write!(f, "{:#010x} ({})", self.0, row.rule),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

/// Why a command was refused: what its answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{status:?}, syndrome {syndrome}")]
pub struct Failure {
    /// The command status.
    pub status: Status,
    /// Which rule was broken.
    pub syndrome: Syndrome,
}

impl Failure {
    /// What a field that could not be read means: the command is too short to hold it.
    pub(crate) fn of_input(error: &FieldError) -> Self {
        match error {
            FieldError::Short { .. } | FieldError::Index { .. } => Self::INPUT_TOO_SHORT,
            FieldError::TooLarge { .. } => Self::INTERNAL,
        }
    }

    /// What a field that could not be written means: the answer has no room for it.
    pub(crate) fn of_output(error: &FieldError) -> Self {
        match error {
            FieldError::Short { .. } | FieldError::Index { .. } => Self::OUTPUT_TOO_SHORT,
            FieldError::TooLarge { .. } => Self::INTERNAL,
        }
    }
}

/// One line of the table of syndromes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the constant of [`Failure`].
    pub name: &'static str,
    /// Status and syndrome.
    pub failure: Failure,
    /// The rule that was broken.
    pub rule: &'static str,
}

/// Declares each rule once: number, name, status and rule become a constant of [`Failure`], its
/// documentation and a row of [`TABLE`].
macro_rules! syndromes {
    ($($number:literal $name:ident $status:ident $rule:literal;)+) => {
        impl Failure {
            $(
                #[doc = $rule]
                pub const $name: Self =
                    Self { status: Status::$status, syndrome: Syndrome(BASE | $number) };
            )+
        }

        /// Every syndrome of the firmware, by rising value.
        pub const TABLE: &[Row] = &[
            $(Row { name: stringify!($name), failure: Failure::$name, rule: $rule },)+
        ];
    };
}

syndromes! {
    // The command as such.
    0x0001 UNKNOWN_OPCODE BAD_OP "The firmware has no command with this opcode.";
    0x0002 WRONG_STATE BAD_SYS_STATE "The command is not allowed in the state the function is in.";
    0x0003 INPUT_TOO_SHORT BAD_INP_LEN "The input is shorter than the command, or than the list it announces.";
    0x0004 OUTPUT_TOO_SHORT BAD_OUTP_LEN "The output is shorter than the answer.";
    0x0005 OP_MOD BAD_PARAM "The command has no such op_mod.";
    0x0006 UID_UNKNOWN BAD_RES "The uid in the command's header belongs to no user context.";
    0x0007 DRIVER_ONLY BAD_PARAM "The command is the driver's own and has a user context's uid in its header.";
    0x0008 INTERNAL INT_ERR "The firmware broke a rule of its own: a defect of the model.";
    0x0009 INJECTED INT_ERR "An internal error was asked for (fault injection).";

    // Function, pages, capabilities.
    0x0101 OTHER_FUNCTION BAD_PARAM "The command names another function than the one it was sent to.";
    0x0102 ISSI BAD_PARAM "The interface step (ISSI) is not one of those supported.";
    0x0103 PAGES_MISSING BAD_SYS_STATE "Pages that the firmware asked for have not been given yet.";
    0x0104 PAGE_UNALIGNED BAD_PARAM "A page's address is not a multiple of 4096.";
    0x0105 PAGE_GIVEN_TWICE BAD_PARAM "A page was given that the firmware holds already.";
    0x0106 PAGES_NOT_WANTED LIM_ERR "More pages were given than the firmware asked for.";
    0x0107 CAP_TYPE BAD_PARAM "The profile has no capability page of this type.";
    0x0108 CAP_READ_ONLY BAD_PARAM "Capability pages of this type can't be set.";
    0x0109 CAP_RAISED BAD_PARAM "A capability was set beyond its maximum.";
    0x010a CAP_RESERVED BAD_PARAM "A reserved bit of a capability page was set.";
    0x010b TEARDOWN_PROFILE BAD_PARAM "The teardown profile is not supported; only graceful close (0) is.";
    0x010c REGISTER BAD_PARAM "The firmware does not have this register.";
    0x010d REGISTER_VALUE BAD_PARAM "The register does not take this value.";

    // User contexts.
    0x0201 UCTX_FULL LIM_ERR "All user contexts (2^log_max_uctx) are taken.";
    0x0202 UCTX_UNKNOWN BAD_RES "No user context has this uid.";
    0x0203 UCTX_CAP BAD_PARAM "The user context asks for a capability that uctx_cap does not offer.";
    0x0204 UCTX_IN_USE BAD_RES_STATE "A resource of the user context is in use by one of another uid's.";

    // UARs.
    0x0301 UAR_FULL LIM_ERR "All UAR pages between first_uar and the first window of BAR0 are taken.";
    0x0302 UAR_UNKNOWN BAD_RES "No UAR has this index.";
    0x0303 UAR_FOREIGN BAD_RES "The UAR belongs to another uid.";
    0x0304 UAR_IN_USE BAD_RES_STATE "The UAR is in use.";

    // Protection domains.
    0x0401 PD_FULL LIM_ERR "All protection domains (2^log_max_pd) are taken.";
    0x0402 PD_UNKNOWN BAD_RES "No protection domain has this number.";
    0x0403 PD_FOREIGN BAD_RES "The protection domain belongs to another uid.";
    0x0404 PD_IN_USE BAD_RES_STATE "The protection domain is in use.";

    // UMEMs.
    0x0501 UMEM_FULL LIM_ERR "All UMEMs (2^log_max_umem) are taken.";
    0x0502 UMEM_UNKNOWN BAD_RES "No UMEM has this id.";
    0x0503 UMEM_FOREIGN BAD_RES "The UMEM belongs to another uid.";
    0x0504 UMEM_IN_USE BAD_RES_STATE "The UMEM is in use.";
    0x0505 UMEM_UID_0 BAD_PARAM "The driver (uid 0) can't make a UMEM while the capability umem_uid_0 is 0.";
    0x0506 UMEM_EMPTY BAD_PARAM "The UMEM has no pages.";
    0x0507 UMEM_PAGE_SIZE BAD_PARAM "The UMEM's pages are larger than 2^51 bytes, or together than 2^64.";
    0x0508 UMEM_PAGE_OFFSET BAD_PARAM "The UMEM's page_offset is not inside its first page.";
    0x0509 UMEM_ATS BAD_PARAM "The UMEM asks for address translation (ats) and the capability ats is 0.";
    0x050a UMEM_PAGE_UNALIGNED BAD_PARAM "A page of the UMEM is not aligned to the UMEM's page size.";
    0x050b PAGE_BUDGET LIM_ERR "The page lists of all UMEMs, queues and memory keys together exceed what the model stores.";

    // Event queues.
    0x0601 EQ_FULL LIM_ERR "All event queues (max_num_eqs, or else 2^log_max_eq) are taken.";
    0x0602 EQ_UNKNOWN BAD_RES "No event queue has this number.";
    0x0603 EQ_FOREIGN BAD_RES "The event queue belongs to another uid.";
    0x0604 EQ_IN_USE BAD_RES_STATE "The event queue is in use.";
    0x0605 EQ_SIZE LIM_ERR "The event queue has more than 2^log_max_eq_sz entries.";
    0x0606 EQ_VECTOR BAD_PARAM "The function has no such MSI-X vector.";
    0x0607 EQ_PAGE_UNALIGNED BAD_PARAM "A page of the event queue is not aligned to the queue's page size.";
    0x0608 EQ_EVENTS BAD_PARAM "A user context asks for events that are only the driver's.";

    // General objects.
    0x0701 OBJECT_FULL LIM_ERR "All general objects that the model stores are taken.";
    0x0702 OBJECT_UNKNOWN BAD_RES "No general object of this type has this id.";
    0x0703 OBJECT_FOREIGN BAD_RES "The general object belongs to another uid.";
    0x0704 OBJECT_IN_USE BAD_RES_STATE "The general object is in use.";
    0x0705 OBJECT_TYPE BAD_PARAM "The firmware has no general objects of this type.";
    0x0706 OBJECT_TUNNEL BAD_PARAM "The command goes through a VHCA tunnel (vhca_tunnel_id); there are none.";
    0x0707 OBJECT_OPTION BAD_PARAM "Alias objects, ranges of objects and offsets in them are not supported.";
    0x0708 OBJECT_MODIFY BAD_PARAM "Nothing of this object can be modified.";

    // Channels and emulated functions (twin-v1, harness/PROTOCOL.md).
    0x0801 TWIN_VERSION BAD_PARAM "The device doesn't speak this version of twin.";
    0x0802 TWIN_RING BAD_PARAM "The ring has more slots, or smaller or larger ones, than twin_cap allows.";
    0x0803 TWIN_CREDITS BAD_PARAM "The channel asks for more credits than twin_cap allows.";
    0x0804 TWIN_PAGE BAD_PARAM "There is no response gateway page with this id.";
    0x0805 TWIN_PAGE_TAKEN BAD_RES_STATE "Another channel holds the gateway page.";
    0x0806 TWIN_RING_MEMORY BAD_PARAM "The ring doesn't lie in the UMEM, isn't aligned to its slots, or the device may not write there.";
    0x0807 TWIN_CHANNELS LIM_ERR "All channels are taken.";
    0x0808 TWIN_PORT BAD_PARAM "There is no emulated function at this port.";
    0x0809 TWIN_PORT_TAKEN BAD_RES_STATE "The function at this port has been claimed.";
    0x080a TWIN_BAR BAD_PARAM "A BAR is of a kind or size that can't be, or lies on the upper half of another.";
    0x080b TWIN_REGION BAD_PARAM "A region isn't of a known kind, a multiple of 4, or inside a BAR that is there; or there are too many.";
    0x080c TWIN_REGION_OVERLAP BAD_PARAM "Two regions overlap.";
    0x080d TWIN_DOORBELLS LIM_ERR "The doorbell regions have more than 48 dwords together.";
    0x080e TWIN_MSIX BAD_PARAM "Regions of MSI-X table and pending bits don't fit the number of vectors, or there are too many of those.";
    0x080f TWIN_CAPABILITY BAD_PARAM "The offset of a capability isn't a multiple of 4 from 0x40 to 0xfc.";
    0x0810 TWIN_FLAGS BAD_PARAM "The channel's flags have a bit without meaning, or both order modes.";
    0x0811 TWIN_EXPORT BAD_PARAM "There is no channel with this id that was exported with this key.";
    0x0812 TWIN_SELECT BAD_PARAM "modify_field_select is 0, or names a field of the channel that can't be modified.";
    0x0813 TWIN_STATE BAD_PARAM "A channel is either primary or secondary.";
    0x0814 TWIN_PRIMARY BAD_RES_STATE "Another channel of the group is primary.";
    0x0815 TWIN_RING_HELD BAD_RES_STATE "The ring of another channel of the group holds messages that haven't been freed.";
    0x0816 TWIN_LAYOUT BAD_PARAM "Another channel of the group has claimed the function with another layout.";

    // Regions and expansion ROMs of emulated functions (twin-v1, harness/PROTOCOL.md).
    0x0820 TWIN_NOTIFY BAD_PARAM "A region is to notify that is neither of doorbells nor stateful.";
    0x0821 TWIN_REGION_BYTES LIM_ERR "The function's stateful regions have more bytes together than max_region_bytes.";
    0x0822 TWIN_ROM BAD_PARAM "The expansion ROM is smaller than 2 KiB or larger than 16 MiB.";
    0x0823 TWIN_REGION_NUMBER BAD_PARAM "The function has no region with this number of which the device keeps the bytes.";
    0x0824 TWIN_REGION_RANGE BAD_PARAM "The bytes are none, or don't lie in the region.";
    0x0825 TWIN_REGION_DWORDS BAD_PARAM "Doorbells are read and set in whole dwords.";

    // The life of emulated functions (twin-v1).
    0x0830 TWIN_PORT_STATIC BAD_PARAM "The function at this port is static: it isn't created, destroyed, plugged or unplugged.";
    0x0831 TWIN_PORT_EMPTY BAD_RES "No function has been created at this hot-plug port.";
    0x0832 TWIN_PORT_CREATED BAD_RES_STATE "A function has been created at this hot-plug port already.";
    0x0833 TWIN_PORT_FOREIGN BAD_RES "Another uid has claimed the function at this port.";
    0x0834 TWIN_HOTPLUG_STATE BAD_RES_STATE "The function's hot-plug state doesn't allow this operation.";

    // Transport domains.
    0x0901 TD_FULL LIM_ERR "All transport domains (2^log_max_transport_domain, none if that is 0) are taken.";
    0x0902 TD_UNKNOWN BAD_RES "No transport domain has this number.";
    0x0903 TD_FOREIGN BAD_RES "The transport domain belongs to another uid.";
    0x0904 TD_IN_USE BAD_RES_STATE "The transport domain is in use.";

    // XRC domains.
    0x0911 XRCD_FULL LIM_ERR "All XRC domains (2^log_max_xrcd, none if xrc is 0) are taken.";
    0x0912 XRCD_UNKNOWN BAD_RES "No XRC domain has this number.";
    0x0913 XRCD_FOREIGN BAD_RES "The XRC domain belongs to another uid.";
    0x0914 XRCD_IN_USE BAD_RES_STATE "The XRC domain is in use.";

    // Where a queue lies, of whatever kind it is.
    0x0921 BUFFER_PAGE_SIZE BAD_PARAM "The queue's pages are larger than 2^51 bytes.";
    0x0922 BUFFER_PAGE_UNALIGNED BAD_PARAM "A page of the queue is not aligned to the queue's page size.";
    0x0923 BUFFER_UMEM_RANGE BAD_PARAM "The queue does not lie inside its UMEM.";
    0x0924 BUFFER_UMEM_ACCESS BAD_PARAM "The device may not read (or write, for completions) where the queue is in its UMEM.";
    0x0925 DBR_UNALIGNED BAD_PARAM "The doorbell record is not aligned to its size.";
    0x0926 DBR_UMEM BAD_PARAM "The doorbell record does not lie inside its UMEM, or the device may not read it.";

    // Completion queues.
    0x0931 CQ_FULL LIM_ERR "All completion queues (2^log_max_cq) are taken.";
    0x0932 CQ_UNKNOWN BAD_RES "No completion queue has this number.";
    0x0933 CQ_FOREIGN BAD_RES "The completion queue belongs to another uid.";
    0x0934 CQ_IN_USE BAD_RES_STATE "The completion queue is in use.";
    0x0935 CQ_SIZE LIM_ERR "The completion queue has more than 2^log_max_cq_sz entries.";
    0x0936 CQ_ENTRY_SIZE BAD_PARAM "Entries of a completion queue don't have this size (cqe_sz).";
    0x0937 CQ_OPTION BAD_PARAM "The completion queue asks for something whose capability is 0.";
    0x0938 CQ_MODIFY BAD_PARAM "MODIFY_CQ selects nothing, a field that can't be changed, or one whose capability is 0.";

    // Memory keys.
    0x0951 MKEY_FULL LIM_ERR "All memory keys (2^log_max_mkey, less two) are taken.";
    0x0952 MKEY_UNKNOWN BAD_RES "No memory key has this index.";
    0x0953 MKEY_FOREIGN BAD_RES "The memory key belongs to another uid.";
    0x0954 MKEY_IN_USE BAD_RES_STATE "The memory key is in use.";
    0x0955 MKEY_MODE BAD_PARAM "There is no such access mode, or the capability for it is 0.";
    0x0956 MKEY_PA BAD_PARAM "A user context asks for a key to all memory (access mode PA).";
    0x0957 MKEY_LIST LIM_ERR "The key has room for more than 2^log_max_klm_list_size keys.";
    0x0958 MKEY_ROOM BAD_PARAM "More translations come with the key than it has room for.";
    0x0959 MKEY_PAGE_SIZE BAD_PARAM "The key's pages have fewer than 2^12 bytes or more than 2^51.";
    0x095a MKEY_PAGE_UNALIGNED BAD_PARAM "A page of the key is not aligned to the key's page size.";
    0x095b MKEY_LENGTH BAD_PARAM "The key's range is longer than what it translates to, or ends beyond 2^64.";
    0x095c MKEY_UMEM BAD_PARAM "Only a key of access mode MTT can lie on a UMEM.";
    0x095d MKEY_OPTION BAD_PARAM "The key asks for something whose capability is 0.";
    0x095e MKEY_MEMIC BAD_PARAM "The key's range does not lie in one piece of memory on the device.";

    // Shared receive queues.
    0x0971 SRQ_FULL LIM_ERR "All shared receive queues (2^log_max_srq) are taken.";
    0x0972 SRQ_UNKNOWN BAD_RES "No shared receive queue of this kind has this number.";
    0x0973 SRQ_FOREIGN BAD_RES "The shared receive queue belongs to another uid.";
    0x0974 SRQ_IN_USE BAD_RES_STATE "The shared receive queue is in use.";
    0x0975 SRQ_SIZE LIM_ERR "The shared receive queue has more than 2^log_max_srq_sz entries.";
    0x0976 SRQ_STRIDE LIM_ERR "Entries of the shared receive queue are larger than max_wqe_sz_rq.";
    0x0977 SRQ_ISSI BAD_PARAM "CREATE_SRQ is for ISSI 0; from ISSI 1 on there are receive memory pools.";
    0x0978 SRQ_UMEM BAD_PARAM "XRC shared receive queues can't lie in UMEMs: how they would name them is not public.";
    0x0979 SRQ_LIMIT BAD_PARAM "The limit (lwm) is not below the number of entries.";
    0x097a SRQ_OPTION BAD_PARAM "The shared receive queue asks for something whose capability is 0.";

    // Receive memory pools.
    0x0981 RMP_FULL LIM_ERR "All receive memory pools (2^log_max_rmp) are taken.";
    0x0982 RMP_UNKNOWN BAD_RES "No receive memory pool has this number.";
    0x0983 RMP_FOREIGN BAD_RES "The receive memory pool belongs to another uid.";
    0x0984 RMP_IN_USE BAD_RES_STATE "The receive memory pool is in use.";
    0x0985 RMP_SIZE LIM_ERR "The receive memory pool has more than 2^log_max_srq_sz entries.";
    0x0986 RMP_STRIDE LIM_ERR "Entries of the receive memory pool are larger than max_wqe_sz_rq, or smaller than 16 bytes.";
    0x0987 RMP_STATE BAD_RES_STATE "The receive memory pool can't go to this state from the one it is in.";
    0x0988 RMP_LIMIT BAD_PARAM "The limit (lwm) is not below the number of entries.";
    0x0989 RMP_TYPE BAD_PARAM "Receive memory pools don't have a work queue of this type (wq_type).";
    0x098a RMP_OPTION BAD_PARAM "The receive memory pool asks for something whose capability is 0.";

    // Queue pairs.
    0x0991 QP_FULL LIM_ERR "All queue pairs (2^log_max_qp) are taken.";
    0x0992 QP_UNKNOWN BAD_RES "No queue pair has this number.";
    0x0993 QP_FOREIGN BAD_RES "The queue pair belongs to another uid.";
    0x0994 QP_IN_USE BAD_RES_STATE "The queue pair is in use.";
    0x0995 QP_SERVICE BAD_PARAM "There is no such service type, or its capability is 0.";
    0x0996 QP_MANAGEMENT BAD_PARAM "Queue pairs for management (QP0, QP1) are the driver's.";
    0x0997 QP_SIZE LIM_ERR "A queue of the queue pair has more than 2^log_max_qp_sz entries.";
    0x0998 QP_STRIDE LIM_ERR "Entries of the receive queue are larger than max_wqe_sz_rq.";
    0x0999 QP_RQ_TYPE BAD_PARAM "There is no such type of receive queue (rq_type).";
    0x099a QP_OPTION BAD_PARAM "A number for the queue pair (input_qpn) or an extended context (qpc_ext) is not supported.";
    0x099b QP_STATE BAD_QP_STATE "The transition does not start in the state the queue pair is in.";
    0x099c QP_OPT_PARAM BAD_PARAM "The transition can't change all that opt_param_mask says, for this service type.";
    0x099d QP_PORT BAD_PARAM "There is no such port.";
    0x099e QP_PKEY_INDEX IX_ERR "The index of a P_Key is beyond the table (pkey_table_size).";
    0x099f QP_GID_INDEX IX_ERR "The index of a GID is beyond the table (gid_table_size).";
    0x09a0 QP_MTU BAD_PARAM "There is no such MTU.";
    0x09a1 QP_MESSAGE LIM_ERR "Messages are larger than 2^log_max_msg bytes.";
    0x09a2 QP_READS LIM_ERR "More reads and atomics under way than log_max_ra_req_qp or log_max_ra_res_qp allows.";

    // Multicast groups.
    0x09b1 MCG_FULL LIM_ERR "All multicast groups (2^log_max_mcg) are taken.";
    0x09b2 MCG_QPS LIM_ERR "The multicast group has as many queue pairs as it can have (max_qp_mcg).";
    0x09b3 MCG_GID BAD_PARAM "The GID is not that of a multicast group (ff00::/8).";
    0x09b4 MCG_ATTACHED BAD_RES_STATE "The queue pair is in the multicast group already.";
    0x09b5 MCG_NOT_ATTACHED BAD_RES "The queue pair is not in the multicast group.";
    0x09b6 MCG_SERVICE BAD_PARAM "Only queue pairs of service type UD can be in multicast groups.";

    // The port: registers, virtual port, MADs.
    0x0a01 REGISTER_ACCESS BAD_PARAM "The register can't be read, or can't be written.";
    0x0a02 REGISTER_GROUP BAD_PARAM "PCAM, MCAM or QCAM is asked for a group that isn't there.";
    0x0a03 COUNTER_GROUP BAD_PARAM "PPCNT is asked for a group of counters that a port of this type doesn't have.";
    0x0a04 PORT BAD_PARAM "There is no such port: only 1, for which 0 stands too.";
    0x0a05 PORT_PLANE BAD_PARAM "The port has no planes.";
    0x0a06 GID_INDEX BAD_PARAM "The GID index is beyond the table (8 * 2^gid_table_size).";
    0x0a07 PKEY_INDEX BAD_PARAM "The P_Key index is beyond the table (128 * 2^pkey_table_size).";
    0x0a08 VPORT_FIELD BAD_PARAM "GUIDs and state policy of the function's own virtual port can't be changed (field_select).";
    0x0a09 VPORT_CAP_MASK BAD_PARAM "A bit of cap_mask1 or cap_mask2 that can't be changed was selected.";
    0x0a0a MAD_VERSION BAD_PKT "The MAD's base version is not 1.";
    0x0a0b MAD_RESPONSE BAD_PKT "The MAD is no request: its method has the response bit.";

    // Counters.
    0x0a21 Q_COUNTER_FULL LIM_ERR "All Q counters (max_qp_cnt, at most 255) are taken.";
    0x0a22 Q_COUNTER_UNKNOWN BAD_RES "No Q counter has this id.";
    0x0a23 Q_COUNTER_FOREIGN BAD_RES "The Q counter belongs to another uid.";
    0x0a24 Q_COUNTER_AGGREGATE BAD_PARAM "Q counters can't be added up (aggregate).";
    0x0a31 FLOW_COUNTER_FULL LIM_ERR "All flow counters (max_flow_counter) are taken.";
    0x0a32 FLOW_COUNTER_UNKNOWN BAD_RES "No flow counter has this id, or it is not the first of its bulk.";
    0x0a33 FLOW_COUNTER_FOREIGN BAD_RES "The flow counter belongs to another uid.";
    0x0a34 FLOW_COUNTER_BULK BAD_PARAM "Bulks of this size are not offered (flow_counter_bulk_alloc).";
    0x0a35 FLOW_COUNTER_RANGE LIM_ERR "More than 2^log_max_flow_counter_bulk flow counters are asked for at once.";
    0x0a36 FLOW_COUNTER_IN_USE BAD_RES_STATE "An entry of a flow table uses the flow counter, or another of its bulk.";

    // Pages while the function runs.
    0x0a41 PAGES_REFUSED LIM_ERR "The object needs pages, and the driver can't give any.";

    // Memory on the device.
    0x0a51 MEMIC_FULL LIM_ERR "All memory on the device (max_memic_size) is taken.";
    0x0a52 MEMIC_UNKNOWN BAD_RES "No piece of memory on the device has this start and this size.";
    0x0a53 MEMIC_FOREIGN BAD_RES "The memory on the device belongs to another uid.";
    0x0a54 MEMIC_IN_USE BAD_RES_STATE "The memory on the device is in use.";
    0x0a55 MEMIC_RANGE BAD_PARAM "The range does not lie in the window of BAR0 for memory on the device.";
    0x0a56 MEMIC_SIZE BAD_PARAM "The size is 0, or no multiple of 64 bytes and of 2^log_min_memic_alloc_size.";
    0x0a57 MEMIC_ALIGNMENT BAD_PARAM "The alignment is larger than log_max_memic_addr_alignment allows.";
    0x0a58 MEMIC_TAKEN NO_RES "The range has no free piece of this size and alignment.";

    // Operations on memory on the device.
    0x0a59 MEMIC_OPERATION BAD_PARAM "The device has no such operation (memic_operations).";
    0x0a5a MEMIC_OPERATION_STATE BAD_RES_STATE "The operation has a place already, or has none to give back.";

    // Packet pacing.
    0x0a61 RATE_INDEX BAD_PARAM "The index is 0, or not below packet_pacing_rate_table_size, or packet_pacing is 0.";
    0x0a62 RATE_FOREIGN BAD_RES "The rate belongs to another uid.";
    0x0a63 RATE_RANGE BAD_PARAM "The rate is below packet_pacing_min_rate or above packet_pacing_max_rate.";
    0x0a64 RATE_OPTION BAD_PARAM "The rate has a burst bound or a typical packet size, whose capability is 0.";
    0x0a65 RATE_UID BAD_PARAM "Rates can't belong to a uid: the capability packet_pacing_uid is 0.";

    // Scheduling elements.
    0x0a71 SCHEDULING_FULL LIM_ERR "All 65535 scheduling elements are taken.";
    0x0a72 SCHEDULING_UNKNOWN BAD_RES "No scheduling element has this id.";
    0x0a73 SCHEDULING_FOREIGN BAD_RES "The scheduling element belongs to another uid.";
    0x0a74 SCHEDULING_IN_USE BAD_RES_STATE "The scheduling element has others below it.";
    0x0a75 SCHEDULING_HIERARCHY BAD_PARAM "The function has no scheduling hierarchy but that of its own queues (3).";
    0x0a76 SCHEDULING_TYPE BAD_PARAM "There are no elements of this type (nic_element_type), or they don't share in this way (nic_tsar_type).";
    0x0a77 SCHEDULING_PARENT BAD_PARAM "The element has nothing above it and shares no bandwidth itself, or what is above it doesn't.";
    0x0a78 SCHEDULING_SHARE BAD_PARAM "bw_share or max_average_bw needs a capability that is 0, bw_share is above max_tsar_bw_share, or max_bw_obj_id is set.";
    0x0a79 SCHEDULING_GROUPS LIM_ERR "All groups of queues (2^log_max_qos_nic_queue_group) are taken.";
    0x0a7a SCHEDULING_SELECT BAD_PARAM "The command selects nothing, or a field that can't be changed.";

    // Ethernet: send queues.
    0x0b01 SQ_FULL LIM_ERR "All send queues (2^log_max_sq, none without eth_net_offloads) are taken.";
    0x0b02 SQ_UNKNOWN BAD_RES "No send queue has this number.";
    0x0b03 SQ_FOREIGN BAD_RES "The send queue belongs to another uid.";
    0x0b05 SQ_SIZE LIM_ERR "The send queue has more than 2^log_max_qp_sz entries, or they are not of 64 bytes.";
    0x0b06 SQ_TYPE BAD_PARAM "Send queues don't have a work queue of this type (wq_type).";
    0x0b07 SQ_STATE BAD_RES_STATE "The send queue isn't in this state, or can't go to that one.";
    0x0b08 SQ_OPTION BAD_PARAM "The send queue asks for something whose capability is 0.";
    0x0b09 SQ_MODIFY BAD_PARAM "MODIFY_SQ selects a field that can't be changed.";
    0x0b0a SQ_TIS BAD_PARAM "A send queue has one transport interface, or none (tis_lst_sz).";
    0x0b0b SQ_RATE BAD_PARAM "The rate's index has no rate (SET_PP_RATE_LIMIT).";

    // Ethernet: receive queues, and tables of them.
    0x0b11 RQ_FULL LIM_ERR "All receive queues (2^log_max_rq, none without eth_net_offloads) are taken.";
    0x0b12 RQ_UNKNOWN BAD_RES "No receive queue has this number.";
    0x0b13 RQ_FOREIGN BAD_RES "The receive queue belongs to another uid.";
    0x0b14 RQ_IN_USE BAD_RES_STATE "The receive queue is in use.";
    0x0b15 RQ_SIZE LIM_ERR "The receive queue has more than 2^log_max_qp_sz entries.";
    0x0b16 RQ_STRIDE LIM_ERR "Entries of the receive queue are larger than max_wqe_sz_rq, or smaller than 16 bytes.";
    0x0b17 RQ_TYPE BAD_PARAM "Receive queues don't have a work queue of this type (wq_type, mem_rq_type).";
    0x0b18 RQ_STATE BAD_RES_STATE "The receive queue isn't in this state, or can't go to that one.";
    0x0b19 RQ_OPTION BAD_PARAM "The receive queue asks for something whose capability is 0.";
    0x0b1a RQ_MODIFY BAD_PARAM "MODIFY_RQ selects a field that can't be changed, or one whose capability is 0.";
    0x0b21 RQT_FULL LIM_ERR "All tables of receive queues (2^log_max_rqt, none without eth_net_offloads) are taken.";
    0x0b22 RQT_UNKNOWN BAD_RES "No table of receive queues has this number.";
    0x0b23 RQT_FOREIGN BAD_RES "The table of receive queues belongs to another uid.";
    0x0b24 RQT_IN_USE BAD_RES_STATE "The table of receive queues is in use.";
    0x0b25 RQT_SIZE LIM_ERR "The table has more than 2^log_max_rqt_size queues, or more than its own maximum, or none.";
    0x0b26 RQT_OPTION BAD_PARAM "The table is to have other queues than receive queues of this function.";

    // Ethernet: transport interfaces.
    0x0b31 TIR_FULL LIM_ERR "All transport interface receive objects (2^log_max_tir, none without eth_net_offloads) are taken.";
    0x0b32 TIR_UNKNOWN BAD_RES "No transport interface receive object has this number.";
    0x0b33 TIR_FOREIGN BAD_RES "The transport interface receive object belongs to another uid.";
    0x0b34 TIR_IN_USE BAD_RES_STATE "The transport interface receive object is in use.";
    0x0b35 TIR_TYPE BAD_PARAM "There is no such way to choose a receive queue (disp_type, rx_hash_fn).";
    0x0b36 TIR_OPTION BAD_PARAM "The transport interface receive object asks for something whose capability is 0.";
    0x0b41 TIS_FULL LIM_ERR "All transport interface send objects (2^log_max_tis, none without eth_net_offloads) are taken.";
    0x0b42 TIS_UNKNOWN BAD_RES "No transport interface send object has this number.";
    0x0b43 TIS_FOREIGN BAD_RES "The transport interface send object belongs to another uid.";
    0x0b44 TIS_IN_USE BAD_RES_STATE "The transport interface send object is in use.";
    0x0b45 TIS_OPTION BAD_PARAM "The transport interface send object asks for something whose capability is 0.";

    // Ethernet: flow tables.
    0x0b51 FLOW_TABLE_FULL LIM_ERR "All flow tables that the model stores are taken, or nic_flow_table is 0.";
    0x0b52 FLOW_TABLE_UNKNOWN BAD_RES "No flow table has this number.";
    0x0b53 FLOW_TABLE_FOREIGN BAD_RES "The flow table belongs to another uid.";
    0x0b54 FLOW_TABLE_IN_USE BAD_RES_STATE "The flow table is in use.";
    0x0b55 FLOW_TABLE_TYPE BAD_PARAM "There are no flow tables of this type (ft_support), or the flow table is of another.";
    0x0b56 FLOW_TABLE_LEVEL BAD_PARAM "The flow table's level is above max_ft_level.";
    0x0b57 FLOW_TABLE_SIZE LIM_ERR "The flow table has more than 2^log_max_ft_size entries.";
    0x0b58 FLOW_TABLE_MISS BAD_PARAM "There is no such way to deal with a miss, or it leads to a table of another type or of no higher level.";
    0x0b59 FLOW_TABLE_OPTION BAD_PARAM "The flow table asks for something whose capability is 0.";
    0x0b5a FLOW_TABLE_MODIFY BAD_PARAM "MODIFY_FLOW_TABLE selects nothing, a field that can't be changed, or flow_table_modify is 0.";
    0x0b5b FLOW_TABLE_ROOT BAD_PARAM "The root can't be chosen: a queue pair is named, or modify_root is 0 and there is one.";
    0x0b61 FLOW_GROUP_FULL LIM_ERR "All groups of flows that the model stores are taken.";
    0x0b62 FLOW_GROUP_UNKNOWN BAD_RES "No group of flows has this number.";
    0x0b64 FLOW_GROUP_IN_USE BAD_RES_STATE "The group of flows is in use.";
    0x0b65 FLOW_GROUP_RANGE BAD_PARAM "The group's entries don't lie in its table, or the last is before the first.";
    0x0b66 FLOW_GROUP_OVERLAP BAD_RES_STATE "Another group of the table has some of these entries.";
    0x0b67 FLOW_GROUP_OPTION BAD_PARAM "Groups by hash or by a match definer are not supported.";
    0x0b71 FLOW_ENTRY_FULL LIM_ERR "All entries of flow tables that the model stores are taken.";
    0x0b72 FLOW_ENTRY_UNKNOWN BAD_RES "The flow table has no entry with this index.";
    0x0b73 FLOW_ENTRY_INDEX BAD_PARAM "The index isn't one of the group's, or the group is of another table.";
    0x0b74 FLOW_ENTRY_ACTION BAD_PARAM "There is no such action, its capability is 0, or it contradicts another.";
    0x0b75 FLOW_ENTRY_DESTINATION BAD_PARAM "Packets can't go there: no such type, a table of another type or of no higher level, or lists that don't fit the action.";
    0x0b76 FLOW_ENTRY_TAKEN BAD_RES_STATE "The flow table has an entry with this index already.";
    0x0b77 FLOW_ENTRY_MODIFY BAD_PARAM "SET_FLOW_TABLE_ENTRY changes something that can't be changed (modify_enable_mask), or flow_modify_en is 0.";

    // Ethernet: the virtual port.
    0x0b81 NIC_VPORT_TYPE BAD_PARAM "The command is for Ethernet ports, and the port is none.";
    0x0b82 NIC_VPORT_FIELD BAD_PARAM "The field of the virtual port can't be changed, or its capability is 0.";
    0x0b83 NIC_VPORT_LIST BAD_PARAM "There is no such list of addresses, or it is longer than log_max_current_uc_list, log_max_current_mc_list or log_max_vlan_list allows.";
    0x0b84 NIC_VPORT_MTU BAD_PARAM "The MTU is larger than max_mtu.";
    0x0b85 ROCE_INDEX BAD_PARAM "The index is beyond the table of RoCE addresses (roce_address_table_size), or there is none.";
    0x0b86 ROCE_ADDRESS BAD_PARAM "RoCE doesn't have this version or this type of address (roce_version, l3_type).";
}

/// `SYNDROMES.md`: [`TABLE`] for reading.
#[must_use]
pub fn to_markdown() -> String {
    let mut text = String::from(
        "# Syndromes of the firmware model\n\
         \n\
         A refused command answers with a status, which is Linux's (`include/linux/mlx5/device.h`), and a\n\
         syndrome. The syndromes of real devices are not public; these are this project's own.\n\
         \n\
         This file is made from the table in `src/firmware/syndrome.rs`. To make it again:\n\
         `MLX5_TWIN_WRITE_DOCS=1 cargo test -p mlx5-twin-model syndromes_md`\n\
         \n\
         | syndrome | status | name | the rule that was broken |\n\
         |---|---|---|---|\n",
    );
    for Row { name, failure, rule } in TABLE {
        let status = failure.status.name().unwrap_or("?");
        let line = format!("| `{:#010x}` | {status} | `{name}` | {rule} |\n", failure.syndrome.0);
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_rise_and_no_failure_is_ok() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].failure.syndrome < pair[1].failure.syndrome, "{pair:?}");
        }
        for row in TABLE {
            assert_ne!(row.failure.status, Status::OK, "{row:?}");
            assert_eq!(row.failure.syndrome.row(), Some(row));
            assert!(row.rule.ends_with('.'), "{row:?}");
        }
    }

    #[test]
    fn syndromes_md_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SYNDROMES.md");
        if std::env::var_os("MLX5_TWIN_WRITE_DOCS").is_some() {
            std::fs::write(path, to_markdown()).expect("SYNDROMES.md can be written");
        }
        let file = std::fs::read_to_string(path).expect("SYNDROMES.md can be read");
        assert_eq!(
            file,
            to_markdown(),
            "SYNDROMES.md is out of date: MLX5_TWIN_WRITE_DOCS=1 cargo test -p mlx5-twin-model syndromes_md"
        );
    }

    #[test]
    fn a_syndrome_explains_itself() {
        let text = Failure::UNKNOWN_OPCODE.syndrome.to_string();
        assert_eq!(text, "0x54570001 (The firmware has no command with this opcode.)");
        assert_eq!(Syndrome(7).to_string(), "0x00000007");
    }
}
