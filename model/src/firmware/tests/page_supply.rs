//! Pages while the function runs: asked for, waited for, refused, offered back; and that none is made up.

use std::collections::BTreeSet;

use mlx5_twin_fw_cmds::event::EventType;
use proptest::prelude::*;

use super::*;
use crate::profile::PagesWanted;

const PAGE_REQUESTS: u64 = 1 << EventType::PAGE_REQUEST.0;

/// Two pages before INIT_HCA, and two for each three objects.
fn profile() -> Profile {
    let mut profile = small();
    profile.pages = PagesWanted { boot: 1, init: 1, runtime: 2, runtime_objects: 3 };
    profile
}

fn initialised(profile: &Profile) -> Machine {
    let mut machine = Machine::new(profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&manage_pages(1, 2, &[0x1000, 0x2000]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine
}

/// A machine with a UAR and an event queue that takes page requests: two objects.
fn listening() -> Machine {
    let mut machine = initialised(&profile());
    machine.ok(&plain(Opcode::ALLOC_UAR, 0, &[]));
    machine.ok(&create_eq(0, 6, 0x100, 0, PAGE_REQUESTS));
    machine
}

/// QUERY_PAGES of the regular pages.
fn regular(machine: &mut Machine) -> i32 {
    let query = naming(Opcode::QUERY_PAGES, 0, query_pages_in::OP_MOD, 3);
    machine.number(&query, query_pages_out::NUM_PAGES) as i32
}

fn alloc_pd() -> Vec<u8> {
    plain(Opcode::ALLOC_PD, 0, &[])
}

fn dealloc_pd(pd: u64) -> Vec<u8> {
    naming(Opcode::DEALLOC_PD, 0, dealloc_pd_in::PD, pd)
}

#[test]
fn who_waits() {
    let mut machine = listening();
    // Three objects need two pages on top of the two.
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(2));
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Wait, "they are asked for");
    assert_eq!(regular(&mut machine), 2);
    for (what, command) in [
        ("makes nothing", plain(Opcode::QUERY_ADAPTER, 0, &[])),
        ("ends something", dealloc_pd(1)),
        ("is refused anyhow: an unknown uid", plain(Opcode::ALLOC_PD, 9, &[])),
        ("is refused anyhow: cut off", alloc_pd()[..15].to_vec()),
        ("no command", vec![]),
    ] {
        assert_eq!(machine.firmware.page_need(&command), PageNeed::None, "{what}");
    }
    assert_eq!(machine.try_run(&manage_pages(1, 3, &[0x3000, 0x4000, 0x5000])), Err(Failure::PAGES_NOT_WANTED));
    machine.ok(&manage_pages(1, 1, &[0x3000]));
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(1), "the rest is asked for again");
    machine.ok(&manage_pages(1, 1, &[0x4000]));
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::None);
    machine.ok(&alloc_pd());
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(2), "the fourth begins a new group");
    assert_eq!(machine.run(&manage_pages(0, 0, &[])).0.effect, Effect::PagesRefused);
    assert_eq!(
        (regular(&mut machine), machine.try_run(&manage_pages(1, 1, &[0x5000]))),
        (0, Err(Failure::PAGES_NOT_WANTED))
    );

    let mut output = vec![0xa5; 16];
    let refused = machine.firmware.refuse(&alloc_pd(), &mut output, Failure::PAGES_REFUSED);
    assert_eq!((refused.status, refused.effect, output[0]), (Status::LIM_ERR, Effect::None, Status::LIM_ERR.0));
    assert_eq!(output[4..8], Failure::PAGES_REFUSED.syndrome.0.to_be_bytes());
}

#[test]
fn nobody_waits() {
    let mut deaf = initialised(&profile());
    assert_eq!(deaf.firmware.page_need(&alloc_pd()), PageNeed::None, "no queue takes such events");
    let mut modest = profile();
    modest.pages.runtime = 0;
    let mut modest = initialised(&modest);
    modest.ok(&plain(Opcode::ALLOC_UAR, 0, &[]));
    modest.ok(&create_eq(0, 6, 0x100, 0, PAGE_REQUESTS));
    assert_eq!((modest.firmware.page_need(&alloc_pd()), modest.firmware.page_offer()), (PageNeed::None, None));
}

