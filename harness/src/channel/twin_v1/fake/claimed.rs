//! A function that software has claimed, as the device knows it.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::layout::{emulated_bar, emulated_function, emulated_region};
use mlx5_twin_fw_cmds::twin_v1::{self as numbers, region};
use mlx5_twin_sim::config::{Bar, BarKind, ConfigSpace, MsixCapability, MsixTable, Type0};
use mlx5_twin_sim::tlp::Bdf;

/// A claimed function, and what the device snoops of it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) context: Vec<u8>,
    /// Command and BARs.
    pub(super) snooped: ConfigSpace,
    pub(super) msix_control: u16,
    pub(super) table: Option<MsixTable>,
    pub(super) id: Bdf,
    pub(super) doorbells: BTreeMap<(u8, u64), u32>,
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
        let snooped = Type0 { bars, ..Type0::default() }.build().unwrap();
        let mut claimed = Claimed {
            context: context.to_vec(),
            snooped,
            msix_control: 0,
            table: None,
            id: Bdf(0),
            doorbells: BTreeMap::new(),
        };
        let find = |wanted: u8| claimed.regions().into_iter().find(|&(kind, ..)| kind == wanted);
        if let (Some((_, table_bar, table, _)), Some((_, pba_bar, pba, _))) =
            (find(region::MSIX_TABLE), find(region::MSIX_PBA))
        {
            let vectors = emulated_function::NUM_MSIX.get(context).unwrap() as u16;
            let (table_offset, pba_offset) = (table as u32, pba as u32);
            let place = MsixCapability { vectors, table_bar, table_offset, pba_bar, pba_offset };
            claimed.table = Some(MsixTable::new(&place).unwrap());
        }
        claimed
    }

    /// Kind, BAR, offset and length of each region.
    fn regions(&self) -> Vec<(u8, u8, u64, u64)> {
        let count = emulated_function::NUM_REGIONS.get(&self.context).unwrap() as usize;
        let entries = emulated_function::REGIONS.slice(&self.context).unwrap();
        let fields = [emulated_region::KIND, emulated_region::BAR, emulated_region::OFFSET, emulated_region::LENGTH];
        let entries = entries.chunks_exact(emulated_region::SIZE).take(count);
        entries
            .map(|entry| fields.map(|field| field.get(entry).unwrap()))
            .map(|[kind, bar, offset, length]| (kind as u8, bar as u8, offset, length))
            .collect()
    }

    pub(super) fn region(&self, bar: u8, offset: u64) -> Option<u8> {
        let inside = |&(_, in_bar, start, length): &(u8, u8, u64, u64)| {
            in_bar == bar && (start..start + length).contains(&offset)
        };
        self.regions().into_iter().find(inside).map(|(kind, ..)| kind)
    }

    pub(super) fn queried(&self) -> Vec<u8> {
        let mut context = self.context.clone();
        let doorbells = self.regions().into_iter().filter(|&(kind, ..)| kind == region::DOORBELL);
        let places = doorbells.flat_map(|(_, bar, offset, length)| (0..length / 4).map(move |n| (bar, offset + n * 4)));
        for (index, place) in places.enumerate() {
            let value = self.doorbells.get(&place).copied().unwrap_or(0);
            emulated_function::DOORBELL.set(&mut context, index, u64::from(value)).unwrap();
        }
        context
    }
}
