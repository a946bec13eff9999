//! What enumeration does by extended capabilities: ARI, and the virtual functions of SR-IOV.

use super::{Bar, Boxed, EnumerationError, Enumerator, Found, Function, Link};
use crate::time::Time;
use crate::tlp::Bdf;

/// Extended capability IDs.
const ARI: u16 = 0x0e;
const SRIOV: u16 = 0x10;
/// The first dword of extended configuration space.
const EXTENDED: u16 = 0x100 / 4;
/// Dwords from the beginning of the PCI Express capability: Device Capabilities 2, Device Control 2; and the bit of ARI forwarding in both.
const DEVICE_CAPABILITIES_2: u16 = 9;
const DEVICE_CONTROL_2: u16 = 10;
const ARI_FORWARDING: u32 = 1 << 5;
// Dwords from the beginning of the SR-IOV capability.
const CONTROL: u16 = 2;
const TOTAL: u16 = 3;
const NUMBER: u16 = 4;
const PLACEMENT: u16 = 5;
const DEVICE_ID: u16 = 6;
const VF_BAR: u16 = 9;
/// SR-IOV Control: VF Enable and VF MSE; ARI Capable Hierarchy.
const ENABLES: u32 = 1 << 0 | 1 << 3;
const ARI_HIERARCHY: u32 = 1 << 4;
/// How long software waits after VF Enable (section 9.3.3.3.1).
const READY: Time = Time::ms(100);

/// The virtual functions that a physical one is going to have.
#[derive(Debug)]
pub(super) struct Virtuals {
    /// The first dword of the SR-IOV capability.
    register: u16,
    count: u16,
    /// First VF Offset and VF Stride.
    placement: (u16, u16),
    /// VF BARs: number, size, 64-bit, prefetchable.
    sizes: Vec<(u8, u64, bool, bool)>,
    /// The BARs of the first virtual function.
    bars: Vec<Bar>,
    pub(super) found: Vec<Found>,
}

impl Virtuals {
    /// The ID of virtual function `number` of `physical`, from 0.
    fn id(&self, physical: Bdf, number: u16) -> Option<Bdf> {
        let (first, stride) = self.placement;
        number.checked_mul(stride)?.checked_add(first)?.checked_add(physical.0).map(Bdf)
    }
}

impl Enumerator {
    /// The list of extended capabilities: ID and offset.
    pub(super) async fn extended_capabilities(&self, found: &Found) -> Result<Vec<(u16, u16)>, EnumerationError> {
        let mut capabilities = Vec::new();
        if found.capability(super::PCIE).is_none() {
            return Ok(capabilities);
        }
        let mut register = EXTENDED;
        // A list that runs in a circle ends after as many entries as there's room for.
        while register >= EXTENDED && capabilities.len() < 480 {
            let entry = self.read(found.id, register).await?;
            if entry == 0 || entry == u32::MAX {
                break;
            }
            capabilities.push((entry as u16, register * 4));
            register = (entry >> 22) as u16;
        }
        Ok(capabilities)
    }

    /// Lets the port above a device forward by ARI if the device has the capability and the port can do it, and else not any more. Whether it
    /// does now.
    pub(super) async fn forward_by_ari(&self, first: &Found, link: Option<Link>) -> Result<bool, EnumerationError> {
        let Some(Link { port, register }) = link else { return Ok(false) };
        let has = first.extended_capability(ARI).is_some();
        let can = has && self.read(port, register + DEVICE_CAPABILITIES_2).await? & ARI_FORWARDING != 0;
        let control = self.read(port, register + DEVICE_CONTROL_2).await?;
        if (control & ARI_FORWARDING != 0) != can {
            let written =
                self.host.config_write_bytes(port, register + DEVICE_CONTROL_2, 0x3, control ^ ARI_FORWARDING);
            written.await.map_err(|error| EnumerationError::Access { id: port, error })?;
        }
        Ok(can)
    }

