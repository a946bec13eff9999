//! The host's side of a hot-plug port: what Linux's `pciehp` does. It waits for the port's interrupt; a device that has come is powered on, found and
//! given addresses; upon the attention button the device in the slot is quiesced and powered off.

use super::{AccessError, EnumerationError, Found, Host, Settings, enumerate_below};
use crate::time::Time;
use crate::tlp::Bdf;

/// Capability IDs: PCI Express, MSI.
const PCIE: u8 = 0x10;
const MSI: u8 = 0x05;
/// Where interrupt messages go on x86.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;
/// Dwords from the beginning of the PCI Express capability: Link Status (high half), Slot Control and Slot Status.
const LINK: u16 = 4;
const SLOT: u16 = 6;
/// Link Status: Data Link Layer Link Active.
const LINK_ACTIVE: u32 = 1 << 29;
// Slot Control: enables of attention button, power fault, presence and link changes, command completed and the interrupt; power off.
const ENABLES: u32 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 12;
const POWER_OFF: u32 = 1 << 10;
// Slot Status.
const BUTTON: u32 = 1 << 16;
const POWER_FAULT: u32 = 1 << 17;
const PRESENCE_CHANGED: u32 = 1 << 19;
const COMMAND_COMPLETED: u32 = 1 << 20;
const PRESENT: u32 = 1 << 22;
const LINK_CHANGED: u32 = 1 << 24;
/// All events of Slot Status, to be cleared by writing 1.
const EVENTS: u32 = 0x011f_0000;
/// Command register: bus master, SERR# Enable, Interrupt Disable.
const BUS_MASTER: u32 = 1 << 2;
const SERR: u32 = 1 << 8;
const INTX_DISABLE: u32 = 1 << 10;
/// The longest that a command may take, that a link may need, and what a device needs after that before it's asked (base specification
/// 6.7.3.2, 6.6.1).
const COMMAND_LIMIT: Time = Time::ms(1_000);
const LINK_LIMIT: Time = Time::ms(1_000);
const DEVICE_READY: Time = Time::ms(100);
/// How long power must have been off before anything relies on that (base specification 6.7.1.8).
const OFF: Time = Time::ms(1_000);

/// What has become of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotChange {
    /// These functions have come: they have bus numbers and addresses, and memory space is on.
    Added(Vec<Found>),
    /// These functions have gone, and the slot's power is off. After a power fault it stays off until the device is taken out or the button pressed.
    Removed(Vec<Found>),
}

/// Why a slot can't be served. What can be, goes on with the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotPlugError {
    /// The function has no PCI Express capability or no MSI.
    #[error("{0} is no hot-plug port: it lacks a PCI Express or an MSI capability")]
    NotAPort(Bdf),
    /// The port itself doesn't answer.
    #[error("hot-plug port {id}: {error}")]
    Port {
        /// The port.
        id: Bdf,
        /// What the bus answered.
        error: AccessError,
    },
    /// The link didn't come up within a second after the slot was powered on. It has been powered off again.
    #[error("hot-plug port {0}: the link didn't come up within a second")]
    NoLink(Bdf),
    /// What is in the slot can't be found or configured. The slot has been powered off again.
    #[error("below hot-plug port {id}: {error}")]
    Below {
        /// The port.
        id: Bdf,
        /// Why.
        error: EnumerationError,
    },
    /// Nothing answers below the port. The slot has been powered off again.
    #[error("hot-plug port {0}: nothing answers below it")]
    Nobody(Bdf),
}

/// A hot-plug port in the hands of the host.
#[derive(Debug)]
pub struct HotPlug {
    host: Host,
    settings: Settings,
    port: Found,
    /// The PCI Express capability's first dword.
    pcie: u16,
    vector: u16,
    below: Vec<Found>,
    /// Look at the slot before waiting.
    look: bool,
    /// From the attention button to power-off: an operator may change his mind. 5 s, as PCIe and Linux have it.
    pub button_delay: Time,
}

impl HotPlug {
    /// Takes over the hot-plug port `port` as enumeration with `settings` found it; `below` is what it found below the port. The port
    /// gets the interrupt message `vector`. An empty slot is powered off.
    ///
    /// # Errors
    /// [`HotPlugError::NotAPort`], [`HotPlugError::Port`].
    pub async fn new(
        host: &Host,
        settings: Settings,
        port: &Found,
        below: Vec<Found>,
        vector: u16,
    ) -> Result<HotPlug, HotPlugError> {
        let not_a_port = HotPlugError::NotAPort(port.id);
        let pcie = port.capability(PCIE).ok_or(not_a_port)? / 4;
        let msi = port.capability(MSI).ok_or(not_a_port)? / 4;
        let mut work = HotPlug {
            host: host.clone(),
            settings,
            port: port.clone(),
            pcie,
            vector,
            below,
            look: true,
            button_delay: Time::ms(5_000),
        };
        for (register, enables, value) in
            [(msi + 1, 0xf, MESSAGE_ADDRESS), (msi + 2, 0xf, 0), (msi + 3, 0x3, u32::from(vector)), (msi, 0xc, 1 << 16)]
        {
            work.write(register, enables, value).await?;
        }
        let slot = work.read(pcie + SLOT).await?;
        let power = if slot & PRESENT == 0 { POWER_OFF } else { slot & POWER_OFF };
        work.clear(EVENTS).await?;
        work.command(ENABLES | power).await?;
        Ok(work)
    }

