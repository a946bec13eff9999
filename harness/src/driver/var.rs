//! The tables of VAR pages: which parts of BAR0 user space may map, as Linux 7.3.4 gives them out
//! (`drivers/infiniband/hw/mlx5/main.c`: `mlx5_ib_init_var_table`, `mlx5_ib_init_tlp_var_table`, `alloc_var_entry`).

use bitvec::vec::BitVec;
use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{ADAPTER_PAGE_SHIFT, GENERAL_OBJ_TYPES_VIRTIO_NET_Q};
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, tlp_dev_emu_capabilities, virtio_emulation_cap};

use super::caps::Capabilities;
use crate::backend::{Error, VarKind};

/// A page that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its index in the table: the page id by which commands name it.
    pub(super) index: u32,
    /// First byte of BAR0 that is mapped.
    pub(super) start: u64,
    /// How many bytes are mapped.
    pub(super) len: u64,
}

/// One window of BAR0.
#[derive(Clone, Debug)]
struct Table {
    /// Offset in BAR0.
    start: u64,
    /// Bytes from one page to the next.
    stride: u64,
    /// Number of pages.
    count: u64,
    /// Which are taken. It grows with the highest index that was ever given out, whatever the device says about `count`.
    taken: BitVec,
}

impl Table {
    fn new(start: u64, stride: u64, count: u64) -> Table {
        Table { start, stride, count, taken: BitVec::new() }
    }

    /// Pages of `1 << log` bytes in a window of `4096 << log` bytes: the units differ.
    fn virtio(caps: &Capabilities) -> Option<Table> {
        if caps.general(cmd_hca_cap::GENERAL_OBJ_TYPES) & GENERAL_OBJ_TYPES_VIRTIO_NET_Q == 0 {
            return None;
        }
        let cap = |field| caps.get(CapType::VDPA_EMULATION, field);
        let stride = 1 << cap(virtio_emulation_cap::LOG_DOORBELL_STRIDE);
        let size = 1_u64 << (cap(virtio_emulation_cap::LOG_DOORBELL_BAR_SIZE) + u64::from(ADAPTER_PAGE_SHIFT));
        Some(Table::new(cap(virtio_emulation_cap::DOORBELL_BAR_OFFSET), stride, size / stride))
    }

    /// Up to 15 pages of `4096 << log` bytes.
    fn tlp(caps: &Capabilities) -> Option<Table> {
        if caps.general(cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER) == 0 {
            return None;
        }
        let cap = |field| caps.get(CapType::TLP_EMULATION, field);
        let log_stride = cap(tlp_dev_emu_capabilities::LOG_TLP_RSP_GW_PAGE_STRIDE) + u64::from(ADAPTER_PAGE_SHIFT);
        let start = cap(tlp_dev_emu_capabilities::TLP_RSP_GW_PAGES_BAR_OFFSET);
        Some(Table::new(start, 1 << log_stride, cap(tlp_dev_emu_capabilities::TLP_RSP_GW_NUM_PAGES)))
    }

    /// The bytes that are mapped for a page. A host whose pages are larger than the stride maps the whole page that the page's address
    /// lies in, its neighbours included: that's what Linux does.
    fn place(&self, index: u64, page_size: u64, bar_len: u64) -> Option<Place> {
        let address = self.start.checked_add(index.checked_mul(self.stride)?)?;
        let start = address & !(page_size - 1);
        let len = self.stride.checked_next_multiple_of(page_size)?;
        let inside = start.checked_add(len).is_some_and(|end| end <= bar_len);
        let index = u32::try_from(index).ok()?;
        inside.then_some(Place { index, start, len })
    }
}

/// Both tables of a device.
#[derive(Clone, Debug)]
pub(super) struct Vars {
    virtio: Option<Table>,
    tlp: Option<Table>,
    page_size: u64,
    bar_len: u64,
}

impl Vars {
    /// The tables that the device's capabilities describe, for a host with pages of `page_size` bytes.
    pub(super) fn new(caps: &Capabilities, page_size: usize, bar_len: u64) -> Vars {
        Vars { virtio: Table::virtio(caps), tlp: Table::tlp(caps), page_size: page_size as u64, bar_len }
    }

    fn table(&mut self, kind: VarKind) -> Option<&mut Table> {
        match kind {
            VarKind::Virtio => self.virtio.as_mut(),
            VarKind::Tlp => self.tlp.as_mut(),
        }
    }

