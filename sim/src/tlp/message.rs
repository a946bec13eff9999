//! Message codes (PCIe base spec 2.2.8 and appendix F).

use super::kind::Route;
use std::fmt;

/// The code of a message: byte 7 of its header. An open set: [`MESSAGES`] has the codes with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageCode(pub u8);

/// Can a message carry data?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// No: always Msg.
    Never,
    /// Always this number of DWs: always MsgD.
    Always(u16),
    /// Msg, or MsgD of this number of DWs.
    Either(u16),
    /// Msg, or MsgD of any length.
    Any,
}

/// One row of [`MESSAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// The code.
    pub code: MessageCode,
    /// The spec's name.
    pub name: &'static str,
    /// Permitted routings: bit r stands for routing r (0..=7, see [`Route::of_message`]).
    pub routings: u8,
    /// Does it carry data?
    pub data: Data,
    /// Must it use TC0, and receivers check that?
    pub tc0: bool,
}

impl MessageRow {
    /// May this message be routed so?
    pub const fn permits(&self, route: Route) -> bool {
        self.routings >> route.message_bits() & 1 != 0
    }
}

// Routing bits by short name.
const ROOT: u8 = 1 << 0;
const ID: u8 = 1 << 2;
const BCAST: u8 = 1 << 3;
const LOCAL: u8 = 1 << 4;
const GATHER: u8 = 1 << 5;

const fn row(code: u8, name: &'static str, routings: u8, data: Data, tc0: bool) -> MessageRow {
    MessageRow { code: MessageCode(code), name, routings, data, tc0 }
}

/// The messages with a name, in the order of their codes.
pub static MESSAGES: [MessageRow; 34] = [
    row(0x00, "Unlock", BCAST, Data::Never, true),
    row(0x01, "Invalidate_Request", ID, Data::Always(2), false),
    row(0x02, "Invalidate_Completion", ID, Data::Never, false),
    row(0x04, "Page_Request", ROOT, Data::Never, false),
    row(0x05, "PRG_Response", ID, Data::Never, false),
    row(0x10, "LTR", LOCAL, Data::Never, true),
    row(0x12, "OBFF", LOCAL, Data::Never, true),
    row(0x14, "PM_Active_State_Nak", LOCAL, Data::Never, true),
    row(0x18, "PM_PME", ROOT, Data::Never, true),
    row(0x19, "PME_Turn_Off", BCAST, Data::Never, true),
    row(0x1b, "PME_TO_Ack", GATHER, Data::Never, true),
    row(0x20, "Assert_INTA", LOCAL, Data::Never, true),
    row(0x21, "Assert_INTB", LOCAL, Data::Never, true),
    row(0x22, "Assert_INTC", LOCAL, Data::Never, true),
    row(0x23, "Assert_INTD", LOCAL, Data::Never, true),
    row(0x24, "Deassert_INTA", LOCAL, Data::Never, true),
    row(0x25, "Deassert_INTB", LOCAL, Data::Never, true),
    row(0x26, "Deassert_INTC", LOCAL, Data::Never, true),
    row(0x27, "Deassert_INTD", LOCAL, Data::Never, true),
    row(0x30, "ERR_COR", ROOT, Data::Never, true),
    row(0x31, "ERR_NONFATAL", ROOT, Data::Never, true),
    row(0x33, "ERR_FATAL", ROOT, Data::Never, true),
    // Signalling of spec 1.0a; receivers ignore these.
    row(0x40, "Ignored_40", LOCAL, Data::Never, false),
    row(0x41, "Ignored_41", LOCAL, Data::Never, false),
    row(0x43, "Ignored_43", LOCAL, Data::Never, false),
    row(0x44, "Ignored_44", LOCAL, Data::Never, false),
    row(0x45, "Ignored_45", LOCAL, Data::Never, false),
    row(0x47, "Ignored_47", LOCAL, Data::Never, false),
    row(0x48, "Ignored_48", LOCAL, Data::Never, false),
    row(0x50, "Set_Slot_Power_Limit", LOCAL, Data::Always(1), true),
    row(0x52, "PTM_Request", LOCAL, Data::Never, true),
    // Without data PTM Response, with data PTM ResponseD.
    row(0x53, "PTM_Response", LOCAL, Data::Either(1), true),
    row(0x7e, "Vendor_Defined_0", ROOT | ID | BCAST | LOCAL, Data::Any, false),
    row(0x7f, "Vendor_Defined_1", ROOT | ID | BCAST | LOCAL, Data::Any, false),
];

