//! What a context's file can be mapped from: entries with an offset, as Linux 7.3.4 has them (`drivers/infiniband/core/ib_core_uverbs.c`,
//! `mlx5_rdma_user_mmap_entry_insert` and `mlx5_entry_to_mmap_offset` of `drivers/infiniband/hw/mlx5/main.c`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::page::Span;
use super::var::Place;
use crate::backend::{Error, VarExport, VarKind};

/// Entries begin at this command (`MLX5_IB_MMAP_OFFSET_START`) and end with that one.
const FIRST_COMMAND: u64 = 9;
const LAST_COMMAND: u64 = 255;
/// Bits of an entry's place that are its index; those above are its command.
const INDEX_BITS: u32 = 16;

/// A VAR page of a context.
#[derive(Debug)]
struct Entry {
    kind: VarKind,
    place: Place,
    /// Pages of the host.
    pages: u64,
    /// `None` after it was destroyed: it can't be mapped any more, but stays as long as somebody has it mapped.
    handle: Option<u32>,
    mappings: u32,
    /// Turns false when the context is closed: with it go its processes, and their mappings.
    mapped: Arc<AtomicBool>,
}

/// A mapping of a page.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The entry, by its place.
    pub(super) at: u64,
    pub(super) span: Span,
    pub(super) mapped: Arc<AtomicBool>,
}

/// All entries of a context, by their places in pages.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: BTreeMap<u64, Entry>,
}

/// The offset that a process maps, in pages: the command stands between the halves of the index.
fn offset_of(place: u64) -> u64 {
    let (command, index) = (place >> INDEX_BITS & 0xffff, place & 0xffff);
    (index >> 8) << 16 | command << 8 | index & 0xff
}

/// The place that an offset, in pages, stands for (`get_command`, `get_extended_index`): higher bits mean nothing.
fn place_of(offset: u64) -> u64 {
    let (command, index) = (offset >> 8 & 0xff, offset & 0xff | (offset >> 16 & 0xff) << 8);
    command << INDEX_BITS | index
}

impl Entries {
    /// Puts a page at the lowest place that is free.
    pub(super) fn insert(&mut self, kind: VarKind, place: Place, page_size: u64, handle: u32) -> Result<u64, Error> {
        let pages = place.len.div_ceil(page_size);
        let mut at = FIRST_COMMAND << INDEX_BITS;
        for (&other, entry) in &self.all {
            if other - at >= pages {
                break;
            }
            at = other + entry.pages;
        }
        let end = (LAST_COMMAND + 1) << INDEX_BITS;
        if at.checked_add(pages).is_none_or(|last| last > end) {
            return Err(Error::NoSpace("place to map a page from"));
        }
        let mapped = Arc::new(AtomicBool::new(true));
        self.all.insert(at, Entry { kind, place, pages, handle: Some(handle), mappings: 0, mapped });
        Ok(at)
    }

    fn find(&self, handle: u32) -> Option<(u64, &Entry)> {
        let found = self.all.iter().find(|(_, entry)| entry.handle == Some(handle));
        found.map(|(&at, entry)| (at, entry))
    }

    /// What there is to know of a page.
    pub(super) fn query(&self, handle: u32, page_size: u64) -> Result<VarExport, Error> {
        let (at, entry) = self.find(handle).ok_or(Error::NoHandle { what: "VAR", handle })?;
        let value = entry.pages * page_size;
        let length = u32::try_from(value).map_err(|_| Error::Overflow { what: "the length of a VAR", value })?;
        Ok(VarExport { handle, page_id: entry.place.index, length, mmap_offset: offset_of(at) * page_size })
    }

    /// Maps a page that wasn't destroyed.
    pub(super) fn map(&mut self, at: u64) -> Result<Mapping, Error> {
        let entry = self.all.get_mut(&at).filter(|entry| entry.handle.is_some());
        let entry =
            entry.ok_or_else(|| Error::Invalid(format!("nothing can be mapped at place {at:#x} of this context")))?;
        entry.mappings += 1;
        let span = Span { start: entry.place.start, len: entry.place.len as usize };
        Ok(Mapping { at, span, mapped: Arc::clone(&entry.mapped) })
    }

    /// Maps the page at an offset of the context's file: as mmap has it, of whole pages, and with an end. Of the offset counts what the driver looks at.
    pub(super) fn map_offset(&mut self, offset: u64, length: u64, page_size: u64) -> Result<Mapping, Error> {
        let pages = length.div_ceil(page_size);
        if offset.checked_add(pages * page_size).is_none() {
            return Err(Error::Overflow { what: "the offset of a mapping", value: offset });
        }
        let aligned = offset.is_multiple_of(page_size).then(|| place_of(offset / page_size));
        let found = aligned.and_then(|at| self.all.get_key_value(&at));
        let found = found.filter(|(_, entry)| entry.pages == pages).map(|(&at, _)| at);
        let nothing = || {
            Error::Invalid(format!("nothing of {length:#x} bytes can be mapped at offset {offset:#x} of this context"))
        };
        self.map(found.ok_or_else(nothing)?)
    }

    /// A mapping ends. Gives the page if it was the last thing that kept it.
    pub(super) fn unmap(&mut self, at: u64) -> Option<(VarKind, u32)> {
        let entry = self.all.get_mut(&at)?;
        entry.mappings = entry.mappings.saturating_sub(1);
        self.take_unused(at)
    }

