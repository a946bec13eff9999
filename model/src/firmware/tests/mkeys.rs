//! Memory keys.

use mlx5_twin_fw_cmds::transport::AccessMode;

use super::*;

/// A key of uid 1 with two pages and these fields of its context.
fn own(fields: &[(Field, u64)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(field, value)| (mkc_in(*field), *value)).collect();
    with(create_mkey(1, 2, &[0x5000_0003, 0x5000_1003]), &fields)
}

/// A key over a UMEM, as user space makes it: neither a list nor a page size.
fn over_umem(id: u64, offset: u64, length: u64) -> Vec<u8> {
    let fields = [
        (create_mkey_in::MKEY_UMEM_VALID, 1),
        (create_mkey_umem::MKEY_UMEM_ID, id),
        (create_mkey_umem::MKEY_UMEM_OFFSET, offset),
        (mkc_in(mkc::LEN), length),
        (mkc_in(mkc::LOG_PAGE_SIZE), 0),
    ];
    with(create_mkey(1, 2, &[]), &fields)
}

/// A key over other keys, with room for so many octowords.
fn over_keys(mode: AccessMode, room: u64) -> Vec<u8> {
    own(&[(mkc::ACCESS_MODE_1_0, mode.0.into()), (mkc::TRANSLATIONS_OCTWORD_SIZE, room)])
}

/// A key to all memory.
fn all_memory(uid: u16, pd: u32) -> Vec<u8> {
    with(create_mkey(uid, pd, &[]), &[(mkc_in(mkc::ACCESS_MODE_1_0), 0), (mkc_in(mkc::LENGTH64), 1)])
}

fn destroy(uid: u16, index: u64) -> Vec<u8> {
    naming(Opcode::DESTROY_MKEY, uid, destroy_mkey_in::MKEY_INDEX, index)
}

fn query(uid: u16, index: u64, pg_access: u64) -> Vec<u8> {
    let fields = [(query_mkey_in::MKEY_INDEX, index), (query_mkey_in::PG_ACCESS, pg_access)];
    plain(Opcode::QUERY_MKEY, uid, &fields)
}

#[test]
fn mkeys() {
    let actual = create_mkey_in::TRANSLATIONS_OCTWORD_ACTUAL_SIZE;
    let list = |fields: &[(Field, u64)], count| with(own(fields), &[(actual, count)]);
    #[rustfmt::skip]
    let cases = vec![
        ("own", own(&[]), Ok(())),
        ("in the driver's domain", create_mkey(1, 1, &[0x1003]), Err(Failure::PD_FOREIGN)),
        ("in no domain", create_mkey(1, 9, &[0x1003]), Err(Failure::PD_UNKNOWN)),
        ("the driver's in a user's domain", create_mkey(0, 2, &[0x1003]), Ok(())),
        ("as long as its pages", own(&[(mkc::LEN, 0x2000)]), Ok(())),
        ("longer than its pages", own(&[(mkc::LEN, 0x2001)]), Err(Failure::MKEY_LENGTH)),
        ("starting in a page, and so too long", own(&[(mkc::START_ADDR, 0x7f00_0000_0001)]), Err(Failure::MKEY_LENGTH)),
        ("ending at 2^64", own(&[(mkc::START_ADDR, 0xffff_ffff_ffff_e000)]), Ok(())),
        ("ending beyond", own(&[(mkc::START_ADDR, 0xffff_ffff_ffff_f000)]), Err(Failure::MKEY_LENGTH)),
        ("2^64 long with pages", own(&[(mkc::LENGTH64, 1)]), Err(Failure::MKEY_LENGTH)),
        ("more translations than room", list(&[(mkc::TRANSLATIONS_OCTWORD_SIZE, 1)], 2), Err(Failure::MKEY_ROOM)),
        ("more announced than sent", list(&[(mkc::TRANSLATIONS_OCTWORD_SIZE, 9)], 2), Err(Failure::INPUT_TOO_SHORT)),
        ("announced beyond any buffer", list(&[(mkc::TRANSLATIONS_OCTWORD_SIZE, 0xffff_ffff)], 0xffff_ffff), Err(Failure::INPUT_TOO_SHORT)),
        ("room for work requests to fill", list(&[(mkc::TRANSLATIONS_OCTWORD_SIZE, 512), (mkc::FREE, 1), (mkc::UMR_EN, 1)], 0), Ok(())),
        ("small pages", own(&[(mkc::LOG_PAGE_SIZE, 11)]), Err(Failure::MKEY_PAGE_SIZE)),
        ("huge pages", own(&[(mkc::LOG_PAGE_SIZE, 52)]), Err(Failure::MKEY_PAGE_SIZE)),
        ("pages that are not aligned", own(&[(mkc::LOG_PAGE_SIZE, 13)]), Err(Failure::MKEY_PAGE_UNALIGNED)),
        ("relaxed ordering without the capability", own(&[(mkc::RELAXED_ORDERING_WRITE, 1)]), Err(Failure::MKEY_OPTION)),
        ("signatures without the capability", own(&[(mkc::BSF_EN, 1)]), Err(Failure::MKEY_OPTION)),
        ("data direct without the capability", with(own(&[]), &[(create_mkey_in::DATA_DIRECT, 1)]), Err(Failure::MKEY_OPTION)),
        ("over a UMEM", over_umem(2, 0, 0x2000), Ok(())),
        ("over a UMEM's second page", over_umem(2, 0x1000, 0x1000), Ok(())),
        ("longer than the UMEM", over_umem(2, 0x1000, 0x1001), Err(Failure::MKEY_LENGTH)),
        ("offset beyond 2^64", over_umem(2, u64::MAX, 2), Err(Failure::MKEY_LENGTH)),
        ("over another's UMEM", over_umem(3, 0, 1), Err(Failure::UMEM_FOREIGN)),
        ("over no UMEM", over_umem(0, 0, 1), Err(Failure::UMEM_UNKNOWN)),
        ("over keys", over_keys(AccessMode::KLMS, 4), Ok(())),
        ("over too many keys", over_keys(AccessMode::KLMS, 5), Err(Failure::MKEY_LIST)),
        ("over keys, marked by the kernel as UMEM", with(over_keys(AccessMode::KLMS, 4), &[(create_mkey_in::MKEY_UMEM_VALID, 1)]), Ok(())),
        ("over keys and over a UMEM", with(over_umem(2, 0, 1), &[(mkc_in(mkc::ACCESS_MODE_1_0), 2)]), Err(Failure::MKEY_UMEM)),
        ("over keys of one length, without the capability", over_keys(AccessMode::KSM, 4), Err(Failure::MKEY_MODE)),
        ("another function's", own(&[(mkc::ACCESS_MODE_4_2, 1), (mkc::ACCESS_MODE_1_0, 2)]), Err(Failure::MKEY_MODE)),
        ("to all memory, the driver's", all_memory(0, 1), Ok(())),
        ("to all memory, a user's", all_memory(1, 2), Err(Failure::MKEY_PA)),
        ("to all memory, with a list", with(create_mkey(0, 1, &[0x1003]), &[(mkc_in(mkc::ACCESS_MODE_1_0), 0)]), Err(Failure::MKEY_ROOM)),
        ("destroy own", destroy(1, 3), Ok(())),
        ("destroy another's", destroy(2, 3), Err(Failure::MKEY_FOREIGN)),
        ("destroy none", destroy(1, 4), Err(Failure::MKEY_UNKNOWN)),
        ("index 0 is reserved", destroy(0, 0), Err(Failure::MKEY_UNKNOWN)),
        ("index 1 is reserved", destroy(0, 1), Err(Failure::MKEY_UNKNOWN)),
        ("query own", query(1, 3, 1), Ok(())),
        ("the driver queries a user's", query(0, 3, 0), Ok(())),
        ("query another's", query(1, 2, 0), Err(Failure::MKEY_FOREIGN)),
        ("query none", query(1, 8, 0), Err(Failure::MKEY_UNKNOWN)),
        ("free its domain", naming(Opcode::DEALLOC_PD, 1, dealloc_pd_in::PD, 2), Err(Failure::PD_IN_USE)),
    ];
    let mut machine = furnished_for_transport();
    table(&machine, cases);
    for index in 4..8 {
        assert_eq!(machine.number(&over_umem(2, 0, 0x1000), create_mkey_out::MKEY_INDEX), index);
    }
    assert_eq!(machine.try_run(&own(&[])), Err(Failure::MKEY_FULL));
    for index in 4..8 {
        machine.ok(&destroy(1, index));
    }
    machine.check();

    let mut machine = small_with(&[("fixed_buffer_size", 1)]);
    machine.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
    machine.ok(&with(over_keys(AccessMode::KSM, 4), &[(mbox_in::UID, 0), (mkc_in(mkc::PD), 1)]));
    let mut machine = small_with(&[("log_max_klm_list_size", 0)]);
    machine.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
    let keys = with(over_keys(AccessMode::KLMS, 1), &[(mbox_in::UID, 0), (mkc_in(mkc::PD), 1)]);
    assert_eq!(machine.try_run(&keys), Err(Failure::MKEY_MODE));
}