    /// Gives out the lowest free page.
    pub(super) fn alloc(&mut self, kind: VarKind) -> Result<Place, Error> {
        let (page_size, bar_len) = (self.page_size, self.bar_len);
        let what = match kind {
            VarKind::Virtio => "VirtIO doorbell pages (VIRTIO_NET_Q of general_obj_types)",
            VarKind::Tlp => "TLP response gateway pages (tlp_device_emulation_manager)",
        };
        if self.virtio.is_none() && self.tlp.is_none() {
            // `var_is_supported` of Linux: then there are no such objects at all.
            return Err(Error::NoMethod(what));
        }
        let table = self.table(kind).ok_or(Error::NotSupported(what))?;
        let index = table.taken.first_zero().unwrap_or(table.taken.len());
        if index as u64 >= table.count {
            return Err(Error::NoSpace(match kind {
                VarKind::Virtio => "VirtIO doorbell page",
                VarKind::Tlp => "TLP response gateway page",
            }));
        }
        let place = table.place(index as u64, page_size, bar_len).ok_or_else(|| {
            let Table { start, stride, .. } = table;
            Error::Device(format!(
                "page {index} of the window at {start:#x} with stride {stride:#x} ends beyond BAR0, which has {bar_len:#x} bytes"
            ))
        })?;
        if index == table.taken.len() {
            table.taken.push(true);
        } else {
            table.taken.set(index, true);
        }
        Ok(place)
    }

