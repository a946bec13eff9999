//! What two decoders say of a header: ours, and the crate rtlp-lib 0.5.1 (BSD-3-Clause), which decodes only.
//!
//! What they check isn't the same. rtlp-lib looks at Fmt and Type and at whether there are enough bytes; it leaves Length, byte enables, TC and
//! reserved combinations to its user, and knows only the lower 8 bits of a tag. Ours decodes all fields at once, and refuses what breaks a rule of
//! the format: byte enables that don't fit the length, crossings of 4 KiB, messages of the wrong shape, and more. rtlp-lib's interface
//! takes the bytes as a `Vec`, copies them twice more, and gives a boxed trait object; that's in its figures, since every user has it.

#![allow(dead_code, reason = "each user takes a part")]

use mlx5_twin_sim::tlp::{Header, Malformed};
use rtlp_lib::{TlpError, TlpFmt, TlpMode, TlpPacket, TlpType, new_cmpl_req, new_conf_req, new_mem_req, new_msg_req};

/// What both can say of a header. What a type doesn't have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) kind: &'static str,
    pub(crate) requester: u16,
    /// Its lower 8 bits.
    pub(crate) tag: u8,
    /// Of requests with an address, that of the first DW.
    pub(crate) address: u64,
    pub(crate) first_be: u8,
    pub(crate) last_be: u8,
    /// Of configuration requests: bus, device and function as 16 bits.
    pub(crate) target: u16,
    /// Of configuration requests: the number of the DW.
    pub(crate) register: u16,
    pub(crate) completer: u16,
    pub(crate) status: u8,
    pub(crate) bcm: bool,
    pub(crate) byte_count: u32,
    pub(crate) lower_address: u8,
    /// Of messages: the code.
    pub(crate) code: u8,
}

/// Our decoder's.
pub(crate) fn ours(bytes: &[u8]) -> Result<Fields, Malformed> {
    let header = Header::decode(bytes)?;
    let kind = header.kind();
    let base =
        Fields { kind: kind.name(), requester: header.requester().0, tag: header.tag() as u8, ..Fields::default() };
    Ok(if kind.is_completion() {
        Fields {
            completer: header.completer().0,
            status: header.status().bits(),
            bcm: header.bcm(),
            byte_count: header.byte_count(),
            lower_address: header.lower_address(),
            ..base
        }
    } else if kind.is_message() {
        Fields { code: header.message_code().0, ..base }
    } else if kind.is_config() {
        Fields { target: header.target().0, register: header.register(), ..base }
    } else {
        Fields { address: header.address(), first_be: header.first_be(), last_be: header.last_be(), ..base }
    })
}

/// rtlp-lib's.
pub(crate) fn rtlp(bytes: &[u8]) -> Result<Fields, TlpError> {
    let packet = TlpPacket::new(bytes.to_vec(), TlpMode::NonFlit)?;
    let (kind, format) = (packet.tlp_type()?, packet.tlp_format()?);
    let wide = matches!(format, TlpFmt::NoDataHeader4DW | TlpFmt::WithDataHeader4DW);
    let name = name(&kind, wide);
    Ok(match kind {
        TlpType::ConfType0ReadReq
        | TlpType::ConfType0WriteReq
        | TlpType::ConfType1ReadReq
        | TlpType::ConfType1WriteReq => {
            let config = new_conf_req(packet.data())?;
            Fields {
                kind: name,
                requester: config.req_id(),
                tag: config.tag(),
                target: u16::from(config.bus_nr()) << 8 | u16::from(config.dev_nr() << 3 | config.func_nr()),
                register: u16::from(config.ext_reg_nr()) << 6 | u16::from(config.reg_nr()),
                ..Fields::default()
            }
        }
        TlpType::Cpl | TlpType::CplData | TlpType::CplLocked | TlpType::CplDataLocked => {
            let completion = new_cmpl_req(packet.data())?;
            // A Byte Count of 0 stands for 4,096: rtlp-lib leaves that to its user.
            let byte_count = if completion.byte_cnt() == 0 { 4096 } else { u32::from(completion.byte_cnt()) };
            Fields {
                kind: name,
                requester: completion.req_id(),
                tag: completion.tag(),
                completer: completion.cmpl_id(),
                status: completion.cmpl_stat(),
                bcm: completion.bcm() != 0,
                byte_count,
                lower_address: completion.laddr(),
                ..Fields::default()
            }
        }
        TlpType::MsgReq | TlpType::MsgReqData => {
            let message = new_msg_req(packet.data())?;
            let (requester, tag, code) = (message.req_id(), message.tag(), message.msg_code());
            Fields { kind: name, requester, tag, code, ..Fields::default() }
        }
        // Atomics too: its own function for them wants an operand of 8 bytes wherever the address has 64 bits, and of 4 elsewhere.
        _ => {
            let memory = new_mem_req(packet.data(), &format)?;
            Fields {
                kind: name,
                requester: memory.req_id(),
                tag: memory.tag(),
                // It leaves the two bits of the processing hint in.
                address: memory.address() & !3,
                first_be: memory.fdwbe(),
                last_be: memory.ldwbe(),
                ..Fields::default()
            }
        }
    })
}

/// Our name of a type of rtlp-lib's with a 64-bit address or without.
fn name(kind: &TlpType, wide: bool) -> &'static str {
    let [narrow_name, wide_name] = match kind {
        TlpType::MemReadReq => ["MRd32", "MRd64"],
        TlpType::MemReadLockReq => ["MRdLk32", "MRdLk64"],
        TlpType::MemWriteReq => ["MWr32", "MWr64"],
        TlpType::IOReadReq => ["IORd"; 2],
        TlpType::IOWriteReq => ["IOWr"; 2],
        TlpType::ConfType0ReadReq => ["CfgRd0"; 2],
        TlpType::ConfType0WriteReq => ["CfgWr0"; 2],
        TlpType::ConfType1ReadReq => ["CfgRd1"; 2],
        TlpType::ConfType1WriteReq => ["CfgWr1"; 2],
        TlpType::MsgReq => ["Msg"; 2],
        TlpType::MsgReqData => ["MsgD"; 2],
        TlpType::Cpl => ["Cpl"; 2],
        TlpType::CplData => ["CplD"; 2],
        TlpType::CplLocked => ["CplLk"; 2],
        TlpType::CplDataLocked => ["CplDLk"; 2],
        TlpType::FetchAddAtomicOpReq => ["FetchAdd32", "FetchAdd64"],
        TlpType::SwapAtomicOpReq => ["Swap32", "Swap64"],
        TlpType::CompareSwapAtomicOpReq => ["CAS32", "CAS64"],
        _ => ["?"; 2],
    };
    if wide { wide_name } else { narrow_name }
}