#[test]
fn what_is_not_needed_is_offered() {
    let mut machine = listening();
    let mut next = 0x3000;
    let mut pds = Vec::new();
    for _ in 0..4 {
        if let PageNeed::Ask(count) = machine.firmware.page_need(&alloc_pd()) {
            let pages: Vec<u64> = (0..u64::from(count)).map(|page| next + 4096 * page).collect();
            next += 4096 * u64::from(count);
            machine.ok(&manage_pages(1, count, &pages));
        }
        pds.push(machine.number(&alloc_pd(), alloc_pd_out::PD));
        assert_eq!(machine.firmware.page_offer(), None);
    }
    assert_eq!(machine.balance().pages_given, 2 + 2 * 2, "six objects");
    assert_eq!(machine.run(&manage_pages(2, 9, &[])).0.effect, Effect::PagesTaken(0), "all are needed");
    for pd in &pds[..3] {
        machine.ok(&dealloc_pd((*pd).into()));
        assert_eq!(machine.firmware.page_offer(), None, "a group is kept in reserve");
    }
    machine.ok(&naming(Opcode::DESTROY_EQ, 0, destroy_eq_in::EQ_NUMBER, 1));
    assert_eq!(machine.firmware.page_offer(), None, "nobody to offer them to");
    machine.ok(&create_eq(0, 6, 0x100, 0, PAGE_REQUESTS));

    // With six more objects there are more than one group too many when they are gone.
    let mut profile = profile();
    profile.pages.runtime_objects = 1;
    let mut machine = initialised(&profile);
    machine.ok(&plain(Opcode::ALLOC_UAR, 0, &[]));
    machine.ok(&create_eq(0, 6, 0x100, 0, PAGE_REQUESTS));
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(6));
    machine.ok(&manage_pages(1, 6, &[0x3000, 0x4000, 0x5000, 0x6000, 0x7000, 0x8000]));
    machine.ok(&alloc_pd());
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(2));
    machine.ok(&manage_pages(1, 2, &[0x9000, 0xa000]));
    machine.ok(&alloc_pd());
    machine.ok(&dealloc_pd(1));
    assert_eq!(machine.firmware.page_offer(), None);
    machine.ok(&dealloc_pd(2));
    assert_eq!((machine.firmware.page_offer(), machine.firmware.page_offer()), (Some(2), None), "once");
    assert_eq!(regular(&mut machine), -2);
    let (executed, answer) = machine.run(&manage_pages(2, 2, &[]));
    assert_eq!(executed.effect, Effect::PagesTaken(2));
    assert_eq!([0, 1].map(|index| manage_pages_out::PAS.get(&answer, index)), [Ok(0x1000), Ok(0x2000)]);
    assert_eq!((regular(&mut machine), machine.firmware.page_offer()), (0, None));

    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert_eq!(regular(&mut machine), -8, "all that are left");
}

/// Pages that the driver didn't take back before DISABLE_HCA are its own again.
#[test]
fn disable_forgets_pages() {
    let mut machine = listening();
    assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::Ask(2));
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert_eq!(regular(&mut machine), -2, "what was asked for is not asked for any more");
    assert_eq!(machine.run(&manage_pages(2, 1, &[])).0.effect, Effect::PagesTaken(1));
    machine.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&manage_pages(1, 2, &[0x1000, 0x2000]));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Make an object, and do as a driver does if pages are asked for: give them if it has them.
    Make(bool),
    Destroy(usize),
    /// Take this many back, asked or not.
    Take(usize),
    /// Give pages that nobody asked for.
    Push(usize),
    Again,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::bool::weighted(0.8).prop_map(Step::Make),
        4 => (0usize..20).prop_map(Step::Destroy),
        2 => (0usize..9).prop_map(Step::Take),
        1 => (1usize..4).prop_map(Step::Push),
        1 => Just(Step::Again),
    ]
}

