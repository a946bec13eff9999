//! A function that software has claimed, as the device knows it.

use mlx5_twin_fw_cmds::layout::{emulated_bar, emulated_function, emulated_region};
use mlx5_twin_fw_cmds::twin_v1::{self as numbers, region};
use mlx5_twin_sim::config::{Bar, BarKind, ConfigSpace, MsixCapability, MsixTable, Type0};
use mlx5_twin_sim::tlp::Bdf;

use super::kept::{Kept, notifies};

/// A region of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) kind: u8,
    pub(super) bar: u8,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) notify: bool,
}

/// A claimed function, and what the device snoops of it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) context: Vec<u8>,
    /// Command and BARs.
    pub(super) snooped: ConfigSpace,
    pub(super) msix_control: u16,
    pub(super) table: Option<MsixTable>,
    pub(super) id: Bdf,
    pub(super) kept: Kept,
}

impl Claimed {
    pub(super) fn new(context: &[u8]) -> Claimed {
        let mut bars = [None; 6];
        let entries = emulated_function::BARS.slice(context).unwrap();
        for (bar, entry) in bars.iter_mut().zip(entries.chunks_exact(emulated_bar::SIZE)) {
            let kind = match emulated_bar::KIND.get(entry).unwrap() as u8 {
                numbers::bar::MEMORY32 => BarKind::Memory32,
                numbers::bar::MEMORY64 => BarKind::Memory64,
                _ => continue,
            };
            let prefetchable = emulated_bar::PREFETCHABLE.get(entry).unwrap() != 0;
            *bar = Some(Bar { kind, prefetchable, size: 1 << emulated_bar::LOG_SIZE.get(entry).unwrap() });
        }
        let rom = emulated_function::ROM_LOG_SIZE.get(context).unwrap();
        let expansion_rom = (rom != 0).then(|| 1 << rom);
        let snooped = Type0 { bars, expansion_rom, ..Type0::default() }.build().unwrap();
        let mut claimed = Claimed {
            context: context.to_vec(),
            snooped,
            msix_control: 0,
            table: None,
            id: Bdf(0),
            kept: Kept::default(),
        };
        claimed.kept = Kept::new(&claimed.regions());
        let find = |wanted: u8| claimed.regions().into_iter().find(|found| found.kind == wanted);
        if let (Some(table), Some(pba)) = (find(region::MSIX_TABLE), find(region::MSIX_PBA)) {
            let vectors = emulated_function::NUM_MSIX.get(context).unwrap() as u16;
            let (table_offset, pba_offset) = (table.offset as u32, pba.offset as u32);
            let place = MsixCapability { vectors, table_bar: table.bar, table_offset, pba_bar: pba.bar, pba_offset };
            claimed.table = Some(MsixTable::new(&place).unwrap());
        }
        claimed
    }

    /// The regions, by their numbers.
    pub(super) fn regions(&self) -> Vec<Region> {
        let count = emulated_function::NUM_REGIONS.get(&self.context).unwrap() as usize;
        let entries = emulated_function::REGIONS.slice(&self.context).unwrap();
        let fields = [emulated_region::KIND, emulated_region::BAR, emulated_region::OFFSET, emulated_region::LENGTH];
        let entries = entries.chunks_exact(emulated_region::SIZE).take(count);
        let region = |entry: &[u8]| {
            let [kind, bar, offset, length] = fields.map(|field| field.get(entry).unwrap());
            Region { kind: kind as u8, bar: bar as u8, offset, length, notify: notifies(entry) }
        };
        entries.map(region).collect()
    }

    /// The region at an offset of a BAR, and its number.
    pub(super) fn find(&self, bar: u8, offset: u64) -> Option<(usize, Region)> {
        let inside = |(_, found): &(usize, Region)| {
            found.bar == bar && (found.offset..found.offset + found.length).contains(&offset)
        };
        self.regions().into_iter().enumerate().find(inside)
    }

    pub(super) fn region(&self, bar: u8, offset: u64) -> Option<u8> {
        self.find(bar, offset).map(|(_, found)| found.kind)
    }

    pub(super) fn queried(&self) -> Vec<u8> {
        let mut context = self.context.clone();
        for index in 0..numbers::MAX_DOORBELLS {
            let value = self.doorbell(index as u32);
            emulated_function::DOORBELL.set(&mut context, index, u64::from(value)).unwrap();
        }
        context
    }
}
