//! Random commands of several uids against a naive oracle that knows nothing but a list of things.

use mlx5_twin_fw_cmds::transport::ServiceType;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Uar,
    Pd,
    TransportDomain,
    Xrcd,
    Umem,
    Eq,
    Cq,
    Mkey,
    Srq,
    Rmp,
    Qp,
    Box,
}

const THINGS: [Thing; 12] = [
    Thing::Uar,
    Thing::Pd,
    Thing::TransportDomain,
    Thing::Xrcd,
    Thing::Umem,
    Thing::Eq,
    Thing::Cq,
    Thing::Mkey,
    Thing::Srq,
    Thing::Rmp,
    Thing::Qp,
    Thing::Box,
];

impl Thing {
    /// First number, how many there may be, and the failures: full, unknown, foreign, in use.
    fn rules(self) -> (u32, usize, [Failure; 4]) {
        type F = Failure;
        match self {
            Self::Uar => (0x100, 3, [F::UAR_FULL, F::UAR_UNKNOWN, F::UAR_FOREIGN, F::UAR_IN_USE]),
            Self::Pd => (1, 4, [F::PD_FULL, F::PD_UNKNOWN, F::PD_FOREIGN, F::PD_IN_USE]),
            Self::TransportDomain => (1, 2, [F::TD_FULL, F::TD_UNKNOWN, F::TD_FOREIGN, F::TD_IN_USE]),
            Self::Xrcd => (1, 2, [F::XRCD_FULL, F::XRCD_UNKNOWN, F::XRCD_FOREIGN, F::XRCD_IN_USE]),
            Self::Umem => (1, 4, [F::UMEM_FULL, F::UMEM_UNKNOWN, F::UMEM_FOREIGN, F::UMEM_IN_USE]),
            Self::Eq => (1, 3, [F::EQ_FULL, F::EQ_UNKNOWN, F::EQ_FOREIGN, F::EQ_IN_USE]),
            Self::Cq => (1, 4, [F::CQ_FULL, F::CQ_UNKNOWN, F::CQ_FOREIGN, F::CQ_IN_USE]),
            Self::Mkey => (2, 6, [F::MKEY_FULL, F::MKEY_UNKNOWN, F::MKEY_FOREIGN, F::MKEY_IN_USE]),
            Self::Srq => (1, 2, [F::SRQ_FULL, F::SRQ_UNKNOWN, F::SRQ_FOREIGN, F::SRQ_IN_USE]),
            Self::Rmp => (3, 2, [F::RMP_FULL, F::RMP_UNKNOWN, F::RMP_FOREIGN, F::RMP_IN_USE]),
            Self::Qp => (0x40, 4, [F::QP_FULL, F::QP_UNKNOWN, F::QP_FOREIGN, F::QP_IN_USE]),
            Self::Box => (1, usize::MAX, [F::OBJECT_FULL, F::OBJECT_UNKNOWN, F::OBJECT_FOREIGN, F::OBJECT_IN_USE]),
        }
    }

    /// What a thing made with these numbers uses, in the order in which it's checked.
    fn uses(self, a: u32, b: u32) -> Vec<(Self, u32)> {
        let unless_0 = |thing, id: u32| (id > 0).then_some((thing, id));
        match self {
            Self::Uar | Self::Pd | Self::TransportDomain | Self::Xrcd | Self::Umem => Vec::new(),
            Self::Eq => vec![(Self::Uar, 0x100 + a)],
            Self::Cq => vec![(Self::Uar, 0x100 + a), (Self::Eq, b)],
            Self::Mkey => unless_0(Self::Umem, a).into_iter().chain([(Self::Pd, b)]).collect(),
            Self::Srq => vec![(Self::Pd, a), (Self::Xrcd, b), (Self::Cq, b)],
            Self::Rmp => unless_0(Self::Umem, b).into_iter().chain([(Self::Pd, a)]).collect(),
            Self::Qp => {
                let queue = if b > 2 { (Self::Rmp, b) } else { (Self::Srq, b) };
                vec![(Self::Pd, a), (Self::Uar, 0x100), (Self::Cq, a), (Self::Cq, b), queue]
            }
            Self::Box => unless_0(Self::Umem, a).into_iter().chain(unless_0(Self::Box, b)).collect(),
        }
    }

