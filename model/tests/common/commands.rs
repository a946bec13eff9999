//! Commands as bytes.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{MODIFY_EMULATED_PORT, QUERY_EMULATED_PORT};
use mlx5_twin_model::firmware::spec;

use super::Rig;

/// Room for the longest answer that these tests ask for.
pub(crate) const OUTPUT: usize = query_hca_cap_out::SIZE;

/// A command of this length, with these fields set.
pub(crate) fn command(opcode: Opcode, uid: u16, length: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let header = [(mbox_in::OPCODE, opcode.0.into()), (mbox_in::UID, uid.into())];
    for (field, value) in header.iter().chain(fields) {
        field.set(&mut bytes, *value).expect("the test's field fits");
    }
    bytes
}

/// A command of its usual length, with these fields set.
pub(crate) fn plain(opcode: Opcode, uid: u16, fields: &[(Field, u64)]) -> Vec<u8> {
    command(opcode, uid, spec(opcode).expect("is a command").input, fields)
}

/// A UMEM of whole pages that follow each other from `address` on, writable and readable.
pub(crate) fn create_umem(uid: u16, address: u64, pages: usize) -> Vec<u8> {
    let list: Vec<u64> = (0..pages as u64).map(|page| (address + 4096 * page) | 3).collect();
    create_umem_of(uid, &list)
}

/// A UMEM of these pages, with their flags.
pub(crate) fn create_umem_of(uid: u16, pages: &[u64]) -> Vec<u8> {
    let base = create_umem_in::UMEM.bits();
    let count = (umem::NUM_OF_MTT.within(base), pages.len() as u64);
    let mut bytes = command(Opcode::CREATE_UMEM, uid, create_umem_in::SIZE + 8 * pages.len(), &[count]);
    for (index, page) in pages.iter().enumerate() {
        umem::MTT.within(base).set(&mut bytes, index, *page).expect("fits");
    }
    bytes
}

/// QUERY_EMULATED_PORT.
pub(crate) fn query_port(uid: u16, port: u8) -> Vec<u8> {
    plain(QUERY_EMULATED_PORT, uid, &[(query_emulated_port_in::PORT, port.into())])
}

/// MODIFY_EMULATED_PORT with one of the operations of `port_op`.
pub(crate) fn modify_port(uid: u16, operation: u16, port: u8) -> Vec<u8> {
    let fields = [(modify_emulated_port_in::OP_MOD, operation.into()), (modify_emulated_port_in::PORT, port.into())];
    plain(MODIFY_EMULATED_PORT, uid, &fields)
}

/// An event queue of 2^`log_size` entries at `address`.
pub(crate) fn create_eq(log_size: u32, uar: u32, vector: u16, events: u64, address: u64) -> Vec<u8> {
    let base = create_eq_in::EQ_CONTEXT_ENTRY.bits();
    let pages = (64_usize << log_size).div_ceil(4096);
    let fields = [
        (eqc::LOG_EQ_SIZE.within(base), log_size.into()),
        (eqc::UAR_PAGE.within(base), uar.into()),
        (eqc::INTR.within(base), vector.into()),
        (create_eq_in::EVENT_BITMASK.at(0).expect("has 4"), events),
    ];
    let mut bytes = command(Opcode::CREATE_EQ, 0, create_eq_in::SIZE + 8 * pages, &fields);
    for page in 0..pages {
        create_eq_in::PAS.set(&mut bytes, page, address + 4096 * page as u64).expect("fits");
    }
    bytes
}

/// A command about a general object; `context` follows its header.
pub(crate) fn object(opcode: Opcode, uid: u16, kind: ObjectType, id: u32, context: &[u8]) -> Vec<u8> {
    let header = [(general_obj_in_cmd_hdr::OBJ_TYPE, kind.0.into()), (general_obj_in_cmd_hdr::OBJ_ID, id.into())];
    let mut bytes = command(opcode, uid, general_obj_in_cmd_hdr::SIZE, &header);
    bytes.extend_from_slice(context);
    bytes
}

/// An event queue in memory, as a driver reads it.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) eqn: u32,
    pub(crate) uar: u32,
    pub(crate) address: u64,
    pub(crate) log_size: u32,
    pub(crate) consumer: u32,
}

impl Events {
    /// Makes a queue: the driver sets the owner bits first (`lib/eq.h`).
    pub(crate) fn new(rig: &mut Rig, log_size: u32, uar: u32, vector: u16, events: u64) -> Events {
        let address = Events::memory(rig, log_size);
        let eqn = rig.number(&create_eq(log_size, uar, vector, events, address), create_eq_out::EQ_NUMBER);
        Events { eqn, uar, address, log_size, consumer: 0 }
    }

    pub(crate) fn memory(rig: &mut Rig, log_size: u32) -> u64 {
        let address = rig.pages(64 << log_size);
        for entry in 0..1 << log_size {
            rig.poke(address + 64 * entry + 63, &[1]);
        }
        address
    }

    /// The next entry, if it's there: type and data.
    pub(crate) fn next(&mut self, rig: &Rig) -> Option<(u8, Vec<u8>)> {
        let slot = u64::from(self.consumer & ((1 << self.log_size) - 1));
        let entry = rig.peek(self.address + 64 * slot, 64);
        if (u32::from(entry[63]) ^ (self.consumer >> self.log_size)) & 1 != 0 {
            return None;
        }
        self.consumer += 1;
        Some((eqe::TYPE.get(&entry).expect("is there") as u8, eqe::DATA.slice(&entry).expect("is there").to_vec()))
    }

    /// Tells the device of the consumer index, and perhaps arms the queue.
    pub(crate) fn update(&self, rig: &mut Rig, arm: bool) {
        let offset = u64::from(self.uar) * 4096 + if arm { 0x40 } else { 0x48 };
        rig.store32(offset, self.eqn << 24 | self.consumer & 0xff_ffff);
    }
}
