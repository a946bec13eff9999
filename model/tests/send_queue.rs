//! Send queues of raw packets: what becomes of the requests that a driver posts.

mod common;

use common::Rig;
use common::commands::{Events, plain};
use mlx5_twin_fw_cmds::constants::*;
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::{Field, FieldArray};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::profile::Profile;

const LOG_ENTRIES: u64 = 3;
const ENTRIES: u64 = 1 << LOG_ENTRIES;
/// Of an entry that the device hasn't written yet: no opcode, and the owner's bit that it never writes in the first lap.
const EMPTY: u8 = 0xf1;

const TOLD: u8 = WQE_CQ_UPDATE;

fn ethernet() -> Profile {
    toml::from_str(include_str!("../../fixtures/profiles/bluefield3-eth.toml")).expect("the profile is sound")
}

/// A request: opcode, length in units of 16 bytes, what it asks for.
type Request = (u8, u8, u8);

/// A queue's state, and how much it has carried out.
type Progress = (u8, u16);

/// A completion: opcode, index of the request, syndrome.
type Completion = (u8, u16, u8);

fn done(index: u16) -> Completion {
    (CQE_REQ, index, 0)
}

fn failed(index: u16) -> Completion {
    (CQE_REQ_ERR, index, CQE_SYNDROME_LOCAL_QP_OP_ERR)
}

/// A driver with one send queue of 8 entries, and a completion queue of as many.
struct Sender {
    rig: Rig,
    uar: u64,
    pd: u64,
    cqn: u64,
    sqn: u64,
    /// Where the queue and its doorbell record are, and the completion queue and its record.
    queue: u64,
    record: u64,
    completions: u64,
    completion_record: u64,
    /// How much was posted, in entries, and how many completions were taken.
    posted: u16,
    taken: u64,
    events: Events,
}

/// A command whose list has one page.
fn with_page(mut bytes: Vec<u8>, list: FieldArray, page: u64) -> Vec<u8> {
    bytes.resize((list.offset / 8) as usize + 8, 0);
    list.set(&mut bytes, 0, page).expect("fits");
    bytes
}

impl Sender {
    /// The queue is ready.
    fn new() -> Sender {
        let mut rig = Rig::new(&ethernet()).bring_up();
        rig.enable_msix(8, false);
        let uar = rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
        let pd = rig.number(&plain(Opcode::ALLOC_PD, 0, &[]), alloc_pd_out::PD);
        let events = Events::new(&mut rig, 4, uar, 5, 1 << EventType::CQ_ERROR.0);
        events.update(&mut rig, true);
        let (queue, record, completions) = (rig.pages(4096), rig.pages(4096), rig.pages(4096));
        let completion_record = record + 64;
        let context = |field: Field| field.within(create_cq_in::CQ_CONTEXT.bits());
        let fields = [
            (context(cqc::LOG_CQ_SIZE), LOG_ENTRIES),
            (context(cqc::UAR_PAGE), uar.into()),
            (context(cqc::C_EQN_OR_APU_ELEMENT), events.eqn.into()),
            (context(cqc::DBR_ADDR), completion_record),
        ];
        let create = with_page(plain(Opcode::CREATE_CQ, 0, &fields), create_cq_in::PAS, completions);
        let cqn = rig.number(&create, create_cq_out::CQN).into();
        let (uar, pd) = (uar.into(), pd.into());
        let (sqn, posted, taken) = (0, 0, 0);
        let mut sender =
            Sender { rig, uar, pd, cqn, sqn, queue, record, completions, completion_record, posted, taken, events };
        for index in 0..ENTRIES {
            sender.rig.poke(completions + 64 * index + 63, &[EMPTY]);
        }
        sender.sqn = sender.create();
        sender.modify(SQC_STATE_RST, SQC_STATE_RDY);
        sender
    }