/// The row of each code in [`MESSAGES`]; [`NO_ROW`] for a code without a name.
static BY_CODE: [u8; 256] = by_code();

const NO_ROW: u8 = u8::MAX;

const fn by_code() -> [u8; 256] {
    let mut table = [NO_ROW; 256];
    let mut i = 0;
    while i < MESSAGES.len() {
        table[MESSAGES[i].code.0 as usize] = i as u8;
        i += 1;
    }
    table
}

/// Names for the codes that a fabric itself deals with.
impl MessageCode {
    /// Ends a locked sequence.
    pub const UNLOCK: MessageCode = MessageCode(0x00);
    /// ATS: drop cached translations.
    pub const INVALIDATE_REQUEST: MessageCode = MessageCode(0x01);
    /// ATS: translations dropped.
    pub const INVALIDATE_COMPLETION: MessageCode = MessageCode(0x02);
    /// PRI: a page is wanted.
    pub const PAGE_REQUEST: MessageCode = MessageCode(0x04);
    /// PRI: the answer for a group of page requests.
    pub const PRG_RESPONSE: MessageCode = MessageCode(0x05);
    /// Latency tolerance report.
    pub const LTR: MessageCode = MessageCode(0x10);
    /// Optimized buffer flush/fill hint.
    pub const OBFF: MessageCode = MessageCode(0x12);
    /// An ASPM L1 request was refused.
    pub const PM_ACTIVE_STATE_NAK: MessageCode = MessageCode(0x14);
    /// A power management event.
    pub const PM_PME: MessageCode = MessageCode(0x18);
    /// Main power is going away.
    pub const PME_TURN_OFF: MessageCode = MessageCode(0x19);
    /// The answer to [`PME_TURN_OFF`](Self::PME_TURN_OFF).
    pub const PME_TO_ACK: MessageCode = MessageCode(0x1b);
    /// INTx: the virtual wire A is asserted. B to D follow at +1 to +3.
    pub const ASSERT_INTA: MessageCode = MessageCode(0x20);
    /// INTx: the virtual wire A is deasserted. B to D follow at +1 to +3.
    pub const DEASSERT_INTA: MessageCode = MessageCode(0x24);
    /// A correctable error.
    pub const ERR_COR: MessageCode = MessageCode(0x30);
    /// A non-fatal uncorrectable error.
    pub const ERR_NONFATAL: MessageCode = MessageCode(0x31);
    /// A fatal uncorrectable error.
    pub const ERR_FATAL: MessageCode = MessageCode(0x33);
    /// The power that a slot may draw.
    pub const SET_SLOT_POWER_LIMIT: MessageCode = MessageCode(0x50);
    /// Precision time: asks for the master time.
    pub const PTM_REQUEST: MessageCode = MessageCode(0x52);
    /// Precision time: the answer, with or without data.
    pub const PTM_RESPONSE: MessageCode = MessageCode(0x53);
    /// Vendor defined, type 0: unsupported is UR.
    pub const VENDOR_DEFINED_0: MessageCode = MessageCode(0x7e);
    /// Vendor defined, type 1: unsupported is silently dropped.
    pub const VENDOR_DEFINED_1: MessageCode = MessageCode(0x7f);

    /// The row of this code in [`MESSAGES`]; `None` if it has no name.
    pub fn row(self) -> Option<&'static MessageRow> {
        MESSAGES.get(usize::from(BY_CODE[usize::from(self.0)]))
    }

    /// The spec's name, if the code has one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }
}

/// Printed as `ERR_COR (0x30)`, or `message 0x99`.
impl fmt::Display for MessageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#04x})", self.0),
            None => write!(f, "message {:#04x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_code() {
        assert!(MESSAGES.is_sorted_by_key(|row| row.code));
        for row in &MESSAGES {
            assert_eq!(row.code.row(), Some(row));
        }
        let named = (0..=u8::MAX).filter(|code| MessageCode(*code).row().is_some());
        assert_eq!(named.count(), MESSAGES.len());
    }

    #[test]
    fn prints_name_and_code() {
        assert_eq!(MessageCode::ERR_COR.to_string(), "ERR_COR (0x30)");
        assert_eq!(MessageCode(0x99).to_string(), "message 0x99");
    }
}
