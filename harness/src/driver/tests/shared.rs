//! Contexts that are opened twice: pages, memory and objects of both.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::backend::{DevicePage, VarExport};

const WINDOW: u64 = 0x200_0000;
/// What the fake device has.
const PAGES: u32 = 2;

#[test]
fn a_var_is_known_by_its_handle() {
    let (_, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let again = context.import_device().expect("is offered");
    let other = driver.open().expect("opens");
    let page = context.alloc_var(VarKind::Tlp).expect("there are two");
    let export = page.export_var().expect("it can be shared");
    assert_eq!((export.page_id, export.length, export.mmap_offset), (0, 4096, 0x90_0000));
    assert_eq!(context.query_var(export.handle), Ok(export));
    assert_eq!(again.query_var(export.handle), Ok(export), "through the other file");
    let unknown = other.query_var(export.handle).map_err(|error| error.errno());
    assert_eq!(unknown, Err(2), "ENOENT: another context's handle is nothing here");
    assert!(context.query_var(export.handle + 1).is_err());
    assert!(context.alloc_uar().expect("there's one").export_var().is_none());
    let second = context.alloc_var(VarKind::Tlp).expect("there are two");
    assert_eq!(second.export_var().map(|export| export.mmap_offset), Some(0x90_1000));
    drop(page);
    assert!(again.query_var(export.handle).is_err(), "it's destroyed");
}

/// As in rdma-core: import looks at nothing, the kernel at offset and length.
#[test]
fn an_import_is_not_checked() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let again = context.import_device().expect("is offered");
    let page = context.alloc_var(VarKind::Tlp).expect("there are two");
    let export = page.export_var().expect("it can be shared");
    let lie = VarExport { handle: 4711, page_id: 99, ..export };
    let mapped = again.import_var(&lie).expect("the offset is right");
    assert_eq!((mapped.page_id(), mapped.len()), (99, 4096));
    mapped.store32(4, [1, 2, 3, 4]).expect("inside");
    assert_eq!(door.fake().stores.last(), Some(&(WINDOW + 4, vec![1, 2, 3, 4])));
    for wrong in [VarExport { mmap_offset: 0x90_1000, ..export }, VarExport { length: 8192, ..export }] {
        assert_eq!(again.import_var(&wrong).map(drop).map_err(|error| error.errno()), Err(22));
    }
    assert!(driver.open().expect("opens").import_var(&export).is_err(), "another context");
}

#[test]
fn memory_and_objects_are_shared_too() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let again = context.import_device().expect("is offered");
    let memory = context.register_umem(4096).expect("there's memory");
    let export = memory.export_umem().expect("it can be shared");
    let shared = again.import_umem(&export).expect("is there");
    memory.write(8, &[1, 2, 3]).expect("inside");
    let mut bytes = [0; 3];
    shared.read(8, &mut bytes).expect("inside");
    assert_eq!((bytes, shared.umem_id()), ([1, 2, 3], memory.umem_id()));
    let log = door.fake().log.len();
    drop(shared);
    assert_eq!(door.fake().log.len(), log, "unregisters nothing");
    assert!(driver.open().expect("opens").import_umem(&export).is_err());

    // An object: its handle is all.
    let (handle, id) = channel(&*context);
    context.subscribe(handle, &[EventType::OBJECT_CHANGE], 1).expect("is listed");
    again.subscribe(handle, &[EventType::OBJECT_CHANGE], 2).expect("is listed");
    let event = |cookie| Ok(Wake::Event(Event { cookie, event_type: EventType::OBJECT_CHANGE }));
    door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, id));
    assert_eq!((context.wait(None), again.wait(None)), (event(1), event(2)), "each its own");
    // The first file goes; the context stays.
    let opened = door.fake().log.iter().filter(|(opcode, ..)| *opcode == Opcode::DESTROY_UCTX).count();
    drop((context, memory));
    let closed =
        |door: &FakeDoor| door.fake().log.iter().filter(|(opcode, ..)| *opcode == Opcode::DESTROY_UCTX).count();
    assert_eq!(closed(&door), opened);
    again.general_command(&command(Opcode::NOP, 16), 16).expect("works");
    door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, id));
    assert_eq!(again.wait(None), event(2));
    again.destroy_object(handle).expect("the context's own");
    drop(again);
    assert_eq!(closed(&door), opened + 1);
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(Index),
    Import(Index, Index),
    Drop(Index),
    /// Closes a context with both files, and opens another one.
    Close(Index),
    /// Closes one of a context's files, and opens another one.
    Reopen(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        4 => index().prop_map(Step::Alloc),
        3 => (index(), index()).prop_map(|(file, page)| Step::Import(file, page)),
        5 => index().prop_map(Step::Drop),
        1 => index().prop_map(Step::Close),
        1 => index().prop_map(Step::Reopen),
    ]
}

