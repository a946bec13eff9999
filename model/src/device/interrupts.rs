//! Interrupts of the function: its MSI-X table, and the messages.

use mlx5_twin_sim::config::MsixOutcome;
use mlx5_twin_sim::fabric::{Core, Dma};

use super::Dpu;

impl Dpu {
    /// A write to BAR 0: whether it was to the MSI-X table.
    pub(super) fn write_msix(
        &mut self,
        core: &mut Core,
        offset: u64,
        dwords: &[u8],
        first_be: u8,
        last_be: u8,
    ) -> bool {
        let Some(region) = self.msix.region(0, offset) else { return false };
        if self.msix.write(region, dwords, first_be, last_be).is_err() {
            self.counters.stray_accesses += 1;
        }
        self.send_unmasked(core);
        true
    }

    /// Sends an interrupt, if the host's settings let it go now.
    pub(crate) fn interrupt(&mut self, core: &mut Core, vector: u16) {
        let config = self.function.config();
        let raised = self.msix.raise(vector, config.msix_enabled(), config.msix_function_masked());
        if let Ok(MsixOutcome::Send(message)) = raised
            && !self.faults.loses_interrupt(vector)
        {
            self.send_interrupt(core, message.address, message.data);
        }
    }

    fn send_interrupt(&mut self, core: &mut Core, address: u64, data: u32) {
        if Dma::write(core, &self.function, address, &data.to_le_bytes()).is_err() {
            self.counters.dma_errors += 1;
        }
    }

    /// Sends the interrupts that were held back and needn't be any more.
    pub(super) fn send_unmasked(&mut self, core: &mut Core) {
        let config = self.function.config();
        let messages: Vec<_> = self.msix.unmasked(config.msix_enabled(), config.msix_function_masked()).collect();
        for message in messages {
            self.send_interrupt(core, message.address, message.data);
        }
    }
}