    fn create(&mut self) -> u64 {
        let context = |field: Field| field.within(create_sq_in::CTX.bits());
        let queue = |field: Field| context(field.within(sqc::WQ.bits()));
        let fields = [
            (context(sqc::CQN), self.cqn),
            (queue(wq::WQ_TYPE), WQ_TYPE_CYCLIC.into()),
            (queue(wq::PD), self.pd),
            (queue(wq::UAR_PAGE), self.uar),
            (queue(wq::LOG_WQ_STRIDE), 6),
            (queue(wq::LOG_WQ_SZ), LOG_ENTRIES),
            (queue(wq::DBR_ADDR), self.record),
        ];
        let list = wq::PAS.within(create_sq_in::CTX.bits() + sqc::WQ.bits());
        let create = with_page(plain(Opcode::CREATE_SQ, 0, &fields), list, self.queue);
        self.rig.number(&create, create_sq_out::SQN).into()
    }

    fn modify(&mut self, from: u8, to: u8) {
        let state = sqc::STATE.within(modify_sq_in::CTX.bits());
        let fields = [(modify_sq_in::SQN, self.sqn), (modify_sq_in::SQ_STATE, from.into()), (state, to.into())];
        self.rig.ok(&plain(Opcode::MODIFY_SQ, 0, &fields));
    }

    fn destroy(&mut self) {
        self.rig.ok(&plain(Opcode::DESTROY_SQ, 0, &[(destroy_sq_in::SQN, self.sqn)]));
    }

    /// Writes a request of so many times 16 bytes behind those that were posted, without ringing.
    fn post(&mut self, opcode: u8, size: u8, flags: u8) {
        let mut request = [0; wqe_ctrl_seg::SIZE];
        let head = u64::from(self.posted) << 8 | u64::from(opcode);
        for (field, value) in [
            (wqe_ctrl_seg::OPMOD_IDX_OPCODE, head),
            (wqe_ctrl_seg::QPN_DS, self.sqn << 8 | u64::from(size)),
            (wqe_ctrl_seg::FM_CE_SE, flags.into()),
        ] {
            field.set(&mut request, value).expect("fits");
        }
        self.rig.poke(self.queue + u64::from(self.posted) % ENTRIES * 64, &request);
        self.posted = self.posted.wrapping_add(u16::from(size.div_ceil(4)));
    }

    fn write_record(&mut self) {
        self.rig.poke(self.record + 4, &u32::from(self.posted).to_be_bytes());
    }

    /// Stores to a doorbell of this queue's.
    fn store(&mut self, uar: u64, sqn: u64) {
        self.rig.store(uar * 4096 + BF_OFFSET, &(sqn << 8).to_be_bytes());
    }

    fn ring(&mut self) {
        self.write_record();
        self.store(self.uar, self.sqn);
    }

    fn arm(&mut self) {
        let value = (self.taken & 0xff_ffff) << 32 | self.cqn;
        self.rig.store(self.uar * 4096 + CQ_DOORBELL, &value.to_be_bytes());
    }

    /// The completions since the last look.
    fn take(&mut self) -> Vec<Completion> {
        self.rig.settle();
        let mut all = Vec::new();
        loop {
            let entry = self.rig.peek(self.completions + 64 * (self.taken % ENTRIES), 64);
            let (opcode, owner) = (entry[63] >> 4, entry[63] & 1);
            if opcode == EMPTY >> 4 || u64::from(owner) != self.taken / ENTRIES % 2 {
                return all;
            }
            let get = |field: Field| field.get(&entry).expect("is there");
            assert_eq!(get(cqe64::SOP_DROP_QPN) & 0xff_ffff, self.sqn);
            let syndrome = if opcode == CQE_REQ_ERR { get(err_cqe::SYNDROME) as u8 } else { 0 };
            all.push((opcode, get(cqe64::WQE_COUNTER) as u16, syndrome));
            self.take_one();
        }
    }

    /// A completion more is taken: the doorbell record says so.
    fn take_one(&mut self) {
        self.taken += 1;
        self.rig.poke(self.completion_record, &(self.taken as u32 & 0xff_ffff).to_be_bytes());
    }

    /// The state of the completion queue, and how many completions it has had.
    fn completion_queue(&mut self) -> (u8, u64) {
        let answer = self.rig.ok(&plain(Opcode::QUERY_CQ, 0, &[(query_cq_in::CQN, self.cqn)]));
        let get = |field: Field| field.within(query_cq_out::CQ_CONTEXT.bits()).get(&answer).expect("is there");
        (get(cqc::STATUS) as u8, get(cqc::PRODUCER_COUNTER))
    }