    /// Takes a page back.
    pub(super) fn free(&mut self, kind: VarKind, index: u32) {
        if let Some(mut bit) = self.table(kind).and_then(|table| table.taken.get_mut(index as usize)) {
            bit.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mlx5_twin_fw_cmds::field::Field;
    use proptest::prelude::*;

    use super::*;

    const BAR: u64 = 64 << 20;

    fn page(fields: &[(Field, u64)]) -> Vec<u8> {
        let mut page = vec![0; 0x1000];
        for (field, value) in fields {
            field.set(&mut page, *value).expect("fits");
        }
        page
    }

    fn caps(general: &[(Field, u64)], virtio: [u64; 3], tlp: [u64; 3]) -> Capabilities {
        let mut caps = Capabilities::default();
        caps.insert(CapType::GENERAL, page(general));
        let [stride, size, offset] = virtio;
        caps.insert(
            CapType::VDPA_EMULATION,
            page(&[
                (virtio_emulation_cap::LOG_DOORBELL_STRIDE, stride),
                (virtio_emulation_cap::LOG_DOORBELL_BAR_SIZE, size),
                (virtio_emulation_cap::DOORBELL_BAR_OFFSET, offset),
            ]),
        );
        let [stride, pages, offset] = tlp;
        caps.insert(
            CapType::TLP_EMULATION,
            page(&[
                (tlp_dev_emu_capabilities::LOG_TLP_RSP_GW_PAGE_STRIDE, stride),
                (tlp_dev_emu_capabilities::TLP_RSP_GW_NUM_PAGES, pages),
                (tlp_dev_emu_capabilities::TLP_RSP_GW_PAGES_BAR_OFFSET, offset),
            ]),
        );
        caps
    }

    fn all(virtio: [u64; 3], tlp: [u64; 3]) -> Capabilities {
        let gates = [(cmd_hca_cap::GENERAL_OBJ_TYPES, 1 << 13), (cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER, 1)];
        caps(&gates, virtio, tlp)
    }

    const VIRTIO: [u64; 3] = [12, 8, 16 << 20];
    const TLP: [u64; 3] = [0, 15, 32 << 20];

    #[test]
    fn a_table_without_its_capability_is_not_supported() {
        let virtio = (cmd_hca_cap::GENERAL_OBJ_TYPES, 1 << 13);
        let tlp = (cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER, 1);
        for (gates, [virtio, tlp]) in [
            (&[][..], [Err(93), Err(93)]), // EPROTONOSUPPORT
            (&[virtio], [Ok(0), Err(95)]), // EOPNOTSUPP
            (&[tlp], [Err(95), Ok(0)]),
        ] {
            let mut vars = Vars::new(&caps(gates, VIRTIO, TLP), 4096, BAR);
            for (kind, expected) in [(VarKind::Virtio, virtio), (VarKind::Tlp, tlp)] {
                let result = vars.alloc(kind).map(|place| place.index).map_err(|error| error.errno());
                assert_eq!(result, expected, "{kind:?}");
            }
        }
    }

    #[test]
    fn the_lowest_free_index_comes_first_in_each_table() {
        let mut vars = Vars::new(&all(VIRTIO, TLP), 4096, BAR);
        for index in 0..15 {
            let place = Place { index, start: (32 << 20) + u64::from(index) * 4096, len: 4096 };
            assert_eq!(vars.alloc(VarKind::Tlp), Ok(place));
        }
        assert_eq!(vars.alloc(VarKind::Tlp).map_err(|error| error.errno()), Err(28), "ENOSPC");
        for index in [9, 3, 11] {
            vars.free(VarKind::Tlp, index);
        }
        let again: Vec<u32> = (0..3).filter_map(|_| vars.alloc(VarKind::Tlp).ok()).map(|place| place.index).collect();
        assert_eq!(again, [3, 9, 11]);
        for index in 0..256 {
            let place = Place { index, start: (16 << 20) + u64::from(index) * 4096, len: 4096 };
            assert_eq!(vars.alloc(VarKind::Virtio), Ok(place), "the tables don't know of each other");
        }
        assert_eq!(vars.alloc(VarKind::Virtio).map_err(|error| error.errno()), Err(28), "ENOSPC");
    }

    #[test]
    fn no_tlp_page_is_no_space() {
        let mut vars = Vars::new(&all(VIRTIO, [0, 0, 32 << 20]), 4096, BAR);
        assert_eq!(vars.alloc(VarKind::Tlp).map_err(|error| error.errno()), Err(28));
    }

    #[test]
    fn strides_have_their_own_units() {
        // VirtIO: 2^14 bytes, a window of 2^4 pages: four pages. TLP: 2^2 pages of 4 KiB.
        let mut vars = Vars::new(&all([14, 4, 16 << 20], [2, 3, 32 << 20]), 4096, BAR);
        let places: Vec<Place> = std::iter::from_fn(|| vars.alloc(VarKind::Virtio).ok()).collect();
        assert_eq!(places.len(), 4);
        assert_eq!(places[1], Place { index: 1, start: (16 << 20) + 0x4000, len: 0x4000 });
        let places: Vec<Place> = std::iter::from_fn(|| vars.alloc(VarKind::Tlp).ok()).collect();
        assert_eq!(places.len(), 3);
        assert_eq!(places[2], Place { index: 2, start: (32 << 20) + 0x8000, len: 0x4000 });
    }

    #[test]
    fn large_host_pages_are_mapped_whole() {
        for (page_size, len) in [(4096, 0x1000), (0x4000, 0x4000), (0x1_0000, 0x1_0000)] {
            let mut vars = Vars::new(&all(VIRTIO, TLP), page_size, BAR);
            let places: Vec<Place> = std::iter::from_fn(|| vars.alloc(VarKind::Tlp).ok()).collect();
            assert_eq!(places.len(), 15);
            for place in places {
                let address = (32 << 20) + u64::from(place.index) * 4096;
                assert_eq!((place.start, place.len), (address / len * len, len), "page size {page_size:#x}");
            }
        }
    }

    #[test]
    fn nothing_beyond_the_bar_is_given_out() {
        // The fourth page ends at the end of the BAR.
        let mut vars = Vars::new(&all(VIRTIO, [0, 15, BAR - 0x4000]), 4096, BAR);
        let places: Vec<_> = (0..4).map(|_| vars.alloc(VarKind::Tlp)).collect();
        assert!(places.iter().all(Result::is_ok), "{places:?}");
        assert!(matches!(vars.alloc(VarKind::Tlp), Err(Error::Device(_))));
        for (stride, offset) in [(31, 0), (0, BAR), (0, u64::MAX), (0, u64::MAX - 0xfff), (14, 32 << 20)] {
            let mut vars = Vars::new(&all([stride, 31, offset], [stride, 15, offset]), 4096, BAR);
            assert!(matches!(vars.alloc(VarKind::Tlp), Err(Error::Device(_))), "{stride} {offset:#x}");
        }
        let mut vars = Vars::new(&all([31, 31, 0], TLP), 4096, BAR);
        assert!(matches!(vars.alloc(VarKind::Virtio), Err(Error::Device(_))));
        // Half of a host page of 64 KiB lies outside.
        let mut vars = Vars::new(&all(VIRTIO, [0, 1, BAR - 0x8000]), 0x1_0000, BAR - 0x8000 + 0x1000);
        assert!(matches!(vars.alloc(VarKind::Tlp), Err(Error::Device(_))));
    }

    proptest! {
        /// Against a plain set: always the lowest free index, ENOSPC exactly if all are taken.
        #[test]
        fn allocation_equals_a_set(count in 0..16_u64, steps in prop::collection::vec(prop_oneof![Just(None), (0..16_u32).prop_map(Some)], 0..100)) {
            let mut vars = Vars::new(&all(VIRTIO, [1, count, 32 << 20]), 4096, BAR);
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    None => {
                        let lowest = (0..count as u32).find(|index| !taken.contains(index));
                        match vars.alloc(VarKind::Tlp) {
                            Ok(place) => {
                                prop_assert_eq!(Some(place.index), lowest);
                                prop_assert_eq!(place.start, (32 << 20) + u64::from(place.index) * 8192);
                                taken.insert(place.index);
                            }
                            Err(error) => prop_assert_eq!((error, lowest), (Error::NoSpace("TLP response gateway page"), None)),
                        }
                    }
                    Some(index) => {
                        vars.free(VarKind::Tlp, index);
                        taken.remove(&index);
                    }
                }
            }
        }
    }
}
