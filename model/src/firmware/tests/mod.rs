mod build;
mod cases;
mod common;
mod counters;
mod cqs;
mod domains;
mod ethernet;
mod flows;
mod fuzz;
mod mads;
mod memic;
mod mkeys;
mod objects;
mod oracle;
mod page_supply;
mod probe;
mod qos;
mod qp_states;
mod qps;
mod registers;
mod srqs;
mod vport;

use std::collections::BTreeMap;
use std::fmt::Debug;

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;

use super::resources::{
    Cq, DoorbellRecord, Eq, FlowEntry, FlowGroup, FlowTable, Gid, Held, MAX_FLOW_ENTRIES, MAX_FLOW_TABLES, MAX_OBJECTS,
    MAX_SCHEDULING_ELEMENTS, Memic, Mkey, Object, Pd, QCounter, Qp, Rmp, Rq, Rqt, SchedulingElement, Sq, Srq, Stored,
    Tir, Tis, TransportDomain, Uar, Umem, Xrcd,
};
use super::*;
use crate::profile::{CapabilityMap, CapabilityValue};
use build::*;

/// A type of general objects for tests.
const BOX: ObjectType = ObjectType(0x8001);

/// Where a box's command names a UMEM and another box: 0 is 'none'.
const BOX_UMEM: Field = Field { layout: "box", name: "umem", offset: 0x80, width: 32 };
const BOX_BOX: Field = Field { layout: "box", name: "box", offset: 0xa0, width: 32 };
const BOX_SIZE: usize = 0x18;

/// Boxes: general objects that use a UMEM, or another box, or nothing.
#[derive(Clone, Debug, Default)]
struct Boxes {
    boxes: BTreeMap<u32, Vec<Held>>,
    /// Boxes destroyed, in order.
    destroyed: Vec<u32>,
}

impl Boxes {
    fn read(id: u32, uid: u16, input: &[u8], resources: &Resources) -> Result<Vec<Held>, Failure> {
        let umem = BOX_UMEM.get(input).map_err(|error| Failure::of_input(&error))? as u32;
        let other = BOX_BOX.get(input).map_err(|error| Failure::of_input(&error))? as u32;
        let mut held = Vec::new();
        held.extend((umem != 0).then_some(Held::Umem(umem)));
        held.extend((other != 0).then_some(Held::Object(other)));
        held.iter().try_for_each(|one| resources.nameable(*one, uid))?;
        if other == id {
            return Err(Failure::OBJECT_UNKNOWN);
        }
        Ok(held)
    }
}

impl ObjectKinds for Boxes {
    fn handles(&self, obj_type: ObjectType) -> bool {
        obj_type == BOX
    }

    fn create(&mut self, _: ObjectType, id: u32, uid: u16, input: &[u8], from: &Resources) -> Result<(), Failure> {
        let held = Self::read(id, uid, input, from)?;
        assert!(self.boxes.insert(id, held).is_none(), "box {id} is there already");
        Ok(())
    }

    fn held(&self, _: ObjectType, id: u32) -> Vec<Held> {
        self.boxes[&id].clone()
    }

    fn query(&self, _: ObjectType, id: u32, _: u16, output: &mut [u8]) -> Result<(), Failure> {
        output[0] = 0xff;
        if let Some(after_header) = output.get_mut(16) {
            *after_header = self.boxes[&id].len() as u8;
        }
        Ok(())
    }

    fn modify(&mut self, _: ObjectType, id: u32, uid: u16, input: &[u8], from: &Resources) -> Result<(), Failure> {
        let held = Self::read(id, uid, input, from)?;
        *self.boxes.get_mut(&id).expect("the firmware checked the id") = held;
        Ok(())
    }

    fn destroy(&mut self, _: ObjectType, id: u32, _: u16) -> Result<(), Failure> {
        assert!(self.boxes.remove(&id).is_some(), "box {id} is gone already");
        self.destroyed.push(id);
        Ok(())
    }
}

/// A firmware and its boxes.
#[derive(Clone, Debug)]
struct Machine {
    firmware: Firmware,
    boxes: Boxes,
}

