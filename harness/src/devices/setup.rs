//! What every host program does: find its functions, set them up as a driver does, wait for their interrupts, reset them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use mlx5_twin_sim::host::{self, AccessError, Found, Host, enumerate};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Bdf;

use super::{FoundFunction, HostError, HostReport};

/// Dwords of the configuration header, and bits in them (PCI local bus specification, 'Configuration Space Organization').
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const MEMORY_AND_BUS_MASTER: u32 = 0b110;
/// Capability IDs.
const PCIE: u8 = 0x10;
const MSIX: u8 = 0x11;
/// Where the PCI Express capability has Device Control, in dwords, and its bit (PCIe base specification 7.5.3.4).
const DEVICE_CONTROL: u16 = 2;
const INITIATE_FLR: u32 = 1 << 15;
/// How long software waits after a function-level reset (PCIe base specification 6.6.2).
const FLR_TIME: Time = Time::ms(100);
/// How long a function may take until it answers configuration requests after an error, as Linux has it (`PCIE_RESET_READY_POLL_MS` in
/// drivers/pci/pci.c), and how long the host pauses between two questions (ours). Each of them is repeated for a second while the answer is Configuration Request
/// Retry Status.
const READY_LIMIT: Time = Time::ms(60_000);
const READY_PAUSE: Time = Time::ms(1);
/// Where the vectors' messages go: the local APIC's range, as x86 has it. The data is a number of the host's choice.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;
const FIRST_MESSAGE: u32 = 0x40;

/// Gives the error for a failed access: `host.read32(address).await.map_err(access_failed("reading STATUS"))`.
pub fn access_failed(what: &'static str) -> impl Fn(AccessError) -> HostError {
    move |error| HostError::Access { what, error }
}

/// A function, and the host that drives it: what a driver does first with any device.
#[derive(Clone, Debug)]
pub struct Driven {
    pub(super) host: Host,
    found: Found,
    vectors: u16,
    /// The message of its first vector: no other function's messages are the same.
    first_message: u32,
}

impl Driven {
    /// Enumerates the bus and finds the first function with these IDs (vendor, device), whose driver will use so many MSI-X vectors. The report has
    /// what was found.
    ///
    /// # Errors
    /// [`HostError::Enumeration`]; [`HostError::NotFound`].
    pub async fn find(
        host: Host,
        settings: host::Settings,
        ids: (u16, u16),
        vectors: u16,
    ) -> Result<(Driven, HostReport), HostError> {
        let (mut all, mut report) = Driven::find_all(host, settings, ids, vectors).await?;
        report.exercised.truncate(1);
        Ok((all.swap_remove(0), report))
    }

    /// As [`Driven::find`], but all functions with these IDs, at least one.
    ///
    /// # Errors
    /// As [`Driven::find`].
    pub async fn find_all(
        host: Host,
        settings: host::Settings,
        (vendor, device): (u16, u16),
        vectors: u16,
    ) -> Result<(Vec<Driven>, HostReport), HostError> {
        let functions = enumerate(&host, settings).await?;
        let ours = |found: &Found| !found.bridge && (found.vendor, found.device) == (vendor, device);
        let exercised: Vec<_> = (0..functions.len()).filter(|&number| ours(&functions[number])).collect();
        if exercised.is_empty() {
            return Err(HostError::NotFound { vendor, device, found: functions.len() });
        }
        let report = HostReport {
            functions: functions.iter().map(FoundFunction::from).collect(),
            exercised,
            interrupts: vec![0; usize::from(vectors)],
            ..HostReport::default()
        };
        let first_messages = (FIRST_MESSAGE..).step_by(usize::from(vectors.max(1)));
        let driven = functions.into_iter().filter(ours).zip(first_messages);
        let driven = driven.map(|(found, first_message)| Driven { host: host.clone(), found, vectors, first_message });
        Ok((driven.collect(), report))
    }

    /// Bus, device and function number.
    pub fn id(&self) -> Bdf {
        self.found.id
    }

    fn missing(&self, what: &'static str) -> HostError {
        HostError::Missing { id: self.found.id.to_string(), what }
    }

    fn bar(&self, index: u32) -> Option<u64> {
        self.found.bars.iter().find(|bar| u32::from(bar.index) == index).map(|bar| bar.address)
    }