/// A page as somebody has it.
struct Held {
    page: Arc<dyn DevicePage>,
    /// Which context's, and which of all allocations.
    context: usize,
    var: usize,
    owner: bool,
}

proptest! {
    /// Two contexts with two files each, who allocate, share and drop pages as they like, and keep pages of contexts that are closed: a page lives as
    /// long as it's mapped, and no store reaches a page of another allocation.
    #[test]
    fn a_stale_mapping_reaches_nobody(steps in prop::collection::vec(step(), 1..80)) {
        let (door, driver) = up(Behaviour::default());
        let open = || {
            let first = driver.open().expect("opens");
            let second = first.import_device().expect("is offered");
            [first, second]
        };
        let mut contexts = vec![open(), open()];
        let (mut numbers, mut opened) = (vec![0, 1], 2);
        let mut held: Vec<Held> = Vec::new();
        // By allocation: the index of its page.
        let mut places: Vec<u32> = Vec::new();
        for step in steps {
            // Who is alive: mapped, in a context that's open.
            let alive = |held: &[Held], numbers: &[usize], place: u32| {
                held.iter().any(|one| places[one.var] == place && numbers.contains(&one.context))
            };
            match step {
                Step::Alloc(file) => {
                    let file = file.index(4);
                    let free = (0..PAGES).find(|&place| !alive(&held, &numbers, place));
                    let allocated = contexts[file / 2][file % 2].alloc_var(VarKind::Tlp);
                    prop_assert_eq!(allocated.as_ref().ok().map(|page| page.page_id()), free);
                    if let Ok(page) = allocated {
                        places.push(page.page_id());
                        held.push(Held { page, context: numbers[file / 2], var: places.len() - 1, owner: true });
                    }
                }
                Step::Import(..) | Step::Drop(_) if held.is_empty() => {}
                Step::Import(file, page) => {
                    let (file, from) = (file.index(4), page.index(held.len()));
                    let Held { context, var, .. } = held[from];
                    let export = held[from].page.export_var().expect("a VAR");
                    let imported = contexts[file / 2][file % 2].import_var(&export);
                    let destroyed = !held.iter().any(|one| one.var == var && one.owner);
                    if numbers[file / 2] == context {
                        prop_assert_eq!(imported.is_ok(), !destroyed);
                    }
                    // In another context the offset may be one of its own: then that's what is mapped.
                    if let Ok(page) = imported {
                        let theirs = held.iter().find(|one| {
                            one.owner
                                && one.context == numbers[file / 2]
                                && one.page.export_var().map(|export| export.mmap_offset) == Some(export.mmap_offset)
                        });
                        let var = theirs.expect("something is there").var;
                        held.push(Held { page, context: numbers[file / 2], var, owner: false });
                    }
                }
                Step::Drop(page) => drop(held.swap_remove(page.index(held.len()))),
                Step::Close(context) => {
                    let context = context.index(2);
                    contexts[context] = open();
                    numbers[context] = opened;
                    opened += 1;
                }
                Step::Reopen(file) => {
                    let (context, file) = (file.index(4) / 2, file.index(4) % 2);
                    let again = contexts[context][1 - file].import_device().expect("is offered");
                    contexts[context][file] = again;
                }
            }
            for one in &held {
                door.fake().stores.clear();
                let stored = one.page.store32(8, [one.var as u8; 4]);
                prop_assert_eq!(stored.is_ok(), numbers.contains(&one.context));
                let expected = WINDOW + u64::from(places[one.var]) * 4096 + 8;
                let reached: Vec<u64> = door.fake().stores.iter().map(|(address, _)| *address).collect();
                prop_assert_eq!(reached, if stored.is_ok() { vec![expected] } else { vec![] });
                // Nobody else who is alive has that page by another allocation.
                let other = held.iter().find(|other| {
                    other.var != one.var && places[other.var] == places[one.var] && numbers.contains(&other.context)
                });
                prop_assert!(stored.is_err() || other.is_none());
            }
        }
        drop((held, contexts));
        driver.shut_down().expect("nothing is open");
    }
}
