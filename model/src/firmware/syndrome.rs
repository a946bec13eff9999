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
    0x010c REGISTER BAD_PARAM "The firmware does not have this register, or not for this access.";
    0x010d REGISTER_VALUE BAD_PARAM "The register does not take this value.";

    // User contexts.
    0x0201 UCTX_FULL LIM_ERR "All user contexts (2^log_max_uctx) are taken.";
    0x0202 UCTX_UNKNOWN BAD_RES "No user context has this uid.";
    0x0203 UCTX_CAP BAD_PARAM "The user context asks for a capability that uctx_cap does not offer.";

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
    0x050b PAGE_BUDGET LIM_ERR "The page lists of all UMEMs and EQs together exceed what the model stores.";

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
