//! Random commands of several uids against a naive oracle that knows nothing but a list of things.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Uar,
    Pd,
    Umem,
    Eq,
    Box,
}

const THINGS: [Thing; 5] = [Thing::Uar, Thing::Pd, Thing::Umem, Thing::Eq, Thing::Box];

impl Thing {
    /// First number, how many there may be, and the failures: full, unknown, foreign, in use.
    fn rules(self) -> (u32, usize, [Failure; 4]) {
        type F = Failure;
        match self {
            Self::Uar => (0x100, 3, [F::UAR_FULL, F::UAR_UNKNOWN, F::UAR_FOREIGN, F::UAR_IN_USE]),
            Self::Pd => (1, 4, [F::PD_FULL, F::PD_UNKNOWN, F::PD_FOREIGN, F::PD_IN_USE]),
            Self::Umem => (1, 4, [F::UMEM_FULL, F::UMEM_UNKNOWN, F::UMEM_FOREIGN, F::UMEM_IN_USE]),
            Self::Eq => (1, 3, [F::EQ_FULL, F::EQ_UNKNOWN, F::EQ_FOREIGN, F::EQ_IN_USE]),
            Self::Box => (1, usize::MAX, [F::OBJECT_FULL, F::OBJECT_UNKNOWN, F::OBJECT_FOREIGN, F::OBJECT_IN_USE]),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Make a thing; an EQ and a box name others by these numbers (from the first on).
    Make(Thing, u32, u32),
    /// Destroy the thing with this number (from the first on).
    Destroy(Thing, u32),
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
        let own = owner == uid || is_driver(owner) && is_driver(uid);
        if own || owner == 0xffff { Ok(()) } else { Err(foreign) }
    }

    fn make(&mut self, uid: u16, thing: Thing, a: u32, b: u32) -> Result<u32, Failure> {
        let mut uses = Vec::new();
        match thing {
            Thing::Eq => uses.push((Thing::Uar, 0x100 + a)),
            Thing::Box => {
                uses.extend((a > 0).then_some((Thing::Umem, a)));
                uses.extend((b > 0).then_some((Thing::Box, b)));
            }
            _ => {}
        }
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
        let [_, unknown, foreign, in_use] = thing.rules().2;
        let owner = self.find(thing, id).ok_or(unknown)?.uid;
        if owner != uid && !(is_driver(owner) && is_driver(uid)) {
            return Err(foreign);
        }
        if self.entries.iter().any(|entry| entry.uses.contains(&(thing, id))) {
            return Err(in_use);
        }
        self.entries.retain(|entry| (entry.thing, entry.id) != (thing, id));
        Ok(())
    }

    fn step(&mut self, uid: u16, step: Step) -> Result<u32, Failure> {
        if !is_driver(uid) && !self.contexts.contains(&uid) {
            return Err(Failure::UID_UNKNOWN);
        }
        match step {
            Step::Make(thing, a, b) => self.make(uid, thing, a, b),
            Step::Destroy(thing, id) => self.destroy(uid, thing, thing.rules().0 + id).map(|()| 0),
            Step::MakeContext | Step::DestroyContext(_) if !is_driver(uid) => Err(Failure::DRIVER_ONLY),
            Step::MakeContext if self.contexts.len() == 4 => Err(Failure::UCTX_FULL),
            Step::MakeContext => {
                let free = (1..).find(|uid| !self.contexts.contains(uid)).expect("numbers do not end");
                self.contexts.push(free);
                Ok(free.into())
            }
            Step::DestroyContext(uid) => {
                if !self.contexts.contains(&uid) {
                    return Err(Failure::UCTX_UNKNOWN);
                }
                self.contexts.retain(|context| *context != uid);
                self.entries.retain(|entry| entry.uid != uid);
                Ok(0)
            }
        }
    }

    fn balance(&self) -> Balance {
        let count = |thing| self.entries.iter().filter(|entry| entry.thing == thing).count();
        Balance {
            uctxs: self.contexts.len(),
            uars: count(Thing::Uar),
            pds: count(Thing::Pd),
            umems: count(Thing::Umem),
            eqs: count(Thing::Eq),
            objects: count(Thing::Box),
            uses: self.entries.iter().map(|entry| entry.uses.len()).sum(),
            page_entries: 2 * count(Thing::Umem) + count(Thing::Eq),
            ..Balance::default()
        }
    }
}

/// The command of a step, and where its answer has the number of what was made.
fn encode(uid: u16, step: Step) -> (Vec<u8>, Option<Field>) {
    let made = |bytes, field| (bytes, Some(field));
    match step {
        Step::MakeContext => made(plain(Opcode::CREATE_UCTX, uid, &[]), create_uctx_out::UID),
        Step::DestroyContext(context) => {
            (plain(Opcode::DESTROY_UCTX, uid, &[(destroy_uctx_in::UID, context.into())]), None)
        }
        Step::Make(Thing::Uar, ..) => made(plain(Opcode::ALLOC_UAR, uid, &[]), alloc_uar_out::UAR),
        Step::Make(Thing::Pd, ..) => made(plain(Opcode::ALLOC_PD, uid, &[]), alloc_pd_out::PD),
        Step::Make(Thing::Umem, ..) => made(create_umem(uid, &[0x1003, 0x2003]), create_umem_out::UMEM_ID),
        Step::Make(Thing::Eq, uar, _) => made(create_eq(uid, 3, 0x100 + uar, 0, 0), create_eq_out::EQ_NUMBER),
        Step::Make(Thing::Box, umem, other) => {
            made(object(Opcode::CREATE_GENERAL_OBJECT, uid, 0, umem, other), general_obj_out_cmd_hdr::OBJ_ID)
        }
        Step::Destroy(thing, index) => {
            let id = u64::from(thing.rules().0 + index);
            let bytes = match thing {
                Thing::Uar => plain(Opcode::DEALLOC_UAR, uid, &[(dealloc_uar_in::UAR, id)]),
                Thing::Pd => plain(Opcode::DEALLOC_PD, uid, &[(dealloc_pd_in::PD, id)]),
                Thing::Umem => plain(Opcode::DESTROY_UMEM, uid, &[(destroy_umem_in::UMEM_ID, id)]),
                Thing::Eq => plain(Opcode::DESTROY_EQ, uid, &[(destroy_eq_in::EQ_NUMBER, id)]),
                Thing::Box => object(Opcode::DESTROY_GENERAL_OBJECT, uid, id as u32, 0, 0),
            };
            (bytes, None)
        }
    }
}

fn any_step() -> impl Strategy<Value = (u16, Step)> {
    let thing = || prop::sample::select(&THINGS);
    let uid = prop_oneof![4 => 1u16..4, 2 => Just(0), 1 => Just(0xffff), 1 => 4u16..7];
    let step = prop_oneof![
        6 => (thing(), 0u32..4, 0u32..4).prop_map(|(thing, a, b)| Step::Make(thing, a, b)),
        4 => (thing(), 0u32..5).prop_map(|(thing, id)| Step::Destroy(thing, id)),
    ];
    let context = prop_oneof![
        2 => Just(Step::MakeContext),
        1 => (0u16..6).prop_map(Step::DestroyContext),
    ];
    prop_oneof![8 => (uid, step), 2 => (prop_oneof![9 => Just(0), 1 => Just(1)], context)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every answer and every count is the oracle's; teardown leaves nothing.
    #[test]
    fn the_firmware_is_the_oracle(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut machine = Machine::initialised();
        let mut oracle = Oracle::default();
        for (uid, step) in steps {
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