/// A profile with room for 4 user contexts: 3 UARs, 4 PDs, 4 UMEMs, 3 EQs, 2 domains of each kind, 4 CQs,
/// 6 memory keys, 2 SRQs (1 and 2), 2 RMPs (3 and 4), 4 QPs, 2 multicast groups of 2 QPs, 3 Q counters,
/// 260 flow counters, 4 KiB of memory on the device in a window of 8 KiB, 3 rates, 2 groups of queues.
fn small() -> Profile {
    let caps: &[(&str, u64)] = &[
        ("log_max_uctx", 2),
        ("log_max_pd", 2),
        ("log_max_umem", 2),
        ("max_num_eqs", 3),
        ("log_max_eq_sz", 8),
        ("log_max_transport_domain", 1),
        ("log_max_xrcd", 1),
        ("log_max_cq", 2),
        ("log_max_cq_sz", 8),
        ("log_max_mkey", 3),
        ("log_max_klm_list_size", 2),
        ("log_max_srq", 1),
        ("log_max_srq_sz", 7),
        ("log_max_rmp", 1),
        ("log_max_qp", 2),
        ("log_max_qp_sz", 7),
        ("max_wqe_sz_rq", 64),
        ("log_max_mcg", 1),
        ("max_qp_mcg", 2),
        ("rc", 1),
        ("uc", 1),
        ("ud", 1),
        ("xrc", 1),
        ("num_ports", 1),
        ("log_max_msg", 30),
        ("log_max_ra_req_qp", 4),
        ("log_max_ra_res_qp", 4),
        ("umem_uid_0", 1),
        ("uctx_cap", 5),
        ("atomic", 1),
        ("general_obj_types", 1 << 0x26 | 1 << 13),
        ("max_qp_cnt", 3),
        ("max_flow_counter_15_0", 260),
        ("flow_counter_bulk_alloc", 1),
        ("log_max_flow_counter_bulk", 2),
        ("device_memory", 1),
        ("qos", 1),
    ];
    let atomic: &[(&str, u64)] = &[("supported_atomic_req_8B_endianness_mode_1", 1), ("atomic_operations", 3)];
    let virtio: &[(&str, u64)] =
        &[("log_doorbell_stride", 12), ("log_doorbell_bar_size", 1), ("doorbell_bar_offset", 0x10_3000)];
    let map = |entries: &[(&str, u64)]| -> CapabilityMap {
        entries.iter().map(|(name, value)| ((*name).to_owned(), CapabilityValue::One(*value))).collect()
    };
    let mut profile = Profile::default();
    profile.capabilities.general = map(caps);
    profile.capabilities.atomic = Some(map(atomic));
    profile.capabilities.virtio_emulation = Some(map(virtio));
    profile.capabilities.device_memory = Some(map(&[
        ("memic", 1),
        ("log_min_memic_alloc_size", 7),
        ("log_max_memic_addr_alignment", 3),
        ("memic_bar_start_addr", 0x10_8000),
        ("memic_bar_size", 0x2000),
        ("max_memic_size", 0x1000),
        ("memic_operations", 2),
    ]));
    profile.capabilities.qos = Some(map(&[
        ("packet_pacing", 1),
        ("packet_pacing_burst_bound", 1),
        ("packet_pacing_typical_size", 1),
        ("packet_pacing_uid", 1),
        ("packet_pacing_min_rate", 10),
        ("packet_pacing_max_rate", 1000),
        ("packet_pacing_rate_table_size", 4),
        ("nic_bw_share", 1),
        ("nic_rate_limit", 1),
        ("log_max_qos_nic_queue_group", 1),
        ("max_tsar_bw_share", 100),
        ("nic_element_type", 0x11),
        ("nic_tsar_type", 1),
    ]));
    profile
}

/// A command of this length, with these fields set.
fn command(opcode: Opcode, uid: u16, length: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let header = [(mbox_in::OPCODE, opcode.0.into()), (mbox_in::UID, uid.into())];
    for (field, value) in header.iter().chain(fields) {
        field.set(&mut bytes, *value).expect("the test's field fits");
    }
    bytes
}

/// A command of its usual length, with these fields set.
fn plain(opcode: Opcode, uid: u16, fields: &[(Field, u64)]) -> Vec<u8> {
    command(opcode, uid, spec(opcode).expect("is a command").input, fields)
}

fn create_umem(uid: u16, pages: &[u64]) -> Vec<u8> {
    let base = create_umem_in::UMEM.bits();
    let count = (umem::NUM_OF_MTT.within(base), pages.len() as u64);
    let mut bytes = command(Opcode::CREATE_UMEM, uid, create_umem_in::SIZE + 8 * pages.len(), &[count]);
    for (index, page) in pages.iter().enumerate() {
        umem::MTT.within(base).set(&mut bytes, index, *page).expect("fits");
    }
    bytes
}

