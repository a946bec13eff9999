//! What the parts of the device share when they reach for memory: the mlx5 function's port, its DMA engine, and counters.

use mlx5_twin_sim::fabric::{Core, Dma, Function};

/// What happened that nobody is told of otherwise (ours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands that were carried out, whatever their status.
    pub commands: u64,
    /// Commands that ended with a delivery status other than 0.
    pub delivery_errors: u64,
    /// Bits of the command doorbell for slots that were busy.
    pub busy_doorbells: u64,
    /// Accesses to places of BAR 0 where nothing is, or of a width that nothing there has.
    pub stray_accesses: u64,
    /// Stores to response gateway pages that no channel holds.
    pub gateway_unbound: u64,
    /// Events that found their queue full.
    pub eq_overruns: u64,
    /// Completion queues that were overrun.
    pub cq_overruns: u64,
    /// DMA of the device that didn't succeed.
    pub dma_errors: u64,
}

/// Port and DMA engine of the mlx5 function, as its parts use them.
pub(crate) struct Bus<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) function: &'a Function,
    pub(crate) dma: &'a mut Dma,
    pub(crate) counters: &'a mut Counters,
}

impl Bus<'_> {
    /// Begins to read memory.
    pub(crate) fn read(&mut self, address: u64, len: usize, token: u64) {
        self.dma.read(self.core, self.function, address, len, token);
    }

    /// Writes memory; a failure is counted.
    pub(crate) fn write(&mut self, address: u64, data: &[u8]) {
        if let Err(error) = Dma::write(self.core, self.function, address, data) {
            tracing::debug!(%error, "device write");
            self.counters.dma_errors += 1;
        }
    }
}