    /// What is below the port now.
    pub fn below(&self) -> &[Found] {
        &self.below
    }

    /// Waits until something happens to the slot, and acts upon it.
    ///
    /// # Errors
    /// [`HotPlugError`]. The next call goes on.
    pub async fn next(&mut self) -> Result<SlotChange, HotPlugError> {
        loop {
            let slot = self.read(self.pcie + SLOT).await?;
            let events = slot & (BUTTON | POWER_FAULT | PRESENCE_CHANGED | LINK_CHANGED);
            let look = std::mem::take(&mut self.look);
            if events == 0 && !look {
                self.host.interrupt(self.vector.into()).await;
                continue;
            }
            self.clear(events).await?;
            // What changes between the read above and this one leaves no event behind.
            let present = self.read(self.pcie + SLOT).await? & PRESENT != 0;
            let enabled = !self.below.is_empty();
            let changed = events & (PRESENCE_CHANGED | LINK_CHANGED) != 0;
            if events & POWER_FAULT != 0 {
                let removed = self.remove(true).await?;
                self.look = false;
                return Ok(removed);
            }
            if enabled && changed {
                // It went, perhaps to come back at once: nothing below is as it was.
                return self.remove(true).await;
            }
            if enabled && events & BUTTON != 0 {
                self.host.sleep(self.button_delay).await;
                return self.remove(false).await;
            }
            if !enabled && present {
                return self.add().await;
            }
        }
    }

    async fn add(&mut self) -> Result<SlotChange, HotPlugError> {
        self.command(ENABLES).await?;
        let id = self.port.id;
        let until = self.host.now() + LINK_LIMIT;
        while self.read(self.pcie + LINK).await? & LINK_ACTIVE == 0 {
            if self.host.now() >= until {
                self.power_off().await?;
                return Err(HotPlugError::NoLink(id));
            }
            self.host.sleep(Time::ms(10)).await;
        }
        // That the link came up is what was waited for.
        self.clear(PRESENCE_CHANGED | LINK_CHANGED).await?;
        self.host.sleep(DEVICE_READY).await;
        match enumerate_below(&self.host, &self.port, self.settings).await {
            Ok(found) if !found.is_empty() => {
                self.below.clone_from(&found);
                Ok(SlotChange::Added(found))
            }
            other => {
                self.power_off().await?;
                Err(other.err().map_or(HotPlugError::Nobody(id), |error| HotPlugError::Below { id, error }))
            }
        }
    }

    /// Quiesces what is below, if it's still there, and powers the slot off.
    async fn remove(&mut self, gone: bool) -> Result<SlotChange, HotPlugError> {
        let below = std::mem::take(&mut self.below);
        for function in below.iter().filter(|function| !gone && !function.bridge) {
            // One that doesn't answer is let go all the same.
            let Ok(command) = self.host.config_read(function.id, 1).await else { continue };
            let command = command & !(BUS_MASTER | SERR) | INTX_DISABLE;
            let _ = self.host.config_write_bytes(function.id, 1, 0x3, command & 0xffff).await;
        }
        // What stays in the slot stays off; what has come in the meantime is looked at.
        let changed = self.power_off().await?;
        self.look = gone || changed;
        Ok(SlotChange::Removed(below))
    }

    /// Powers the slot off. Whether a device left it then, or came.
    async fn power_off(&mut self) -> Result<bool, HotPlugError> {
        self.command(ENABLES | POWER_OFF).await?;
        self.host.sleep(OFF).await;
        let changed = self.read(self.pcie + SLOT).await? & PRESENCE_CHANGED != 0;
        self.clear(PRESENCE_CHANGED | LINK_CHANGED).await?;
        Ok(changed)
    }

    /// Gives the hot-plug controller a command, and waits until it's done.
    async fn command(&mut self, control: u32) -> Result<(), HotPlugError> {
        self.write(self.pcie + SLOT, 0x3, control).await?;
        let until = self.host.now() + COMMAND_LIMIT;
        // A controller that says nothing within a second is taken to be done, as Linux does.
        while self.host.now() < until && self.read(self.pcie + SLOT).await? & COMMAND_COMPLETED == 0 {
            self.host.sleep(Time::us(100)).await;
        }
        self.clear(COMMAND_COMPLETED).await
    }

    /// Clears events of Slot Status. This is no command: Slot Control isn't written.
    async fn clear(&self, events: u32) -> Result<(), HotPlugError> {
        self.write(self.pcie + SLOT, 0xc, events).await
    }

    async fn read(&self, register: u16) -> Result<u32, HotPlugError> {
        let id = self.port.id;
        self.host.config_read(id, register).await.map_err(|error| HotPlugError::Port { id, error })
    }

    async fn write(&self, register: u16, enables: u8, value: u32) -> Result<(), HotPlugError> {
        let id = self.port.id;
        let written = self.host.config_write_bytes(id, register, enables, value).await;
        written.map_err(|error| HotPlugError::Port { id, error })
    }
}