/// An EQ of 2^`log_size` entries.
fn create_eq(uid: u16, log_size: u32, uar: u32, vector: u32, events: u64) -> Vec<u8> {
    let base = create_eq_in::EQ_CONTEXT_ENTRY.bits();
    let pages = (64usize << log_size).div_ceil(4096);
    let fields = [
        (eqc::LOG_EQ_SIZE.within(base), log_size.into()),
        (eqc::UAR_PAGE.within(base), uar.into()),
        (eqc::INTR.within(base), vector.into()),
        (create_eq_in::EVENT_BITMASK.at(0).expect("has 4"), events),
    ];
    let mut bytes = command(Opcode::CREATE_EQ, uid, create_eq_in::SIZE + 8 * pages, &fields);
    for page in 0..pages {
        create_eq_in::PAS.set(&mut bytes, page, 0x7000_0000 + 0x1000 * page as u64).expect("fits");
    }
    bytes
}

fn object(opcode: Opcode, uid: u16, id: u32, umem: u32, other: u32) -> Vec<u8> {
    let header = [
        (general_obj_in_cmd_hdr::OBJ_TYPE, BOX.0.into()),
        (general_obj_in_cmd_hdr::OBJ_ID, id.into()),
        (BOX_UMEM, umem.into()),
        (BOX_BOX, other.into()),
    ];
    command(opcode, uid, BOX_SIZE, &header)
}

fn manage_pages(op_mod: u16, entries: u32, pages: &[u64]) -> Vec<u8> {
    let fields = [(manage_pages_in::OP_MOD, op_mod.into()), (manage_pages_in::INPUT_NUM_ENTRIES, entries.into())];
    let mut bytes = command(Opcode::MANAGE_PAGES, 0, manage_pages_in::SIZE + 8 * pages.len(), &fields);
    for (index, page) in pages.iter().enumerate() {
        manage_pages_in::PAS.set(&mut bytes, index, *page).expect("fits");
    }
    bytes
}

impl Machine {
    fn new(profile: &Profile) -> Self {
        Self { firmware: Firmware::new(profile).expect("the profile is sound"), boxes: Boxes::default() }
    }

    /// A machine of the [`small`] profile after INIT_HCA.
    fn initialised() -> Self {
        let mut machine = Self::new(&small());
        machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
        machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
        machine
    }

    /// Runs a command with an output of this length, filled with junk.
    fn run_with(&mut self, input: &[u8], length: usize) -> (Executed, Vec<u8>) {
        let mut output = vec![0xa5; length];
        let executed = self.firmware.execute(input, &mut output, &mut self.boxes);
        if length >= MIN_OUTPUT {
            assert_eq!(output[0], executed.status.0, "status of {executed:?}");
            assert_eq!(output[4..8], executed.syndrome.to_be_bytes(), "syndrome of {executed:?}");
        }
        (executed, output)
    }

    /// Runs a command with room for the longest answer.
    fn run(&mut self, input: &[u8]) -> (Executed, Vec<u8>) {
        self.run_with(input, query_hca_cap_out::SIZE)
    }

    /// Runs a command: its answer, or why it was refused.
    fn try_run(&mut self, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let (executed, output) = self.run(input);
        if executed.status == Status::OK {
            assert_eq!(executed.syndrome, 0);
            return Ok(output);
        }
        assert_eq!(executed.effect, Effect::None, "{executed:?}");
        assert!(output[8..].iter().all(|byte| *byte == 0), "a refused command answers nothing more: {executed:?}");
        Err(Failure { status: executed.status, syndrome: Syndrome(executed.syndrome) })
    }

    /// Runs a command that must be carried out.
    fn ok(&mut self, input: &[u8]) -> Vec<u8> {
        match self.try_run(input) {
            Ok(output) => output,
            Err(failure) => panic!("{}: {failure}", Command::new(input).opcode()),
        }
    }

    /// Runs a command that must be carried out and answers a number.
    fn number(&mut self, input: &[u8], field: Field) -> u32 {
        field.get(&self.ok(input)).expect("the answer is long enough") as u32
    }

    fn balance(&self) -> Balance {
        self.firmware.resources().balance()
    }