    /// Entries of its page list.
    fn page_entries(self, uses: &[(Self, u32)]) -> usize {
        let in_umem = uses.iter().any(|(thing, _)| *thing == Self::Umem);
        match self {
            Self::Umem => 2,
            Self::Eq | Self::Cq | Self::Srq | Self::Qp => 1,
            Self::Mkey if !in_umem => 2,
            Self::Rmp if !in_umem => 1,
            _ => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Make a thing; those that use others name them by these numbers.
    Make(Thing, u32, u32),
    /// Destroy the thing with this number (from the first on).
    Destroy(Thing, u32),
    /// Put the QP with this number (from the first on) into a group, or take it out.
    Attach(u32, u8),
    Detach(u32, u8),
    MakeContext,
    DestroyContext(u16),
}

#[derive(Clone, Debug)]
struct Entry {
    thing: Thing,
    id: u32,
    uid: u16,
    uses: Vec<(Thing, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Oracle {
    /// In the order in which they were made.
    entries: Vec<Entry>,
    contexts: Vec<u16>,
    /// Groups' last byte and QP.
    attached: Vec<(u8, u32)>,
}

fn is_driver(uid: u16) -> bool {
    uid == 0 || uid == 0xffff
}

impl Oracle {
    fn find(&self, thing: Thing, id: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.thing == thing && entry.id == id)
    }

    fn may_name(&self, uid: u16, thing: Thing, id: u32) -> Result<(), Failure> {
        let [_, unknown, foreign, _] = thing.rules().2;
        let owner = self.find(thing, id).ok_or(unknown)?.uid;
        if owner == uid || owner == 0xffff || is_driver(uid) { Ok(()) } else { Err(foreign) }
    }

    fn may_change(&self, uid: u16, thing: Thing, id: u32) -> Result<(), Failure> {
        let [_, unknown, foreign, _] = thing.rules().2;
        let owner = self.find(thing, id).ok_or(unknown)?.uid;
        if owner == uid || is_driver(owner) && is_driver(uid) { Ok(()) } else { Err(foreign) }
    }

    fn make(&mut self, uid: u16, thing: Thing, a: u32, b: u32) -> Result<u32, Failure> {
        let uses = thing.uses(a, b);
        let (first, most, [full, ..]) = thing.rules();
        let free = (first..).find(|id| self.find(thing, *id).is_none()).expect("numbers do not end");
        for &(used, id) in &uses {
            self.may_name(uid, used, id)?;
        }
        if self.entries.iter().filter(|entry| entry.thing == thing).count() >= most {
            return Err(full);
        }
        self.entries.push(Entry { thing, id: free, uid, uses });
        Ok(free)
    }

    fn destroy(&mut self, uid: u16, thing: Thing, id: u32) -> Result<(), Failure> {
        self.may_change(uid, thing, id)?;
        let attached = thing == Thing::Qp && self.attached.iter().any(|(_, qpn)| *qpn == id);
        if attached || self.entries.iter().any(|entry| entry.uses.contains(&(thing, id))) {
            return Err(thing.rules().2[3]);
        }
        self.entries.retain(|entry| (entry.thing, entry.id) != (thing, id));
        Ok(())
    }

    fn attach(&mut self, uid: u16, qpn: u32, group: u8) -> Result<(), Failure> {
        self.may_change(uid, Thing::Qp, qpn)?;
        let mut groups: Vec<u8> = self.attached.iter().map(|(group, _)| *group).collect();
        groups.sort_unstable();
        let members = groups.iter().filter(|known| **known == group).count();
        groups.dedup();
        match members {
            _ if self.attached.contains(&(group, qpn)) => Err(Failure::MCG_ATTACHED),
            0 if groups.len() >= 2 => Err(Failure::MCG_FULL),
            2.. => Err(Failure::MCG_QPS),
            _ => {
                self.attached.push((group, qpn));
                Ok(())
            }
        }
    }

    fn detach(&mut self, uid: u16, qpn: u32, group: u8) -> Result<(), Failure> {
        self.may_change(uid, Thing::Qp, qpn)?;
        let before = self.attached.len();
        self.attached.retain(|place| *place != (group, qpn));
        if self.attached.len() < before { Ok(()) } else { Err(Failure::MCG_NOT_ATTACHED) }
    }

    fn destroy_context(&mut self, uid: u16) -> Result<(), Failure> {
        if !self.contexts.contains(&uid) {
            return Err(Failure::UCTX_UNKNOWN);
        }
        for user in self.entries.iter().filter(|entry| entry.uid != uid) {
            if user.uses.iter().any(|(thing, id)| self.find(*thing, *id).is_some_and(|used| used.uid == uid)) {
                return Err(Failure::UCTX_IN_USE);
            }
        }
        self.contexts.retain(|context| *context != uid);
        self.entries.retain(|entry| entry.uid != uid);
        let entries = &self.entries;
        self.attached.retain(|(_, qpn)| entries.iter().any(|entry| (entry.thing, entry.id) == (Thing::Qp, *qpn)));
        Ok(())
    }

    fn step(&mut self, uid: u16, step: Step) -> Result<u32, Failure> {
        if !is_driver(uid) && !self.contexts.contains(&uid) {
            return Err(Failure::UID_UNKNOWN);
        }
        match step {
            Step::Make(thing, a, b) => self.make(uid, thing, a, b),
            Step::Destroy(thing, id) => self.destroy(uid, thing, thing.rules().0 + id).map(|()| 0),
            Step::Attach(qp, group) => self.attach(uid, 0x40 + qp, group).map(|()| 0),
            Step::Detach(qp, group) => self.detach(uid, 0x40 + qp, group).map(|()| 0),
            Step::MakeContext | Step::DestroyContext(_) if !is_driver(uid) => Err(Failure::DRIVER_ONLY),
            Step::MakeContext if self.contexts.len() == 4 => Err(Failure::UCTX_FULL),
            Step::MakeContext => {
                let free = (1..).find(|uid| !self.contexts.contains(uid)).expect("numbers do not end");
                self.contexts.push(free);
                Ok(free.into())
            }
            Step::DestroyContext(uid) => self.destroy_context(uid).map(|()| 0),
        }
    }

    fn balance(&self) -> Balance {
        let count = |thing| self.entries.iter().filter(|entry| entry.thing == thing).count();
        Balance {
            uctxs: self.contexts.len(),
            uars: count(Thing::Uar),
            pds: count(Thing::Pd),
            transport_domains: count(Thing::TransportDomain),
            xrcds: count(Thing::Xrcd),
            umems: count(Thing::Umem),
            eqs: count(Thing::Eq),
            cqs: count(Thing::Cq),
            mkeys: count(Thing::Mkey),
            srqs: count(Thing::Srq),
            rmps: count(Thing::Rmp),
            qps: count(Thing::Qp),
            attachments: self.attached.len(),
            objects: count(Thing::Box),
            uses: self.entries.iter().map(|entry| entry.uses.len()).sum::<usize>() + self.attached.len(),
            page_entries: self.entries.iter().map(|entry| entry.thing.page_entries(&entry.uses)).sum(),
            ..Balance::default()
        }
    }
}

/// The command that makes a thing, and where its answer has the number.
fn make(uid: u16, thing: Thing, a: u32, b: u32) -> (Vec<u8>, Field) {
    match thing {
        Thing::Uar => (plain(Opcode::ALLOC_UAR, uid, &[]), alloc_uar_out::UAR),
        Thing::Pd => (plain(Opcode::ALLOC_PD, uid, &[]), alloc_pd_out::PD),
        Thing::TransportDomain => {
            (plain(Opcode::ALLOC_TRANSPORT_DOMAIN, uid, &[]), alloc_transport_domain_out::TRANSPORT_DOMAIN)
        }
        Thing::Xrcd => (plain(Opcode::ALLOC_XRCD, uid, &[]), alloc_xrcd_out::XRCD),
        Thing::Umem => (create_umem(uid, &[0x1003, 0x2003]), create_umem_out::UMEM_ID),
        Thing::Eq => (create_eq(uid, 3, 0x100 + a, 0, 0), create_eq_out::EQ_NUMBER),
        Thing::Cq => (create_cq(uid, 0x100 + a, b), create_cq_out::CQN),
        Thing::Mkey => {
            let umem =
                [(create_mkey_in::MKEY_UMEM_VALID, u64::from(a > 0)), (create_mkey_umem::MKEY_UMEM_ID, a.into())];
            (with(create_mkey(uid, b, &[0x1003, 0x2003]), &umem), create_mkey_out::MKEY_INDEX)
        }
        Thing::Srq => (create_xrc_srq(uid, a, b, b), create_xrc_srq_out::XRC_SRQN),
        Thing::Rmp => {
            let umem = [(rmp_wq(wq::WQ_UMEM_VALID), u64::from(b > 0)), (rmp_wq(wq::WQ_UMEM_ID), b.into())];
            (with(create_rmp(uid, a), &umem), create_rmp_out::RMPN)
        }
        Thing::Qp => {
            let uses = QpUses { pd: a, uar: 0x100, cq_send: a, cq_receive: b };
            (shared(create_qp(uid, ServiceType::UD, uses), b), create_qp_out::QPN)
        }
        Thing::Box => (object(Opcode::CREATE_GENERAL_OBJECT, uid, 0, a, b), general_obj_out_cmd_hdr::OBJ_ID),
    }
}

/// The command that destroys a thing.
fn destroy(uid: u16, thing: Thing, id: u32) -> Vec<u8> {
    let (opcode, field) = match thing {
        Thing::Uar => (Opcode::DEALLOC_UAR, dealloc_uar_in::UAR),
        Thing::Pd => (Opcode::DEALLOC_PD, dealloc_pd_in::PD),
        Thing::TransportDomain => (Opcode::DEALLOC_TRANSPORT_DOMAIN, dealloc_transport_domain_in::TRANSPORT_DOMAIN),
        Thing::Xrcd => (Opcode::DEALLOC_XRCD, dealloc_xrcd_in::XRCD),
        Thing::Umem => (Opcode::DESTROY_UMEM, destroy_umem_in::UMEM_ID),
        Thing::Eq => (Opcode::DESTROY_EQ, destroy_eq_in::EQ_NUMBER),
        Thing::Cq => (Opcode::DESTROY_CQ, destroy_cq_in::CQN),
        Thing::Mkey => (Opcode::DESTROY_MKEY, destroy_mkey_in::MKEY_INDEX),
        Thing::Srq => (Opcode::DESTROY_XRC_SRQ, destroy_xrc_srq_in::XRC_SRQN),
        Thing::Rmp => (Opcode::DESTROY_RMP, destroy_rmp_in::RMPN),
        Thing::Qp => (Opcode::DESTROY_QP, destroy_qp_in::QPN),
        Thing::Box => return object(Opcode::DESTROY_GENERAL_OBJECT, uid, id, 0, 0),
    };
    plain(opcode, uid, &[(field, id.into())])
}

/// The command of a step, and where its answer has the number of what was made.
fn encode(uid: u16, step: Step) -> (Vec<u8>, Option<Field>) {
    match step {
        Step::Make(thing, a, b) => {
            let (bytes, number) = make(uid, thing, a, b);
            (bytes, Some(number))
        }
        Step::Destroy(thing, index) => (destroy(uid, thing, thing.rules().0 + index), None),
        Step::Attach(qp, last) => (group(Opcode::ATTACH_TO_MCG, uid, 0x40 + qp, 0xff, last), None),
        Step::Detach(qp, last) => (group(Opcode::DETACH_FROM_MCG, uid, 0x40 + qp, 0xff, last), None),
        Step::MakeContext => (plain(Opcode::CREATE_UCTX, uid, &[]), Some(create_uctx_out::UID)),
        Step::DestroyContext(context) => {
            (plain(Opcode::DESTROY_UCTX, uid, &[(destroy_uctx_in::UID, context.into())]), None)
        }
    }
}

fn any_step() -> impl Strategy<Value = (u16, Step)> {
    let thing = || prop::sample::select(&THINGS);
    let uid = prop_oneof![4 => 1u16..4, 4 => Just(0), 1 => Just(0xffff), 1 => 4u16..7];
    // Small numbers, so that what is named is often there.
    let number = || prop_oneof![4 => 0u32..3, 1 => 0u32..5];
    let step = prop_oneof![
        12 => (thing(), number(), number()).prop_map(|(thing, a, b)| Step::Make(thing, a, b)),
        4 => (thing(), number()).prop_map(|(thing, id)| Step::Destroy(thing, id)),
        1 => (0u32..4, 0u8..3).prop_map(|(qp, group)| Step::Attach(qp, group)),
        1 => (0u32..4, 0u8..3).prop_map(|(qp, group)| Step::Detach(qp, group)),
    ];
    let context = prop_oneof![
        2 => Just(Step::MakeContext),
        1 => (0u16..6).prop_map(Step::DestroyContext),
    ];
    prop_oneof![12 => (uid, step), 2 => (prop_oneof![9 => Just(0), 1 => Just(1)], context)]
}

/// What a QP needs, so that random steps get that far: the driver's, or a user's.
fn prelude() -> impl Strategy<Value = Vec<(u16, Step)>> {
    let of = |uid| {
        let steps = [
            Step::Make(Thing::Uar, 0, 0),
            Step::Make(Thing::Pd, 0, 0),
            Step::Make(Thing::Xrcd, 0, 0),
            Step::Make(Thing::Eq, 0, 0),
            Step::Make(Thing::Cq, 0, 1),
            Step::Make(Thing::Srq, 1, 1),
            Step::Make(Thing::Qp, 1, 1),
            Step::Make(Thing::Qp, 1, 1),
            Step::Attach(0, 0),
        ];
        [(0, Step::MakeContext)].into_iter().chain(steps.map(|step| (uid, step))).collect()
    };
    prop_oneof![1 => Just(Vec::new()), 1 => Just(of(0)), 1 => Just(of(0xffff)), 1 => Just(of(1))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every answer and every count is the oracle's; teardown leaves nothing.
    #[test]
    fn the_firmware_is_the_oracle(prelude in prelude(), steps in prop::collection::vec(any_step(), 0..120)) {
        let mut machine = Machine::initialised();
        let mut oracle = Oracle::default();
        for (uid, step) in prelude.into_iter().chain(steps) {
            let (bytes, number) = encode(uid, step);
            let outcome = machine.try_run(&bytes).map(|answer| {
                number.map_or(0, |field| field.get(&answer).expect("the answer has a number") as u32)
            });
            prop_assert_eq!(outcome, oracle.step(uid, step), "uid {} {:?}", uid, step);
            prop_assert_eq!(machine.balance(), oracle.balance());
        }
        machine.check();
        machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
        prop_assert!(machine.balance().is_zero());
        prop_assert!(machine.boxes.boxes.is_empty());
        machine.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
    }
}