/// A driver that keeps its own books of its pages.
struct Books {
    lent: BTreeSet<u64>,
    next: u64,
}

impl Books {
    fn fresh(&mut self, count: usize) -> Vec<u64> {
        let pages = (0..count as u64).map(|page| self.next + 4096 * page).collect();
        self.next += 4096 * count as u64;
        pages
    }

    /// Takes pages back: each must be one that was given and not taken since.
    fn take(&mut self, machine: &mut Machine, count: usize) -> usize {
        let answer = machine.ok(&manage_pages(2, count as u32, &[]));
        let taken = manage_pages_out::OUTPUT_NUM_ENTRIES.get(&answer).expect("is there") as usize;
        assert!(taken <= count);
        for index in 0..taken {
            let page = manage_pages_out::PAS.get(&answer, index).expect("is there");
            assert!(self.lent.remove(&page), "{page:#x} was not given, or is taken twice");
        }
        taken
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the driver does, the firmware hands back pages that it was given, each once, and has enough for what is alive.
    #[test]
    fn pages_come_back(steps in prop::collection::vec(any_step(), 0..80), group in 1u32..4) {
        let mut profile = profile();
        profile.capabilities.general.insert("log_max_pd".to_owned(), CapabilityValue::One(6));
        profile.pages.runtime_objects = group;
        let mut machine = initialised(&profile);
        let mut books = Books { lent: BTreeSet::from([0x1000, 0x2000]), next: 0x10_0000 };
        machine.ok(&plain(Opcode::ALLOC_UAR, 0, &[]));
        machine.ok(&create_eq(0, 6, 0x100, 0, PAGE_REQUESTS));
        let mut pds = Vec::new();
        for step in steps {
            match step {
                Step::Make(gives) => match machine.firmware.page_need(&alloc_pd()) {
                    PageNeed::None => pds.extend(machine.try_run(&alloc_pd()).map(|answer| alloc_pd_out::PD.get(&answer).expect("is there"))),
                    PageNeed::Ask(count) if gives => {
                        let pages = books.fresh(count as usize);
                        machine.ok(&manage_pages(1, count, &pages));
                        books.lent.extend(pages);
                        prop_assert_eq!(machine.firmware.page_need(&alloc_pd()), PageNeed::None, "enough were asked for");
                    }
                    PageNeed::Ask(_) => drop(machine.ok(&manage_pages(0, 0, &[]))),
                    PageNeed::Wait => prop_assert!(false, "nothing is open"),
                },
                Step::Destroy(index) if index < pds.len() => drop(machine.ok(&dealloc_pd(pds.swap_remove(index)))),
                Step::Destroy(_) => {}
                Step::Take(count) => drop(books.take(&mut machine, count)),
                Step::Push(count) => {
                    let pages = books.fresh(count);
                    prop_assert_eq!(machine.try_run(&manage_pages(1, count as u32, &pages)), Err(Failure::PAGES_NOT_WANTED));
                }
                Step::Again => {
                    if let Some(page) = books.lent.first() {
                        let again = machine.try_run(&manage_pages(1, 1, &[*page]));
                        prop_assert_eq!(again, Err(Failure::PAGES_NOT_WANTED));
                    }
                }
            }
            if let Some(offer) = machine.firmware.page_offer() {
                prop_assert_eq!(books.take(&mut machine, offer as usize), offer as usize, "what is offered is there");
            }
            prop_assert_eq!(machine.balance().pages_given, books.lent.len());
        }
        machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
        prop_assert_eq!(regular(&mut machine), -(books.lent.len() as i32));
        while books.take(&mut machine, 5) > 0 {}
        prop_assert!(books.lent.is_empty(), "{:?} are not given back", books.lent);
    }
}