    /// All that can be seen of the machine from outside.
    fn snapshot(&self) -> (State, u16, Balance, Capabilities, Port, [String; 30]) {
        fn all<T: Stored + Debug>(resources: &Resources) -> String {
            format!("{:?}", resources.of::<T>().iter().collect::<Vec<_>>())
        }
        let resources = self.firmware.resources();
        let tables = [
            format!("{:?}", resources.uctxs().iter().collect::<Vec<_>>()),
            format!("{:?}", resources.groups().iter().collect::<Vec<_>>()),
            format!("{:?}", resources.flow_counters().iter().collect::<Vec<_>>()),
            format!("{:?}", resources.rate_limits()),
            format!("{:?}", self.boxes),
            all::<Memic>(resources),
            all::<SchedulingElement>(resources),
            all::<Uar>(resources),
            all::<Pd>(resources),
            all::<TransportDomain>(resources),
            all::<Xrcd>(resources),
            all::<Umem>(resources),
            all::<Eq>(resources),
            all::<Cq>(resources),
            all::<Mkey>(resources),
            all::<Srq>(resources),
            all::<Rmp>(resources),
            all::<Qp>(resources),
            all::<QCounter>(resources),
            all::<Object>(resources),
            all::<Sq>(resources),
            all::<Rq>(resources),
            all::<Rqt>(resources),
            all::<Tir>(resources),
            all::<Tis>(resources),
            all::<FlowTable>(resources),
            all::<FlowGroup>(resources),
            all::<FlowEntry>(resources),
            format!("{:?}", resources.flow_roots),
            format!("{:?}", self.firmware.nic_vport()),
        ];
        let (capabilities, port) = (self.firmware.capabilities().clone(), self.firmware.port().clone());
        (self.firmware.state(), self.firmware.issi, resources.balance(), capabilities, port, tables)
    }

    /// Counts everything anew and checks that the tables agree.
    fn check(&self) {
        let resources = self.firmware.resources();
        let limits = *resources.limits();
        let balance = resources.balance();
        let mut counted = Balance { uctxs: balance.uctxs, pages_given: balance.pages_given, ..Balance::default() };
        counted.uars = audit::<Uar>(resources, limits.uars, &mut counted);
        counted.pds = audit::<Pd>(resources, limits.pds, &mut counted);
        counted.transport_domains = audit::<TransportDomain>(resources, limits.transport_domains, &mut counted);
        counted.xrcds = audit::<Xrcd>(resources, limits.xrcds, &mut counted);
        counted.umems = audit::<Umem>(resources, limits.umems, &mut counted);
        counted.eqs = audit::<Eq>(resources, limits.eqs, &mut counted);
        counted.cqs = audit::<Cq>(resources, limits.cqs, &mut counted);
        counted.mkeys = audit::<Mkey>(resources, limits.mkeys, &mut counted);
        counted.srqs = audit::<Srq>(resources, limits.srqs, &mut counted);
        counted.rmps = audit::<Rmp>(resources, limits.rmps, &mut counted);
        counted.qps = audit::<Qp>(resources, limits.qps, &mut counted);
        counted.q_counters = audit::<QCounter>(resources, limits.q_counters, &mut counted);
        counted.memics = audit::<Memic>(resources, limits.memics, &mut counted);
        counted.scheduling_elements = audit::<SchedulingElement>(resources, MAX_SCHEDULING_ELEMENTS, &mut counted);
        counted.rate_limits = resources.rate_limits().iter().count();
        assert!(resources.rate_limits().iter().all(|(_, entry)| resources.knows(entry.owner.uid())));
        counted.sqs = audit::<Sq>(resources, limits.sqs, &mut counted);
        counted.rqs = audit::<Rq>(resources, limits.rqs, &mut counted);
        counted.rqts = audit::<Rqt>(resources, limits.rqts, &mut counted);
        counted.tirs = audit::<Tir>(resources, limits.tirs, &mut counted);
        counted.tiss = audit::<Tis>(resources, limits.tiss, &mut counted);
        counted.flow_tables = audit::<FlowTable>(resources, limits.flow_tables, &mut counted);
        counted.flow_groups = audit::<FlowGroup>(resources, MAX_FLOW_TABLES, &mut counted);
        counted.flow_entries = audit::<FlowEntry>(resources, MAX_FLOW_ENTRIES, &mut counted);
        for (id, _, table) in resources.of::<FlowTable>().iter() {
            for number in table.entries.values() {
                let (_, entry) = resources.of::<FlowEntry>().get(*number).expect("is there");
                let (_, group) = resources.of::<FlowGroup>().get(entry.group).expect("is there");
                assert_eq!(group.table, id);
            }
        }
        let listed: usize = resources.of::<FlowTable>().iter().map(|(_, _, table)| table.entries.len()).sum();
        assert_eq!(listed, balance.flow_entries);
        counted.objects = audit::<Object>(resources, MAX_OBJECTS, &mut counted);
        for (_, members) in resources.groups().iter() {
            assert!((1..=limits.multicast_qps as usize).contains(&members.len()));
            assert!(members.iter().all(|qpn| resources.of::<Qp>().get(*qpn).is_some()), "{members:?}");
            counted.attachments += members.len();
        }
        counted.uses += counted.attachments;
        assert!(resources.groups().iter().count() <= limits.multicast_groups as usize);
        assert_eq!(balance.objects, self.boxes.boxes.len());
        let flow_counters: Vec<_> = resources.flow_counters().iter().map(|(_, bulk)| bulk.owner).collect();
        assert!(flow_counters.iter().all(|owner| resources.knows(owner.uid())), "{flow_counters:?}");
        counted.flow_counters = balance.flow_counters;
        assert_eq!(balance, counted);
        if self.firmware.state() != State::Initialised {
            let pages_given = balance.pages_given;
            assert_eq!(balance, Balance { pages_given, ..Balance::default() }, "{}", self.firmware.state());
        }
    }
}