#[test]
fn query_mkey_answers_what_create_mkey_said() {
    let mut machine = furnished_for_transport();
    let create = own(&[(mkc::MKEY_7_0, 0xa5), (mkc::RW, 1)]);
    let index = machine.number(&create, create_mkey_out::MKEY_INDEX);
    let answer = machine.ok(&query(1, index.into(), 0));
    let context = create_mkey_in::MEMORY_KEY_MKEY_ENTRY.slice(&create);
    assert_eq!(query_mkey_out::MEMORY_KEY_MKEY_ENTRY.slice(&answer), context);
    let list = query_mkey_out::BSF0_KLM0_PAS_MTT0_1.offset as usize / 8;
    assert!(answer[list..].iter().all(|byte| *byte == 0), "the list only on request");
    let answer = machine.ok(&query(1, index.into(), 1));
    assert_eq!(answer[list..list + 8], 0x5000_0003u64.to_be_bytes());
    assert_eq!(answer[list + 8..list + 16], 0x5000_1003u64.to_be_bytes());
}

/// A GiB in pages of 4 KiB is a list of 2 MiB; all lists together are bounded.
#[test]
fn lists_of_megabytes() {
    let mut machine = furnished_for_transport();
    let before = machine.balance().page_entries;
    let pages: Vec<u64> = (0..1 << 18).map(|page| 0x1_0000_0000 + page * 4096 + 3).collect();
    let create = create_mkey(1, 2, &pages);
    assert!(create.len() > 2 << 20);
    let index = machine.number(&create, create_mkey_out::MKEY_INDEX);
    assert_eq!(machine.balance().page_entries, before + (1 << 18));
    let (_, mkey) = machine.firmware.resources().of::<Mkey>().get(index).expect("is there");
    assert_eq!((mkey.translations.len(), mkey.translations[1 << 17]), (1 << 18, pages[1 << 17]));

    let large = create_mkey(0, 1, &vec![0x1003; resources::PAGE_BUDGET - (1 << 18)]);
    assert_eq!(machine.try_run(&large), Err(Failure::PAGE_BUDGET));
    machine.ok(&destroy(1, index.into()));
    machine.ok(&large);
}