    /// Next Function Number; 0 if there's none.
    pub(super) async fn next_function(&self, found: &Found) -> Result<u8, EnumerationError> {
        let Some(offset) = found.extended_capability(ARI) else { return Ok(0) };
        Ok((self.read(found.id, offset / 4 + 1).await? >> 8) as u8)
    }

    /// Decides how many virtual functions a function is going to have, sizes their BARs, and keeps their bus numbers.
    pub(super) async fn prepare_virtuals(
        &mut self,
        function: &mut Function,
        ari: bool,
    ) -> Result<(), EnumerationError> {
        let id = function.found.id;
        let Some(offset) = function.found.extended_capability(SRIOV).filter(|_| self.virtual_functions > 0) else {
            return Ok(());
        };
        let register = offset / 4;
        let total = (self.read(id, register + TOTAL).await? >> 16) as u16;
        let count = total.min(self.virtual_functions);
        if count == 0 {
            return Ok(());
        }
        self.write(id, register + CONTROL, if ari { ARI_HIERARCHY } else { 0 }).await?;
        self.write(id, register + NUMBER, u32::from(count)).await?;
        let placement = self.read(id, register + PLACEMENT).await?;
        let sizes = self.size_bars(id, register + VF_BAR, 6).await?;
        let placement = (placement as u16, (placement >> 16) as u16);
        let virtuals = Virtuals { register, count, placement, sizes, bars: Vec::new(), found: Vec::new() };
        let last = virtuals.id(id, count - 1).filter(|last| last.bus() <= self.bus_limit);
        let last = last.ok_or(EnumerationError::NoBus(id))?;
        self.last_bus = self.last_bus.max(last.bus());
        function.virtuals = Some(virtuals);
        Ok(())
    }

    /// Gives addresses to the VF BARs of a function.
    pub(super) async fn assign_virtuals(&mut self, function: &mut Function) -> Result<(), EnumerationError> {
        let id = function.found.id;
        let Some(virtuals) = &mut function.virtuals else { return Ok(()) };
        for &(index, size, is_64bit, prefetchable) in &virtuals.sizes {
            let all = size.saturating_mul(u64::from(virtuals.count));
            let address = self.take(id, all, size, is_64bit && prefetchable)?;
            let register = virtuals.register + VF_BAR + u16::from(index);
            self.write(id, register, address as u32).await?;
            if is_64bit {
                self.write(id, register + 1, (address >> 32) as u32).await?;
            }
            virtuals.bars.push(Bar { index, address, size, is_64bit, prefetchable });
        }
        Ok(())
    }

    /// Enables the virtual functions of all of `functions` and of what is below them, and finds them.
    pub(super) fn enable_virtuals<'a>(&'a mut self, functions: &'a mut [Function]) -> Boxed<'a, ()> {
        Box::pin(async move {
            for function in functions {
                if let Some(virtuals) = &mut function.virtuals {
                    self.enable(&function.found, virtuals).await?;
                }
                self.enable_virtuals(&mut function.below).await?;
            }
            Ok(())
        })
    }

    async fn enable(&mut self, physical: &Found, virtuals: &mut Virtuals) -> Result<(), EnumerationError> {
        let control = virtuals.register + CONTROL;
        let before = self.read(physical.id, control).await?;
        self.write(physical.id, control, before & 0xffff | ENABLES).await?;
        self.host.sleep(READY).await;
        let device = (self.read(physical.id, virtuals.register + DEVICE_ID).await? >> 16) as u16;
        for number in 0..virtuals.count {
            let Some(id) = virtuals.id(physical.id, number) else { continue };
            // It has no IDs of its own, but it must answer.
            self.read(id, 0).await?;
            let capabilities = self.capabilities(id).await?;
            let mut found = Found {
                id,
                device,
                bars: virtuals.bars.clone(),
                expansion_rom: None,
                capabilities,
                extended_capabilities: Vec::new(),
                physical: Some(physical.id),
                ..physical.clone()
            };
            found.extended_capabilities = self.extended_capabilities(&found).await?;
            for bar in &mut found.bars {
                bar.address += bar.size * u64::from(number);
            }
            virtuals.found.push(found);
        }
        Ok(())
    }
}