/// Counts all resources of a kind, and what they use; each has an owner who is there, and uses what is
/// there and what its owner may name.
fn audit<T: Stored>(resources: &Resources, most: u32, counted: &mut Balance) -> usize {
    let mut count = 0;
    for (id, owner, it) in resources.of::<T>().iter() {
        assert!(resources.knows(owner.uid()), "{owner:?} is gone and has something left: {id}");
        for held in it.held() {
            assert_eq!(resources.nameable(held, owner.uid()), Ok(()), "{held:?} of {owner:?}");
            counted.uses += 1;
        }
        counted.page_entries += it.page_entries();
        count += 1;
    }
    assert!(count <= most as usize);
    count
}

/// A machine in a state, with a user context (uid 1) once there can be one.
fn in_state(state: State) -> Machine {
    let mut machine = Machine::new(&small());
    if state >= State::Enabled {
        machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    }
    if state >= State::Initialised {
        machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
        machine.ok(&plain(Opcode::CREATE_UCTX, 0, &[]));
    }
    if state == State::TornDown {
        machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    }
    assert_eq!(machine.firmware.state(), state);
    machine
}

/// Two user contexts with one of everything each (and one of everything of the driver's):
/// UARs 0x100 (driver), 0x101 (uid 1); PDs 1 (driver), 2 (uid 1); UMEMs 1 (driver), 2 (uid 1, used
/// by box 1), 3 (uid 2); EQs 1 (driver), 2 (shared); boxes 1 (uid 1), 2 (uid 1, uses box 1), 3 (uid 2).
fn furnished() -> Machine {
    let mut machine = Machine::initialised();
    for step in [
        plain(Opcode::CREATE_UCTX, 0, &[]),
        plain(Opcode::CREATE_UCTX, 0, &[]),
        plain(Opcode::ALLOC_UAR, 0, &[]),
        plain(Opcode::ALLOC_UAR, 1, &[]),
        plain(Opcode::ALLOC_PD, 0, &[]),
        plain(Opcode::ALLOC_PD, 1, &[]),
        create_umem(0, &[0x1003]),
        create_umem(1, &[0x2003, 0x3003]),
        create_umem(2, &[0x4003]),
        create_eq(0, 6, 0x100, 0, 1 << 0xa),
        create_eq(0xffff, 6, 0x100, 1, 0),
        object(Opcode::CREATE_GENERAL_OBJECT, 1, 0, 2, 0),
        object(Opcode::CREATE_GENERAL_OBJECT, 1, 0, 0, 1),
        object(Opcode::CREATE_GENERAL_OBJECT, 2, 0, 0, 0),
    ] {
        machine.ok(&step);
    }
    machine.check();
    machine
}

/// Runs each case on a machine of its own; a refused one must change nothing.
fn table(machine: &Machine, cases: Vec<(&str, Vec<u8>, Result<(), Failure>)>) {
    for (what, command, expected) in cases {
        let mut machine = machine.clone();
        let before = machine.snapshot();
        let outcome = machine.try_run(&command).map(drop);
        assert_eq!(outcome, expected, "{what}");
        machine.check();
        if outcome.is_err() {
            assert!(before == machine.snapshot(), "{what}: a refused command changes nothing");
        }
    }
}

/// A command that names one thing by its number.
fn naming(opcode: Opcode, uid: u16, field: Field, id: u64) -> Vec<u8> {
    plain(opcode, uid, &[(field, id)])
}