    /// Sets memory space and bus mastering, the MSI-X table and MSI-X enable. Gives the address of BAR 0.
    ///
    /// # Errors
    /// [`HostError::Missing`] if there's no BAR 0, or not so many vectors in a table that keeps what is written; [`HostError::Access`].
    pub async fn configure(&self) -> Result<u64, HostError> {
        let Driven { host, found, .. } = self;
        let id = found.id;
        let registers = self.bar(0).ok_or_else(|| self.missing("BAR 0"))?;
        let msix = found.capability(MSIX).ok_or_else(|| self.missing("MSI-X capability"))? / 4;

        let command = host.config_read(id, COMMAND).await.map_err(access_failed("reading Command"))?;
        let command = command & 0xffff | MEMORY_AND_BUS_MASTER;
        host.config_write_bytes(id, COMMAND, 0b0011, command).await.map_err(access_failed("setting bus master"))?;

        // Message Control in the high half; table offset with the BAR's number in its low three bits.
        let control = host.config_read(id, msix).await.map_err(access_failed("reading MSI-X Message Control"))?;
        if (control >> 16 & 0x7ff) + 1 < u32::from(self.vectors) {
            return Err(self.missing("MSI-X vector for each of its interrupts"));
        }
        let table = host.config_read(id, msix + 1).await.map_err(access_failed("reading MSI-X Table Offset"))?;
        let table = self.bar(table & 7).ok_or_else(|| self.missing("BAR for the MSI-X table"))? + u64::from(table & !7);
        for vector in 0..self.vectors {
            let entry = table + u64::from(vector) * 16;
            let data = self.first_message + u32::from(vector);
            let message = [MESSAGE_ADDRESS as u32, (MESSAGE_ADDRESS >> 32) as u32, data, 0];
            for (number, dword) in (0_u64..).zip(message) {
                host.write32(entry + number * 4, dword).await.map_err(access_failed("writing the MSI-X table"))?;
            }
            if host.read32(entry + 8).await.map_err(access_failed("reading the MSI-X table"))? != data {
                return Err(self.missing("working MSI-X table"));
            }
        }
        let enable = host.config_write_bytes(id, msix, 0b1100, control & 0x3fff_ffff | 1 << 31).await;
        enable.map_err(access_failed("enabling MSI-X"))?;
        Ok(registers)
    }

    /// Waits until the function answers configuration requests: it doesn't while no software emulates it.
    ///
    /// # Errors
    /// [`HostError::NotReady`] if it takes longer than a minute.
    pub async fn ready(&self) -> Result<(), HostError> {
        let Driven { host, found, .. } = self;
        let until = host.now() + READY_LIMIT;
        while let Err(error) = host.config_read(found.id, 0).await {
            if host.now() >= until {
                return Err(HostError::NotReady { id: found.id.to_string(), within: READY_LIMIT, error });
            }
            host.sleep(READY_PAUSE).await;
        }
        Ok(())
    }

    /// Resets the function by a function-level reset, and gives its BARs and Device Control back what they held. What else a driver
    /// sets, [`Driven::configure`] sets again.
    ///
    /// # Errors
    /// [`HostError::Missing`] if it has no PCI Express capability; [`HostError::Access`].
    pub async fn reset(&self) -> Result<(), HostError> {
        let Driven { host, found, .. } = self;
        let id = found.id;
        let pcie = found.capability(PCIE).ok_or_else(|| self.missing("PCI Express capability"))? / 4;
        let control = pcie + DEVICE_CONTROL;
        // The upper half is the status register, whose bits are cleared by writing 1.
        let before = host.config_read(id, control).await.map_err(access_failed("reading Device Control"))? & 0xffff;
        let flr = host.config_write(id, control, before | INITIATE_FLR).await;
        flr.map_err(access_failed("initiating a function-level reset"))?;
        host.sleep(FLR_TIME).await;
        for bar in &found.bars {
            let register = FIRST_BAR + u16::from(bar.index);
            let low = host.config_write(id, register, bar.address as u32).await;
            low.map_err(access_failed("restoring a BAR"))?;
            if bar.is_64bit {
                let high = host.config_write(id, register + 1, (bar.address >> 32) as u32).await;
                high.map_err(access_failed("restoring a BAR"))?;
            }
        }
        let restored = host.config_write_bytes(id, control, 0b0011, before).await;
        restored.map_err(access_failed("restoring Device Control"))
    }

    /// Waits for an interrupt, but no longer than `limit`. One that came before, and that nobody waited for, counts.
    ///
    /// # Errors
    /// [`HostError::NoInterrupt`], which names the cause.
    pub async fn interrupt(&self, vector: u16, cause: &'static str, limit: Time) -> Result<(), HostError> {
        let came = self.host.interrupt(self.first_message + u32::from(vector));
        if within(&self.host, limit, came).await {
            return Ok(());
        }
        Err(HostError::NoInterrupt { vector, cause, within: limit })
    }
}

/// Waits for `event`, but no longer than `limit`: says whether it came.
async fn within(host: &Host, limit: Time, event: impl Future<Output = ()>) -> bool {
    let (mut event, mut end) = (pin!(event), pin!(host.sleep(limit)));
    poll_fn(|context| {
        if event.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        end.as_mut().poll(context).map(|()| false)
    })
    .await
}

/// Runs programs side by side until each has ended: one result for each, in their order.
pub async fn side_by_side<T>(programs: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut programs: Vec<_> = programs.into_iter().map(|program| (Box::pin(program), None)).collect();
    poll_fn(|context| {
        let mut all = true;
        for (program, result) in &mut programs {
            if result.is_none()
                && let Poll::Ready(ended) = program.as_mut().poll(context)
            {
                *result = Some(ended);
            }
            all &= result.is_some();
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    programs.into_iter().filter_map(|(_, result)| result).collect()
}
