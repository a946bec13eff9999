//! Properties of the codec over all headers and over any bytes.

use super::strategy::{any_header, any_tlp};
use super::*;
use proptest::prelude::*;

/// The bits that the spec reserves in this header (base spec 2.2.4 to 2.2.9), by DW. Wrong or free-to-choose fields are not among them.
fn reserved_bits(header: &Header) -> [u32; 4] {
    const AT: u32 = 3 << 10;
    const LENGTH: u32 = 0x3ff;
    const ATTR2_LN_TH: u32 = 7 << 16;
    let kind = header.kind();
    let mut bits = [0; 4];
    match kind {
        Kind::IORd | Kind::IOWr => {
            bits[0] = ATTR2_LN_TH;
            bits[2] = 3;
        }
        Kind::CfgRd0 | Kind::CfgWr0 | Kind::CfgRd1 | Kind::CfgWr1 => {
            bits[0] = ATTR2_LN_TH;
            bits[2] = 0xf003;
        }
        Kind::Cpl | Kind::CplD | Kind::CplLk | Kind::CplDLk => {
            bits[0] = AT | 1 << 16;
            bits[2] = 1 << 7;
        }
        Kind::Msg | Kind::MsgD => bits[0] = AT | 3 << 16 | 1 << 19 | 1 << 23,
        _ => {}
    }
    if matches!(kind, Kind::Msg | Kind::Cpl | Kind::CplLk) {
        bits[0] |= LENGTH;
    }
    if kind.is_memory() && !header.th() {
        bits[header.header_len() / 4 - 1] |= 3;
        if kind.is_atomic() {
            bits[1] |= 0xff;
        }
    }
    bits
}

fn encoded(header: &Header) -> Vec<u8> {
    let mut bytes = [0xa5; 16];
    let len = header.encode(&mut bytes);
    bytes[..len].to_vec()
}

/// Calls everything that reads bytes or a header, for what it doesn't do: panic.
fn read_all(bytes: &[u8]) {
    let packet = Packet::new_unchecked(bytes);
    let parts = packet.header_bytes().len() + packet.payload().len() + packet.digest_bytes().len();
    assert!(packet.prefix_bytes().len() + parts <= bytes.len());
    let _ = (packet.prefixes(), packet.digest(), packet.fmt_type());
    if let Ok(header) = packet.header() {
        read_header(&header);
    }
    if let Ok(tlp) = Tlp::parse(bytes) {
        let _ = (tlp.to_string(), tlp.ecrc_is_good());
        assert_eq!(tlp.to_vec().as_deref(), Ok(bytes));
        assert_eq!(Packet::new_checked(bytes), Ok(packet));
        assert_eq!((packet.payload(), packet.digest()), (tlp.payload, tlp.digest));
        assert_eq!((packet.header(), packet.prefixes()), (Ok(tlp.header), Ok(tlp.prefixes)));
    } else {
        assert!(Packet::new_checked(bytes).is_err());
    }
    if let Err(error) = Header::decode(bytes) {
        let _ = error.to_string();
    }
}