    /// Has overruns of the completion queue ignored.
    fn ignore_overruns(&mut self) {
        let select = modify_field_select::MODIFY_FIELD_SELECT
            .within(modify_cq_in::MODIFY_FIELD_SELECT_RESIZE_FIELD_SELECT.bits());
        let fields = [
            (modify_cq_in::CQN, self.cqn),
            (select, CQ_MODIFY_OVERRUN.into()),
            (cqc::OI.within(modify_cq_in::CQ_CONTEXT.bits()), 1),
        ];
        self.rig.ok(&plain(Opcode::MODIFY_CQ, 0, &fields));
    }

    /// Posts a packet that is told of.
    fn send(&mut self) {
        self.post(OPCODE_SEND, 4, TOLD);
        self.ring();
        self.rig.settle();
    }

    /// The next event: its type and its data.
    fn event(&mut self) -> Option<(u8, Vec<u8>)> {
        self.rig.settle();
        self.events.next(&self.rig)
    }

    fn progress(&mut self) -> Progress {
        let answer = self.rig.ok(&plain(Opcode::QUERY_SQ, 0, &[(query_sq_in::SQN, self.sqn)]));
        let get = |field: Field| field.within(query_sq_out::SQ_CONTEXT.bits()).get(&answer).expect("is there");
        (get(sqc::STATE) as u8, get(wq::HW_COUNTER.within(sqc::WQ.bits())) as u16)
    }
}

#[test]
fn what_becomes_of_requests() {
    const SEND: u8 = OPCODE_SEND;
    const RDMA_WRITE: u8 = 0x08;
    const UMR: u8 = 0x25;
    let (ready, error) = (SQC_STATE_RDY, SQC_STATE_ERR);
    #[rustfmt::skip]
    let cases: &[(&str, &[Request], &[Completion], Progress)] = &[
        ("none", &[], &[], (ready, 0)),
        ("nothing to do", &[(OPCODE_NOP, 1, TOLD)], &[done(0)], (ready, 1)),
        ("a packet", &[(SEND, 4, TOLD)], &[done(0)], (ready, 1)),
        ("a packet that nobody is told of", &[(SEND, 4, 0)], &[], (ready, 1)),
        ("segments", &[(OPCODE_LSO, 5, TOLD)], &[done(0)], (ready, 2)),
        ("three", &[(SEND, 2, 0), (OPCODE_LSO, 9, 0), (SEND, 2, TOLD)], &[done(4)], (ready, 5)),
        ("each is told of", &[(SEND, 5, TOLD), (OPCODE_NOP, 1, TOLD)], &[done(0), done(2)], (ready, 3)),
        ("as many as there's room for", &[(SEND, 16, 0), (SEND, 16, TOLD)], &[done(4)], (ready, 8)),
        ("a write to memory", &[(RDMA_WRITE, 2, 0)], &[failed(0)], (error, 0)),
        ("a change of a key behind a packet", &[(SEND, 2, TOLD), (UMR, 2, TOLD), (SEND, 2, TOLD)], &[done(0), failed(1)], (error, 1)),
        ("longer than what was posted", &[(SEND, 5, TOLD), (SEND, 0, TOLD)], &[done(0), failed(2)], (error, 2)),
        ("no such opcode", &[(0xff, 1, TOLD)], &[failed(0)], (error, 0)),
    ];
    for (name, requests, completions, progress) in cases {
        let mut sender = Sender::new();
        for (opcode, size, flags) in *requests {
            sender.post(*opcode, *size, *flags);
        }
        if *name == "longer than what was posted" {
            // The request of no length takes an entry; nothing is what it's long.
            sender.posted += 1;
        }
        sender.ring();
        assert_eq!(sender.take(), *completions, "{name}");
        assert_eq!(sender.progress(), *progress, "{name}");
        assert_eq!(sender.rig.counters().stray_accesses, 0, "{name}");
    }
}

/// A request that reaches beyond what was posted would lead around the queue for ever.
#[test]
fn a_request_longer_than_what_was_posted() {
    let mut sender = Sender::new();
    sender.post(OPCODE_SEND, 8, TOLD);
    sender.posted -= 1;
    sender.ring();
    assert_eq!((sender.take(), sender.progress()), (vec![failed(0)], (SQC_STATE_ERR, 0)));
}

