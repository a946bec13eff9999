//! How enumeration gives addresses: to BARs, in the order in which functions were found, and to the windows of bridges around them.

use super::{
    BUS_MASTER, Bar, Boxed, COMMAND, EnumerationError, Enumerator, FIRST_BAR, Function, MEMORY_SPACE, MEMORY_WINDOW,
    PREFETCHABLE_BASE_UPPER, PREFETCHABLE_LIMIT_UPPER, PREFETCHABLE_WINDOW, WINDOW, rom_register,
};
use crate::config::header::bar::ROM_INDEX;
use crate::tlp::Bdf;

impl Enumerator {
    /// Gives addresses to the BARs of `functions` and what lies below them.
    pub(super) fn assign<'a>(&'a mut self, functions: &'a mut [Function]) -> Boxed<'a, ()> {
        Box::pin(async move {
            for function in functions {
                let id = function.found.id;
                for &(index, size, is_64bit, prefetchable) in &function.sizes {
                    let address = self.take(id, size, size, is_64bit && prefetchable)?;
                    let register = FIRST_BAR + u16::from(index);
                    self.write(id, register, address as u32).await?;
                    if is_64bit {
                        self.write(id, register + 1, (address >> 32) as u32).await?;
                    }
                    function.found.bars.push(Bar { index, address, size, is_64bit, prefetchable });
                }
                if let Some(size) = function.rom {
                    let address = self.take(id, size, size, false)?;
                    self.write(id, rom_register(function.found.bridge), address as u32).await?;
                    let rom = Bar { index: ROM_INDEX, address, size, is_64bit: false, prefetchable: false };
                    function.found.expansion_rom = Some(rom);
                }
                self.assign_virtuals(function).await?;
                let mut command = MEMORY_SPACE;
                if function.found.bridge {
                    command |= BUS_MASTER;
                    let grain = if function.hot_plug { self.settings.map.hot_plug } else { (0, 0) };
                    let begin = (self.align(false, grain.0), self.align(true, grain.1));
                    self.assign(&mut function.below).await?;
                    if function.hot_plug {
                        self.keep(id, begin)?;
                    }
                    let end = (self.align(false, 0), self.align(true, 0));
                    self.open_windows(id, (begin.0, end.0), (begin.1, end.1)).await?;
                }
                self.write(id, COMMAND, command).await?;
            }
            Ok(())
        })
    }

    /// Keeps room for what may come below a hot-plug port whose windows begin at `begin`.
    fn keep(&mut self, id: Bdf, begin: (u64, u64)) -> Result<(), EnumerationError> {
        let (memory, prefetchable) = self.settings.map.hot_plug;
        for (size, begin, prefetchable) in [(memory, begin.0, false), (prefetchable, begin.1, true)] {
            let used = if prefetchable { self.next64 } else { self.next32 } - begin;
            let left = size.saturating_sub(used);
            let (next, limit) = if prefetchable {
                (&mut self.next64, self.settings.map.memory64.1)
            } else {
                (&mut self.next32, self.settings.map.memory32.1)
            };
            let end = next.checked_add(left).filter(|end| left == 0 || end - 1 <= limit);
            *next = end.ok_or(EnumerationError::NoRoom { id, size: left })?;
        }
        Ok(())
    }

    /// Goes on to the next place for a window, and at least to a multiple of `grain`.
    fn align(&mut self, prefetchable: bool, grain: u64) -> u64 {
        let next = if prefetchable { &mut self.next64 } else { &mut self.next32 };
        *next = next.checked_next_multiple_of(grain.next_multiple_of(WINDOW).max(WINDOW)).unwrap_or(u64::MAX);
        *next
    }

    /// Takes `size` bytes at a multiple of `grain`.
    pub(super) fn take(&mut self, id: Bdf, size: u64, grain: u64, prefetchable: bool) -> Result<u64, EnumerationError> {
        let map = self.settings.map;
        let (next, (_, limit)) =
            if prefetchable { (&mut self.next64, map.memory64) } else { (&mut self.next32, map.memory32) };
        let no_room = EnumerationError::NoRoom { id, size };
        let address = next.checked_next_multiple_of(grain.max(16)).ok_or(no_room)?;
        let end = address.checked_add(size).ok_or(no_room)?;
        if end - 1 > limit {
            return Err(no_room);
        }
        *next = end;
        Ok(address)
    }

    /// Sets a bridge's two windows; an empty one is closed by a base above its limit.
    async fn open_windows(
        &self,
        id: Bdf,
        memory: (u64, u64),
        prefetchable: (u64, u64),
    ) -> Result<(), EnumerationError> {
        let window = |(begin, end): (u64, u64)| if begin == end { (0xfff0_0000, 0) } else { (begin, end - 1) };
        let low = |(base, limit): (u64, u64)| (limit as u32 & 0xfff0_0000) | (base >> 16) as u32 & 0xfff0;
        self.write(id, MEMORY_WINDOW, low(window(memory))).await?;
        let (base, limit) = window(prefetchable);
        self.write(id, PREFETCHABLE_WINDOW, low((base, limit))).await?;
        self.write(id, PREFETCHABLE_BASE_UPPER, (base >> 32) as u32).await?;
        self.write(id, PREFETCHABLE_LIMIT_UPPER, (limit >> 32) as u32).await
    }
}
