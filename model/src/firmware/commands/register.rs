//! ACCESS_REG: reads and writes registers.

use mlx5_twin_fw_cmds::constants::{
    ACCESS_REGISTER_READ, ACCESS_REGISTER_WRITE, REG_DTOR, REG_HOST_ENDIANNESS, REG_MCAM, REG_NODE_DESC, REG_PAOS,
    REG_PCAM, REG_PFCC, REG_PMTU, REG_PPCNT, REG_PTYS, REG_PVLC, REG_QCAM,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    access_register_in, access_register_out, cmd_hca_cap, dtor_reg, mcam_reg, paos_reg, pcam_reg, pfcc_reg, pmtu_reg,
    ppcnt_reg, ptys_reg, pvlc_reg, qcam_reg, register_host_endianness, set_node_in,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, registers};

/// Reads a register: what the driver sent in its place says what of it is asked for; the answer is all zero before.
pub(super) type Read = fn(&mut Firmware, &Command<'_>, &mut Answer<'_>) -> Result<(), Failure>;

/// Writes a register.
pub(super) type Write = fn(&mut Firmware, &Command<'_>) -> Outcome;

/// A register.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) id: u16,
    /// Its length in bytes.
    size: usize,
    /// A bit of the general capabilities without which it is not there.
    gate: Option<Field>,
    read: Option<Read>,
    write: Option<Write>,
}

impl Register {
    /// Whether the general capabilities have a bit for it.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }
}

const fn row(id: u16, size: usize, gate: Option<Field>, read: Option<Read>, write: Option<Write>) -> Register {
    Register { id, size, gate, read, write }
}

/// Every register, by rising number.
#[rustfmt::skip]
pub(super) const REGISTERS: &[Register] = &[
    row(REG_QCAM,            qcam_reg::SIZE,                 Some(cmd_hca_cap::QCAM_REG), Some(registers::read_qcam),      None),
    row(REG_PMTU,            pmtu_reg::SIZE,                 None,                        Some(registers::read_pmtu),      Some(registers::write_pmtu)),
    row(REG_PTYS,            ptys_reg::SIZE,                 None,                        Some(registers::read_ptys),      None),
    row(REG_PAOS,            paos_reg::SIZE,                 None,                        Some(registers::read_paos),      Some(registers::write_paos)),
    row(REG_PFCC, pfcc_reg::SIZE, Some(cmd_hca_cap::ETH_NET_OFFLOADS), Some(registers::read_pfcc),      Some(registers::write_pfcc)),
    row(REG_PPCNT,           ppcnt_reg::SIZE,                None,                        Some(registers::read_ppcnt),     None),
    row(REG_PVLC,            pvlc_reg::SIZE,                 None,                        Some(registers::read_pvlc),      None),
    row(REG_PCAM,            pcam_reg::SIZE,                 Some(cmd_hca_cap::PCAM_REG), Some(registers::read_pcam),      None),
    row(REG_NODE_DESC,       set_node_in::SIZE,              None,                        Some(registers::read_node_desc), Some(registers::write_node_desc)),
    row(REG_HOST_ENDIANNESS, register_host_endianness::SIZE, None,                        None,                            Some(write_host_endianness)),
    row(REG_MCAM,            mcam_reg::SIZE,                 Some(cmd_hca_cap::MCAM_REG), Some(registers::read_mcam),      None),
    row(REG_DTOR,            dtor_reg::SIZE,                 None,                        Some(registers::read_dtor),      None),
];

/// The register's bytes follow the header, in the input and in the output, whether it is read or written: both must have room
/// for all of it. What was written is not answered.
pub(in super::super) fn access(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let op_mod = command.op_mod();
    if !matches!(op_mod, ACCESS_REGISTER_READ | ACCESS_REGISTER_WRITE) {
        return Err(Failure::OP_MOD);
    }
    let id: u16 = command.get(access_register_in::REGISTER_ID)?;
    let there = |register: &&Register| {
        register.id == id && register.gate.is_none_or(|gate| firmware.capabilities.general(gate) != 0)
    };
    let register = REGISTERS.iter().find(there).ok_or(Failure::REGISTER)?;
    let input = command.bytes().get(access_register_in::SIZE..).unwrap_or_default();
    let input = input.get(..register.size).ok_or(Failure::INPUT_TOO_SHORT)?;
    let output = answer.bytes_mut().get_mut(access_register_out::SIZE..).unwrap_or_default();
    let output = output.get_mut(..register.size).ok_or(Failure::OUTPUT_TOO_SHORT)?;
    let input = Command::new(input);
    if op_mod == ACCESS_REGISTER_WRITE {
        return register.write.ok_or(Failure::REGISTER_ACCESS)?(firmware, &input);
    }
    register.read.ok_or(Failure::REGISTER_ACCESS)?(firmware, &input, &mut Answer::new(output))?;
    Ok(Effect::None)
}

/// HOST_ENDIANNESS takes 'little-endian' only, which is all the model is.
fn write_host_endianness(_: &mut Firmware, register: &Command<'_>) -> Outcome {
    if register.flag(register_host_endianness::HE)? {
        return Err(Failure::REGISTER_VALUE);
    }
    Ok(Effect::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_rise_and_can_be_accessed() {
        assert!(REGISTERS.is_sorted_by(|a, b| a.id < b.id));
        assert!(REGISTERS.iter().all(|register| register.read.is_some() || register.write.is_some()));
    }
}