/// The entry tells what the request was, of which queue. From an error, the queue comes back as new.
#[test]
fn out_of_an_error() {
    let mut sender = Sender::new();
    sender.post(0x25, 4, 0);
    sender.ring();
    assert_eq!(sender.take(), [failed(0)]);
    let entry = sender.rig.peek(sender.completions, 64);
    assert_eq!(err_cqe::S_WQE_OPCODE_QPN.get(&entry), Ok(0x25 << 24 | sender.sqn));
    sender.ring();
    assert_eq!(sender.take(), [], "a queue in error does nothing");
    sender.modify(SQC_STATE_ERR, SQC_STATE_RST);
    sender.ring();
    assert_eq!(sender.take(), [], "nor one that isn't ready");
    sender.modify(SQC_STATE_RST, SQC_STATE_RDY);
    sender.posted = 0;
    sender.post(OPCODE_SEND, 4, TOLD);
    sender.ring();
    assert_eq!((sender.take(), sender.progress()), (vec![done(0)], (SQC_STATE_RDY, 1)));
}

/// Around the queue, around its completion queue, and around the 16 bits of the counters.
#[test]
fn counters_wrap_around() {
    let mut sender = Sender::new();
    // 3 entries each: they begin at each place of the queue, and lie across its end.
    for _ in 0..3 * ENTRIES {
        let index = sender.posted;
        sender.post(OPCODE_SEND, 12, TOLD);
        sender.ring();
        assert_eq!(sender.take(), [done(index)]);
    }
    while sender.posted < 0xfffd {
        let long = if sender.posted < 0xfff0 { 32 } else { 4 };
        sender.post(OPCODE_SEND, long, 0);
        sender.ring();
        sender.rig.settle();
    }
    assert_eq!((sender.posted, sender.take()), (0xfffd, vec![]));
    for index in [0xfffd, 0] {
        sender.post(OPCODE_LSO, 12, TOLD);
        sender.ring();
        assert_eq!(sender.take(), [done(index)]);
    }
    assert_eq!(sender.progress(), (SQC_STATE_RDY, 3));
}

#[test]
fn doorbells_of_nothing() {
    let mut sender = Sender::new();
    sender.post(OPCODE_SEND, 4, TOLD);
    sender.write_record();
    let (uar, sqn) = (sender.uar, sender.sqn);
    #[rustfmt::skip]
    let cases = [
        ("of no queue", uar, sqn + 1, 1),
        ("of a completion queue", uar, sender.cqn, 1),
        ("of another page", uar + 1, sqn, 1),
        ("of a page of another", sender.rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR).into(), sqn, 1),
        ("that of the queue", uar, sqn, 0),
    ];
    for (name, uar, number, stray) in cases {
        let before = sender.rig.counters().stray_accesses;
        sender.store(uar, number);
        assert_eq!(sender.take(), if stray == 0 { vec![done(0)] } else { vec![] }, "{name}");
        assert_eq!(sender.rig.counters().stray_accesses - before, stray, "{name}");
    }
}

/// The doorbell is rung again while requests are fetched: nothing is forgotten, and nothing is done twice.
#[test]
fn rung_while_at_work() {
    for events in 0..200 {
        let mut sender = Sender::new();
        sender.post(OPCODE_SEND, 4, TOLD);
        sender.ring();
        for _ in 0..events {
            sender.rig.machine.simulation.step();
        }
        sender.post(OPCODE_SEND, 4, TOLD);
        sender.ring();
        assert_eq!(sender.take(), [done(0), done(1)], "after {events} events");
    }
}

/// The queue goes while it's at work, and another of its number comes: it does what was posted to it, and only that.
#[test]
fn destroyed_at_work() {
    for events in 0..200 {
        let mut sender = Sender::new();
        sender.post(OPCODE_SEND, 4, 0);
        sender.ring();
        for _ in 0..events {
            sender.rig.machine.simulation.step();
        }
        sender.destroy();
        sender.take();
        let before = sender.sqn;
        sender.sqn = sender.create();
        assert_eq!(sender.sqn, before);
        sender.modify(SQC_STATE_RST, SQC_STATE_RDY);
        sender.posted = 0;
        sender.post(OPCODE_LSO, 4, TOLD);
        sender.ring();
        assert_eq!((sender.take(), sender.progress()), (vec![done(0)], (SQC_STATE_RDY, 1)), "after {events} events");
    }
}