    /// The page is destroyed. Gives it if nobody has it mapped.
    pub(super) fn destroy(&mut self, handle: u32) -> Option<(VarKind, u32)> {
        let (at, _) = self.find(handle)?;
        if let Some(entry) = self.all.get_mut(&at) {
            entry.handle = None;
        }
        self.take_unused(at)
    }

    fn take_unused(&mut self, at: u64) -> Option<(VarKind, u32)> {
        let unused = self.all.get(&at).is_some_and(|entry| entry.handle.is_none() && entry.mappings == 0);
        if !unused {
            return None;
        }
        self.all.remove(&at).map(|entry| (entry.kind, entry.place.index))
    }

    /// The context is closed: all mappings end. Gives all pages.
    pub(super) fn close(self) -> impl Iterator<Item = (VarKind, u32)> {
        self.all.into_values().map(|entry| {
            entry.mapped.store(false, Ordering::Release);
            (entry.kind, entry.place.index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn place(index: u32, pages: u64) -> Place {
        Place { index, start: 0x200_0000 + u64::from(index) * PAGE, len: pages * PAGE }
    }

    fn tlp(entries: &mut Entries, handle: u32, pages: u64) -> u64 {
        entries.insert(VarKind::Tlp, place(handle, pages), PAGE, handle).expect("there's room")
    }

    /// Offsets by hand from the kernel's formula: `((index >> 8) << 16 | command << 8 | index & 0xff) << PAGE_SHIFT`.
    #[test]
    fn offsets_are_linux() {
        assert_eq!(offset_of(9 << 16), 0x900);
        assert_eq!(offset_of(9 << 16 | 0x12), 0x912);
        assert_eq!(offset_of(9 << 16 | 0x1234), 0x12_0934);
        assert_eq!(offset_of(255 << 16 | 0xffff), 0xff_ffff);
        for place in [9 << 16, 9 << 16 | 0x12, 9 << 16 | 0x1234, 255 << 16 | 0xffff] {
            assert_eq!(place_of(offset_of(place)), place);
        }
        let mut entries = Entries::default();
        let at = tlp(&mut entries, 5, 1);
        let expected = VarExport { handle: 5, page_id: 5, length: 4096, mmap_offset: 0x90_0000 };
        assert_eq!((at, entries.query(5, PAGE)), (9 << 16, Ok(expected)));
    }

    #[test]
    fn the_lowest_place_comes_first() {
        let mut entries = Entries::default();
        let first = 9 << 16;
        let places: Vec<u64> = [(1, 1), (2, 4), (3, 1)].map(|(handle, pages)| tlp(&mut entries, handle, pages)).into();
        assert_eq!(places, [first, first + 1, first + 5]);
        assert_eq!(entries.destroy(2), Some((VarKind::Tlp, 2)));
        assert_eq!(
            [(4, 5), (5, 3), (6, 1)].map(|(handle, pages)| tlp(&mut entries, handle, pages)),
            [first + 6, first + 1, first + 4]
        );
        let all = u64::from(u32::MAX);
        assert!(matches!(entries.insert(VarKind::Tlp, place(7, all), PAGE, 7), Err(Error::NoSpace(_))));
    }

    #[test]
    fn lengths_that_are_too_large_overflow() {
        let mut entries = Entries::default();
        tlp(&mut entries, 1, (1 << 20) - 1);
        assert_eq!(entries.query(1, PAGE).map(|var| var.length), Ok(0xffff_f000));
        tlp(&mut entries, 2, 1 << 20);
        let error = Error::Overflow { what: "the length of a VAR", value: 1 << 32 };
        assert_eq!((entries.query(2, PAGE), error.errno()), (Err(error), 75));
        assert_eq!(entries.query(3, PAGE).map_err(|error| error.errno()), Err(2), "ENOENT");
    }

    #[test]
    fn a_page_goes_with_its_last_mapping() {
        let mut entries = Entries::default();
        let at = tlp(&mut entries, 1, 1);
        let (owner, other) =
            (entries.map(at).expect("is there"), entries.map_offset(0x90_0000, 4096, PAGE).expect("is there"));
        assert!(
            entries.map_offset(0x90_1000, 4096, PAGE).is_err() && entries.map_offset(0x90_0000, 8192, PAGE).is_err()
        );
        assert_eq!(entries.unmap(owner.at), None);
        // Linux rounds the length up, and doesn't look at the offset's highest bits.
        for (offset, length, errno) in [
            (0x90_0000, 0, Some(22)),
            (0x90_0000, 1, None),
            (0x90_0000, 4097, Some(22)),
            (0x90_0001, 4096, Some(22)),
            (0x90_0000 | 1 << 40, 4096, None),
            (0, 4096, Some(22)),
            (u64::MAX - 4095, 4096, Some(75)),
        ] {
            let mapped = entries.map_offset(offset, length, PAGE);
            assert_eq!(mapped.as_ref().err().map(Error::errno), errno, "{offset:#x} {length}");
            assert_eq!(mapped.ok().and_then(|mapped| entries.unmap(mapped.at)), None);
        }
        assert_eq!(entries.destroy(1), None, "another one has it mapped");
        assert!(entries.map(at).is_err(), "it can't be mapped any more");
        assert!(entries.query(1, PAGE).is_err());
        assert_eq!(entries.unmap(other.at), Some((VarKind::Tlp, 1)));
        assert_eq!(entries.unmap(other.at), None);
    }
}