fn read_header(header: &Header) {
    let _ = (header.to_string(), header.check_strict(), header.register(), header.target());
    let _ = (header.byte_count(), header.status(), header.message_code(), header.at());
    let _ = header.byte_enables().range(header.address());
    let _ = Header::completion_for(header, Bdf(0), Status::Successful);
    let _ = Header::completion_part(header, Bdf(0), Status::Successful, 7, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn header_round_trips(header in any_header()) {
        let bytes = encoded(&header);
        prop_assert_eq!(bytes.len(), header.header_len());
        prop_assert_eq!(Header::decode(&bytes), Ok(header));
        prop_assert_eq!(Header::from_dws(header.dws()), Ok(header));
        let info = TYPES[usize::from(bytes[0])].unwrap();
        prop_assert_eq!(info.kind, header.kind());
        prop_assert_eq!(info.class, header.class());
        prop_assert_eq!(info.route, header.route());
        prop_assert_eq!(info.has_data, header.has_data());
        prop_assert_eq!(usize::from(info.header_len), header.header_len());
        read_header(&header);
    }

    #[test]
    fn tlp_round_trips(owned in any_tlp()) {
        let tlp = owned.as_tlp();
        let mut buffer = vec![0xa5; tlp.wire_len() + 3];
        let len = tlp.emit(&mut buffer).unwrap();
        prop_assert_eq!(&buffer[len..], [0xa5; 3]);
        let parsed = Tlp::parse(&buffer[..len]);
        prop_assert_eq!(parsed, Ok(tlp));
        prop_assert_eq!(tlp.with_ecrc().ecrc_is_good(), Some(true));
        read_all(&buffer[..len]);
        read_all(&buffer);
    }

    #[test]
    fn every_cut_of_a_tlp_is_an_error(owned in any_tlp(), cut in any::<prop::sample::Index>()) {
        let bytes = owned.as_tlp().to_vec().unwrap();
        let cut = cut.index(bytes.len());
        let error = Tlp::parse(&bytes[..cut]);
        prop_assert!(matches!(error, Err(Malformed::Truncated { has, needs, .. }) if has == cut && needs > cut), "{error:?}");
        read_all(&bytes[..cut]);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        read_all(&bytes);
    }

    #[test]
    fn any_damage_is_read_without_panic(
        owned in any_tlp(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = owned.as_tlp().to_vec().unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len().min(24));
            bytes[at] = value;
        }
        read_all(&bytes);
    }

    #[test]
    fn a_damaged_header_that_decodes_encodes_to_the_same_bytes(header in any_header(), bit in 0..128_usize) {
        let mut bytes = encoded(&header);
        bytes.resize(16, 0);
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        if let Ok(damaged) = Header::decode(&bytes) {
            prop_assert_eq!(&encoded(&damaged)[..], &bytes[..damaged.header_len()]);
        }
    }

    #[test]
    fn reserved_bits_survive(header in any_header()) {
        for (dw, reserved) in reserved_bits(&header).into_iter().enumerate() {
            for bit in (0..32).filter(|bit| reserved >> bit & 1 != 0) {
                let mut dws = header.dws();
                dws[dw] ^= 1 << bit;
                let changed = Header::from_dws(dws);
                prop_assert_eq!(changed.map(|h| h.dws()), Ok(dws), "DW {} bit {}", dw, bit);
                let bytes: Vec<u8> = dws.iter().flat_map(|dw| dw.to_be_bytes()).take(header.header_len()).collect();
                prop_assert_eq!(changed.map(|h| encoded(&h)), Ok(bytes));
            }
        }
    }

    #[test]
    fn setters_change_their_field_only(header in any_header(), tag in 0..1024_u16, id: u16, ep: bool) {
        let mut changed = header;
        changed.set_tag(tag);
        changed.set_requester(Bdf(id));
        changed.set_ep(ep);
        prop_assert_eq!((changed.tag(), changed.requester(), changed.ep()), (tag, Bdf(id), ep));
        prop_assert_eq!(Header::from_dws(changed.dws()), Ok(changed));
        changed.set_tag(header.tag());
        changed.set_requester(header.requester());
        changed.set_ep(header.ep());
        prop_assert_eq!(changed, header);
    }

    #[test]
    fn checked_setters_keep_the_header_valid(header in any_header(), tc in 0..9_u8, attr: u8, at in 0..4_u8) {
        let mut changed = header;
        let results = (
            changed.set_tc(tc),
            changed.set_attr(Attr::from_bits(attr)),
            changed.set_at(AddressType::from_bits(at)),
        );
        prop_assert_eq!(Header::from_dws(changed.dws()), Ok(changed));
        prop_assert_eq!(changed.tc(), if results.0.is_ok() { tc } else { header.tc() });
        prop_assert_eq!(changed.attr(), if results.1.is_ok() { Attr::from_bits(attr) } else { header.attr() });
        prop_assert_eq!(changed.at(), if results.2.is_ok() { AddressType::from_bits(at) } else { header.at() });
    }

    #[test]
    fn what_constructors_give_decodes(
        ids: (u16, u16),
        tag in 0..1030_u16,
        address in prop_oneof![any::<u64>(), (0..0x2000_u64)],
        (first, last) in (0..17_u8, 0..17_u8),
        length in prop_oneof![0..20_u32, 0..1030_u32],
        bytes in 0..5000_u32,
        code: u8,
        r in 0..8_u8,
    ) {
        let (requester, other) = (Bdf(ids.0), Bdf(ids.1));
        let register = (address & 0x7ff) as u16;
        let made = [
            Header::mem_read(requester, tag, address, first, last, length),
            Header::mem_write(requester, tag, address & !3, first, last, length),
            Header::deferrable_write(requester, tag, address & !3, first, last, length),
            Header::mem_read_bytes(requester, tag, address, bytes),
            Header::mem_write_bytes(requester, tag, address, bytes),
            Header::atomic(Atomic::FetchAdd, requester, tag, address & !7, length),
            Header::atomic(Atomic::Swap, requester, tag, address & !7, length),
            Header::atomic(Atomic::Cas, requester, tag, address & !15, length),
            Header::io_read(requester, tag, address as u32, first),
            Header::io_write(requester, tag, address as u32 & !3, first),
            Header::config_read(ConfigType::Type0, requester, tag, other, register, first),
            Header::config_write(ConfigType::Type1, requester, tag, other, register, first),
            Header::message(requester, tag as u8, MessageCode(code), Route::of_message(r), [1, 2], length),
            Header::completion(other, requester, tag, Status::from_bits(r), bytes, first, length, 0, Attr::RO),
        ];
        for header in made {
            if let Ok(header) = header {
                prop_assert_eq!(Header::decode(&encoded(&header)), Ok(header));
                prop_assert_eq!(header.check_strict(), Ok(()), "{}", header);
                prop_assert_eq!(header.requester(), requester);
            } else {
                let _ = header.unwrap_err().to_string();
            }
        }
    }

    /// However a read's completions are split, they cover its bytes once, in order, as Byte Count and Lower Address say.
    #[test]
    fn completions_of_a_read_cover_it(
        address in any::<u64>(),
        len in 1..4097_u32,
        steps in prop::collection::vec(1..40_u32, 1..400),
    ) {
        let len = len.min(4096 - (address & 0xfff) as u32);
        let request = Header::mem_read_bytes(Bdf::new(1, 0, 0), 0x2ff, address, len).unwrap();
        let (mut from_dw, mut next, mut left) = (0, address, len);
        let mut steps = steps.into_iter().cycle();
        while from_dw < request.length_dw() {
            let length_dw = steps.next().unwrap().min(request.length_dw() - from_dw);
            let part = Header::completion_part(&request, Bdf(7), Status::Successful, from_dw, length_dw).unwrap();
            prop_assert_eq!(part.byte_count(), left);
            prop_assert_eq!(u64::from(part.lower_address()), next & 0x7f);
            prop_assert_eq!((part.length_dw(), part.tag()), (length_dw, 0x2ff));
            let in_part = (length_dw * 4 - (next & 3) as u32).min(left);
            next += u64::from(in_part);
            left -= in_part;
            from_dw += length_dw;
        }
        prop_assert_eq!(left, 0);
        prop_assert!(Header::completion_part(&request, Bdf(7), Status::Successful, from_dw, 1).is_err());
    }
}