/// A completion that finds no room isn't written. The queue is in error from then on, the send queue too, and an event tells of it, once.
#[test]
fn a_completion_queue_is_overrun() {
    let mut sender = Sender::new();
    for _ in 0..ENTRIES {
        sender.send();
    }
    assert_eq!((sender.completion_queue(), sender.event()), ((CQC_STATUS_OK, ENTRIES), None));
    sender.send();
    let (kind, data) = sender.event().expect("tells of it");
    assert_eq!(kind, EventType::CQ_ERROR.0);
    assert_eq!((eqe_cq_err::CQN.get(&data), eqe_cq_err::SYNDROME.get(&data)), (Ok(sender.cqn), Ok(1)));
    assert_eq!(sender.completion_queue(), (CQC_STATUS_OVERFLOW, ENTRIES));
    assert_eq!(sender.progress(), (SQC_STATE_ERR, ENTRIES as u16), "the ninth isn't done: nobody can be told");
    assert_eq!(sender.rig.counters().cq_overruns, 1);
    // Nothing was overwritten. That there's room now changes nothing.
    assert_eq!(sender.take(), (0..ENTRIES as u16).map(done).collect::<Vec<_>>());
    sender.modify(SQC_STATE_ERR, SQC_STATE_RST);
    sender.modify(SQC_STATE_RST, SQC_STATE_RDY);
    sender.posted = 0;
    sender.send();
    assert_eq!((sender.take(), sender.event()), (vec![], None));
    assert_eq!((sender.completion_queue().0, sender.progress().0), (CQC_STATUS_OVERFLOW, SQC_STATE_ERR));
    assert_eq!(sender.rig.counters().cq_overruns, 1);
}

/// How far the driver is stands in its memory: it's read when the queue is full, and only then.
#[test]
fn room_is_looked_for_in_the_doorbell_record() {
    for taken in 0..=ENTRIES {
        let mut sender = Sender::new();
        for _ in 0..ENTRIES {
            sender.send();
        }
        for _ in 0..taken {
            sender.take_one();
        }
        for _ in 0..taken {
            sender.send();
        }
        assert_eq!((sender.completion_queue(), sender.event()), ((CQC_STATUS_OK, ENTRIES + taken), None));
        sender.send();
        assert_eq!(sender.completion_queue(), (CQC_STATUS_OVERFLOW, ENTRIES + taken), "{taken} were taken");
    }
}

/// The doorbell that arms the queue says how far the driver is, too.
#[test]
fn room_is_told_by_the_doorbell() {
    let mut sender = Sender::new();
    for _ in 0..ENTRIES {
        sender.send();
    }
    sender.take();
    sender.arm();
    // Nothing is read from it.
    sender.rig.poke(sender.completion_record, &0_u32.to_be_bytes());
    for _ in 0..ENTRIES {
        sender.send();
    }
    assert_eq!(sender.completion_queue(), (CQC_STATUS_OK, 2 * ENTRIES));
}

/// A queue that stops tells of it by a completion as well: it needs room like any other.
#[test]
fn the_completion_of_an_error_finds_no_room() {
    for taken in [0, 1] {
        let mut sender = Sender::new();
        for _ in 0..ENTRIES {
            sender.send();
        }
        for _ in 0..taken {
            sender.take_one();
        }
        sender.post(0x25, 4, 0);
        sender.ring();
        sender.rig.settle();
        let expected = [(CQC_STATUS_OVERFLOW, ENTRIES), (CQC_STATUS_OK, ENTRIES + 1)];
        assert_eq!(sender.completion_queue(), expected[taken]);
        assert_eq!(sender.progress(), (SQC_STATE_ERR, ENTRIES as u16));
    }
}

/// The doorbell is rung again while it's asked how far the driver is.
#[test]
fn rung_while_the_record_is_read() {
    for events in 0..200 {
        let mut sender = Sender::new();
        for _ in 0..ENTRIES {
            sender.send();
        }
        sender.take();
        sender.post(OPCODE_SEND, 4, TOLD);
        sender.ring();
        for _ in 0..events {
            sender.rig.machine.simulation.step();
        }
        sender.post(OPCODE_SEND, 4, TOLD);
        sender.ring();
        assert_eq!(sender.take(), [done(8), done(9)], "after {events} events");
    }
}

