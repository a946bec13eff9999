//! Bytes that the device keeps of a function, and the messages that tell of writes to them.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::layout::{
    emulated_region, mbox_in, modify_emulated_region_in as modify_in, modify_emulated_region_out, notice_message,
    query_emulated_region_in as query_in, query_emulated_region_out,
};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status as CommandStatus;
use mlx5_twin_fw_cmds::twin_v1::{self as numbers, message, region, scope};
use mlx5_twin_sim::tlp::{Header, Status};

use super::claimed::{Claimed, Region};
use super::{Device, Sent};

/// A message that tells of writes: of which function, its kind, and what it's about.
pub(super) type Source = (u16, u8, u32);

/// The bytes of one function, by region, and what a reset makes of them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    values: BTreeMap<usize, Vec<u8>>,
    defaults: BTreeMap<usize, Vec<u8>>,
}

impl Kept {
    pub(super) fn new(regions: &[Region]) -> Kept {
        let kept = regions.iter().enumerate().filter(|(_, found)| found.is_kept());
        let values: BTreeMap<_, _> = kept.map(|(number, found)| (number, vec![0; found.length as usize])).collect();
        Kept { defaults: values.clone(), values }
    }

    pub(super) fn reset(&mut self) {
        self.values = self.defaults.clone();
    }

    /// A dword of a region, as a number.
    pub(super) fn dword(&self, number: usize, at: u64) -> u32 {
        u32::from_le_bytes(*self.values[&number][at as usize..].first_chunk().unwrap())
    }
}

impl Region {
    fn is_kept(&self) -> bool {
        matches!(self.kind, region::DOORBELL | region::STATEFUL)
    }
}

impl Device {
    /// The host reads or writes bytes that the device keeps.
    pub(super) fn kept_access(&mut self, function: u16, header: &Header, bar: u8, offset: u64, payload: &[u8]) {
        let claimed = self.functions.get_mut(&function).unwrap();
        let (number, found) = claimed.find(bar, offset).unwrap();
        let at = (offset - found.offset) as usize;
        let enables = header.byte_enables();
        let id = claimed.id;
        let values = claimed.kept.values.get_mut(&number).unwrap();
        if !header.has_data() {
            let payload = values[at..at + header.length_dw() as usize * 4].to_vec();
            let header = Header::completion_for(header, id, Status::Successful).unwrap();
            return self.sent.push(Sent { function, header, payload });
        }
        let written = (0..payload.len()).filter(|byte| enables.of_dw(*byte as u32 / 4) >> (byte % 4) & 1 != 0);
        let written: Vec<usize> = written.collect();
        for &byte in &written {
            values[at + byte] = payload[byte];
        }
        self.tell_of(function, number, at, &written);
    }

    /// Tells of bytes that were written, where the region notifies.
    fn tell_of(&mut self, function: u16, number: usize, at: usize, written: &[usize]) {
        let claimed = &self.functions[&function];
        let found = &claimed.regions()[number];
        if !found.notify || written.is_empty() {
            return;
        }
        if found.kind == region::STATEFUL {
            return self.tell((function, message::REGION_WRITTEN, number as u32));
        }
        let first = claimed.first_doorbell(number);
        let mut dwords: Vec<u32> = written.iter().map(|byte| first + (at + byte) as u32 / 4).collect();
        dwords.dedup();
        for dword in dwords {
            self.tell((function, message::DOORBELL, dword));
        }
    }

    /// Tells at once, or when the message that's in the ring is freed.
    fn tell(&mut self, source: Source) {
        if let Some((_, again)) = self.told.get_mut(&source) {
            *again = true;
            return;
        }
        let (function, kind, number) = source;
        let mut head = Device::head(kind, function);
        notice_message::NUMBER.set(&mut head, u64::from(number)).unwrap();
        if kind == message::DOORBELL {
            let value = self.functions[&function].doorbell(number);
            notice_message::VALUE.set(&mut head, u64::from(value)).unwrap();
        }
        self.told.insert(source, (self.producer.wrapping_add(self.withheld.len() as u32), false));
        self.push(head, &[]);
    }

    /// Software has freed messages: what was written since they were sent is told of now.
    pub(super) fn tell_again(&mut self) {
        let freed = |message: u32| (self.consumer.wrapping_sub(message) as i32) > 0;
        let done: Vec<_> =
            self.told.iter().filter(|(_, (message, _))| freed(*message)).map(|(source, _)| *source).collect();
        for source in done {
            if self.told.remove(&source).is_some_and(|(_, again)| again) && self.functions.contains_key(&source.0) {
                self.tell(source);
            }
        }
    }

    /// One of the two commands.
    pub(super) fn region_command(&mut self, input: &[u8], output_len: usize) -> Result<Vec<u8>, CommandStatus> {
        let field = |field: mlx5_twin_fw_cmds::field::Field| field.get(input).unwrap();
        let id = field(query_in::FUNCTION) as u32;
        let handle = self.handles.get(&id.wrapping_sub(0x100)).filter(|(kind, _)| *kind == numbers::EMULATED_FUNCTION);
        let function = handle.ok_or(CommandStatus::BAD_RES)?.1;
        let claimed = self.functions.get_mut(&function).ok_or(CommandStatus::BAD_RES)?;
        let number = field(query_in::REGION) as usize;
        let (at, len) = (field(query_in::OFFSET) as usize, field(query_in::LENGTH) as usize);
        let values = claimed.kept.values.get_mut(&number).ok_or(CommandStatus::BAD_PARAM)?;
        let bytes = values.get_mut(at..at + len).ok_or(CommandStatus::BAD_PARAM)?;
        if Opcode(field(mbox_in::OPCODE) as u16) == numbers::QUERY_EMULATED_REGION {
            let mut output = vec![0; query_emulated_region_out::SIZE];
            query_emulated_region_out::LENGTH.set(&mut output, len as u64).unwrap();
            output.extend_from_slice(bytes);
            assert_eq!(output.len(), output_len);
            return Ok(output);
        }
        let data = &input[modify_in::SIZE..];
        let op_mod = field(mbox_in::OP_MOD) as u16;
        if op_mod != scope::DEFAULTS {
            bytes.copy_from_slice(data);
        }
        if op_mod != scope::VALUES {
            claimed.kept.defaults.get_mut(&number).unwrap()[at..at + len].copy_from_slice(data);
        } else if claimed.regions()[number].kind == region::DOORBELL {
            let written: Vec<usize> = (0..len).collect();
            self.tell_of(function, number, at, &written);
        }
        Ok(vec![0; modify_emulated_region_out::SIZE])
    }
}

impl Claimed {
    /// The number of a region's first doorbell.
    fn first_doorbell(&self, number: usize) -> u32 {
        let before = self.regions().into_iter().take(number).filter(|found| found.kind == region::DOORBELL);
        before.map(|found| found.length as u32 / 4).sum()
    }

    /// The value of a doorbell.
    pub(super) fn doorbell(&self, doorbell: u32) -> u32 {
        let regions = self.regions();
        let bells = regions.iter().enumerate().filter(|(_, found)| found.kind == region::DOORBELL);
        let mut all = bells.flat_map(|(number, found)| (0..found.length / 4).map(move |dword| (number, 4 * dword)));
        all.nth(doorbell as usize).map_or(0, |(number, at)| self.kept.dword(number, at))
    }
}

/// Whether a region's entry says that it notifies.
pub(super) fn notifies(entry: &[u8]) -> bool {
    emulated_region::FLAGS.get(entry).unwrap() as u8 & region::NOTIFY != 0
}