/// A driver that has overruns ignored knows what it does: the oldest entries are overwritten.
#[test]
fn overruns_are_ignored() {
    let mut sender = Sender::new();
    sender.ignore_overruns();
    for _ in 0..ENTRIES + 2 {
        sender.send();
    }
    // The first two entries are of the second lap.
    let owners: Vec<u8> =
        (0..ENTRIES).map(|index| sender.rig.peek(sender.completions + 64 * index + 63, 1)[0]).collect();
    assert_eq!(owners, [1, 1, 0, 0, 0, 0, 0, 0]);
    sender.taken = 2;
    let left: Vec<Completion> = (2..10).map(done).collect();
    assert_eq!((sender.take(), sender.progress()), (left, (SQC_STATE_RDY, 10)));
    assert_eq!((sender.completion_queue(), sender.event()), ((CQC_STATUS_OK, ENTRIES + 2), None));
}

/// Requests and doorbell records that can't be read, and completions that can't be written.
#[test]
fn memory_out_of_reach() {
    let mut sender = Sender::new();
    sender.post(OPCODE_SEND, 4, TOLD);
    sender.ring();
    // The store has arrived, and the first fetch hasn't ended.
    assert!(sender.rig.until(|rig| rig.machine.simulation.fabric().in_flight() == 1));
    sender.rig.set_bus_master(false);
    let before = sender.rig.counters().dma_errors;
    assert_eq!(sender.take(), []);
    sender.store(sender.uar, sender.sqn);
    assert_eq!(sender.take(), [], "the completion can't be written either");
    assert!(sender.rig.counters().dma_errors > before);
    sender.rig.set_bus_master(true);
    assert_eq!(sender.progress().0, SQC_STATE_ERR);
    // A page that isn't memory.
    for lost in ["queue", "record"] {
        let mut sender = Sender::new();
        sender.destroy();
        match lost {
            "queue" => sender.queue = 1 << 50,
            _ => sender.record = 1 << 50,
        }
        sender.sqn = sender.create();
        sender.modify(SQC_STATE_RST, SQC_STATE_RDY);
        sender.posted = 1;
        if lost == "queue" {
            sender.write_record();
        }
        sender.store(sender.uar, sender.sqn);
        assert_eq!((sender.take(), sender.progress()), (vec![failed(0)], (SQC_STATE_ERR, 0)), "{lost}");
        assert_eq!(sender.rig.counters().dma_errors, 1, "{lost}");
    }
}

/// A completion raises the event of a queue that's armed, once. What was completed before is told of at once.
#[test]
fn events_of_completions() {
    let mut sender = Sender::new();
    let send = |sender: &mut Sender| {
        sender.post(OPCODE_SEND, 4, TOLD);
        sender.ring();
        sender.rig.settle();
    };
    let told = |sender: &mut Sender| {
        sender.rig.settle();
        let event = sender.events.next(&sender.rig);
        sender.events.update(&mut sender.rig, true);
        sender.rig.settle();
        let cqn = event.map(|(kind, data)| {
            assert_eq!(kind, EventType::COMP.0);
            comp_event::CQ_NUMBER.get(&data).expect("is there")
        });
        (cqn, sender.rig.interrupts())
    };
    let once = (Some(sender.cqn), vec![0x105]);
    let never = (None, vec![]);
    send(&mut sender);
    assert_eq!(told(&mut sender), never, "it was never armed");
    sender.arm();
    assert_eq!(told(&mut sender), once, "there's one that wasn't taken");
    assert_eq!(sender.take(), [done(0)]);
    sender.arm();
    assert_eq!(told(&mut sender), never, "all were taken");
    send(&mut sender);
    assert_eq!(told(&mut sender), once, "another came");
    send(&mut sender);
    assert_eq!(told(&mut sender), never, "it isn't armed again");
    assert_eq!(sender.take(), [done(1), done(2)]);
    // Nothing that comes asks for it.
    let value = (u64::from(CQ_DB_SOLICITED) | sender.taken) << 32 | sender.cqn;
    sender.rig.store(sender.uar * 4096 + CQ_DOORBELL, &value.to_be_bytes());
    send(&mut sender);
    assert_eq!(told(&mut sender), never, "only those that ask for it");
}
