//! Where everything is in BAR0.

use core::ops::Range;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{MEMIC_INCREMENT, MEMIC_TEST_AND_SET};
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, device_mem_cap, device_mem_cap_operations, tlp_dev_emu_capabilities, virtio_emulation_cap,
};

use super::{Capabilities, Device, ProfileError, rule};

/// Bytes of a page of BAR0; a UAR is one page.
const PAGE: u64 = 4096;

/// The initialization segment's two pages: registers up to 0x1048, of which the second page can be
/// mapped by user space (bring-up of Linux's driver reads nothing beyond).
const INIT_SEGMENT: Range<u64> = 0..0x2000;

/// Where the MSI-X table starts, as on real devices.
const MSIX_TABLE: u64 = 0x2000;

/// Where the MSI-X pending bits are, as on real devices; later if the table is longer than a page.
const MSIX_PBA: u64 = 0x3000;

/// Most memory on the device, in bytes. Ours.
const MAX_MEMIC: u64 = 16 << 20;

/// Pages of BAR0 that user space maps one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the first page is in BAR0.
    pub offset: u64,
    /// Bytes from one page to the next.
    pub stride: u64,
    /// Number of pages.
    pub count: u32,
    /// Bytes of the whole window.
    pub size: u64,
}

impl Window {
    /// The bytes of the window in BAR0.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.size)
    }

    /// Number of the page that has this byte of BAR0, and the offset inside the page.
    #[must_use]
    pub fn locate(&self, at: u64) -> Option<(u32, u64)> {
        let inside = at.checked_sub(self.offset)?;
        let page = u32::try_from(inside / self.stride).ok()?;
        (page < self.count).then_some((page, inside % self.stride))
    }
}

/// The regions of BAR0. None overlaps another; all are inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar0Map {
    /// Size of BAR0 in bytes.
    pub size: u64,
    /// The initialization segment.
    pub init_segment: Range<u64>,
    /// The MSI-X table, 16 bytes for each vector.
    pub msix_table: Range<u64>,
    /// The MSI-X pending bits, 8 bytes for each 64 vectors.
    pub msix_pba: Range<u64>,
    /// UAR pages: from `device.first_uar` to the next window, or else to the end.
    pub uars: Range<u64>,
    /// Doorbell pages of VirtIO queues (capability type 0x13).
    pub virtio_vars: Option<Window>,
    /// Response gateway pages of TLP emulation (capability type 0x2a).
    pub tlp_pages: Option<Window>,
    /// Memory on the device (capability type 0xf).
    pub memic: Option<Range<u64>>,
    /// Where accesses are operations on that memory: for each operation a window of the same size, one behind the other. Ours.
    pub memic_operations: Range<u64>,
}

impl Bar0Map {
    /// Lays out BAR0 and checks that everything fits.
    pub(super) fn new(device: &Device, caps: &Capabilities) -> Result<Self, ProfileError> {
        let vectors = u64::from(device.msix_vectors);
        let msix_table = MSIX_TABLE..MSIX_TABLE + 16 * vectors;
        let pba = MSIX_PBA.max(msix_table.end.next_multiple_of(PAGE));
        let msix_pba = pba..pba + 8 * vectors.div_ceil(64);
        let virtio_vars = virtio_window(caps)?;
        let tlp_pages = tlp_window(caps)?;
        let (memic, memic_operations) = memic_windows(caps)?;

        let first_uar = u64::from(device.first_uar) * PAGE;
        let windows = [&virtio_vars, &tlp_pages];
        let above =
            windows.into_iter().flatten().map(|window| window.offset).chain(memic.iter().map(|window| window.start));
        let uars_end = above.filter(|&offset| offset > first_uar).min();
        // At least one page, so that a first one outside BAR0 is noticed.
        let uars = first_uar..uars_end.unwrap_or(device.bar0_size).max(first_uar + PAGE);

        let map = Self {
            size: device.bar0_size,
            init_segment: INIT_SEGMENT,
            msix_table,
            msix_pba,
            uars,
            virtio_vars,
            tlp_pages,
            memic,
            memic_operations,
        };
        map.check()?;
        Ok(map)
    }

    /// Number of UAR pages.
    #[must_use]
    pub fn uar_count(&self) -> u32 {
        u32::try_from((self.uars.end - self.uars.start) / PAGE).unwrap_or(u32::MAX)
    }

    /// Where an access is this operation on the memory on the device at `start`.
    #[must_use]
    pub fn memic_operation(&self, start: u64, operation: u32) -> u64 {
        let size = self.memic.as_ref().map_or(0, |window| window.end - window.start);
        start.saturating_add(size.saturating_mul(u64::from(operation) + 1))
    }

    /// Which operation an access is, and on which byte of the window for memory on the device.
    #[must_use]
    pub fn locate_memic_operation(&self, at: u64) -> Option<(u8, u64)> {
        let window = self.memic.as_ref().filter(|_| self.memic_operations.contains(&at))?;
        let (size, inside) = (window.end - window.start, at - self.memic_operations.start);
        Some((u8::try_from(inside / size).ok()?, window.start + inside % size))
    }

    /// All regions with their names, lowest first.
    #[must_use]
    pub fn regions(&self) -> Vec<(&'static str, Range<u64>)> {
        let window = |window: &Option<Window>| window.as_ref().map(Window::range);
        let mut regions = vec![
            ("the initialization segment", self.init_segment.clone()),
            ("the MSI-X table (device.msix_vectors)", self.msix_table.clone()),
            ("the MSI-X pending bits (device.msix_vectors)", self.msix_pba.clone()),
            ("the UAR pages (device.first_uar)", self.uars.clone()),
        ];
        regions.extend(
            window(&self.virtio_vars)
                .map(|range| ("the VirtIO doorbell pages (capabilities.virtio_emulation.doorbell_bar_offset)", range)),
        );
        regions.extend(
            window(&self.tlp_pages).map(|range| {
                ("the TLP response pages (capabilities.tlp_emulation.tlp_rsp_gw_pages_bar_offset)", range)
            }),
        );
        regions.extend(
            self.memic
                .clone()
                .map(|range| ("the memory on the device (capabilities.device_memory.memic_bar_start_addr)", range)),
        );
        regions.extend(
            self.memic
                .as_ref()
                .map(|_| ("operations on the memory on the device, behind it", self.memic_operations.clone())),
        );
        regions.sort_by_key(|(_, range)| (range.start, range.end));
        regions
    }

    fn check(&self) -> Result<(), ProfileError> {
        let regions = self.regions();
        for (region, range) in &regions {
            let Range { start, end } = *range;
            if end > self.size {
                let size = self.size;
                return Err(ProfileError::OutsideBar { region, start, end, size });
            }
        }
        let taken: Vec<_> = regions.iter().filter(|(_, range)| !range.is_empty()).collect();
        for pair in taken.windows(2) {
            if let [(first, below), (second, above)] = pair
                && below.end > above.start
            {
                return Err(ProfileError::Overlap { first, second, at: above.start });
            }
        }
        Ok(())
    }
}

/// The VirtIO doorbell window: the stride is in bytes, the window's size in pages, both as log2.
/// Linux makes the window if `general_obj_types` has VIRTIO_NET_Q, bit 13.
fn virtio_window(caps: &Capabilities) -> Result<Option<Window>, ProfileError> {
    const VIRTIO_NET_Q: u64 = 1 << 13;
    if caps.general_max(cmd_hca_cap::GENERAL_OBJ_TYPES) & VIRTIO_NET_Q == 0 {
        return Ok(None);
    }
    let cap = |field| caps.max_field(CapType::VDPA_EMULATION, field);
    let log_stride = cap(virtio_emulation_cap::LOG_DOORBELL_STRIDE);
    let log_size = cap(virtio_emulation_cap::LOG_DOORBELL_BAR_SIZE);
    let offset = cap(virtio_emulation_cap::DOORBELL_BAR_OFFSET);
    rule(
        log_stride >= 12,
        "capabilities.virtio_emulation.log_doorbell_stride",
        log_stride,
        "is log2 of bytes and must be at least 12: pages are mapped one by one",
    )?;
    page_aligned("capabilities.virtio_emulation.doorbell_bar_offset", offset)?;
    let size = PAGE << log_size;
    let count = u32::try_from(size >> log_stride).unwrap_or(u32::MAX);
    rule(
        count > 0,
        "capabilities.virtio_emulation.log_doorbell_bar_size",
        log_size,
        "is log2 of 4 KiB pages and must leave room for one page of log_doorbell_stride",
    )?;
    Ok(Some(Window { offset, stride: 1 << log_stride, count, size }))
}

/// The TLP response window: the stride is in pages, as log2.
fn tlp_window(caps: &Capabilities) -> Result<Option<Window>, ProfileError> {
    if caps.general_max(cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER) == 0 {
        return Ok(None);
    }
    let cap = |field| caps.max_field(CapType::TLP_EMULATION, field);
    let stride = PAGE << cap(tlp_dev_emu_capabilities::LOG_TLP_RSP_GW_PAGE_STRIDE);
    let pages = cap(tlp_dev_emu_capabilities::TLP_RSP_GW_NUM_PAGES);
    let offset = cap(tlp_dev_emu_capabilities::TLP_RSP_GW_PAGES_BAR_OFFSET);
    page_aligned("capabilities.tlp_emulation.tlp_rsp_gw_pages_bar_offset", offset)?;
    let count = u32::try_from(pages).unwrap_or(u32::MAX);
    Ok(Some(Window { offset, stride, count, size: stride * pages }))
}

/// The window of memory on the device, and those of the operations on it. Linux hands it out page by page, if `device_memory` and
/// `memic` are 1.
fn memic_windows(caps: &Capabilities) -> Result<(Option<Range<u64>>, Range<u64>), ProfileError> {
    const KNOWN: u64 = 1 << MEMIC_INCREMENT | 1 << MEMIC_TEST_AND_SET;
    let cap = |field| caps.max_field(CapType::DEV_MEM, field);
    if caps.general_max(cmd_hca_cap::DEVICE_MEMORY) == 0 || cap(device_mem_cap::MEMIC) == 0 {
        return Ok((None, 0..0));
    }
    let operations = cap(device_mem_cap::MEMIC_OPERATIONS);
    rule(
        operations & !KNOWN == 0,
        "capabilities.device_memory.memic_operations",
        operations,
        "has a bit besides those that the model knows: increment (1), test and set (2)",
    )?;
    for (name, size) in [
        ("capabilities.device_memory.increment_size_sup", cap(device_mem_cap_operations::INCREMENT_SIZE_SUP)),
        ("capabilities.device_memory.test_and_set_size_sup", cap(device_mem_cap_operations::TEST_AND_SET_SIZE_SUP)),
    ] {
        rule(size <= 1, name, size, "is a mask of widths, of which the model knows one byte (1)")?;
    }
    let (start, size) = (cap(device_mem_cap::MEMIC_BAR_START_ADDR), cap(device_mem_cap::MEMIC_BAR_SIZE));
    page_aligned("capabilities.device_memory.memic_bar_start_addr", start)?;
    page_aligned("capabilities.device_memory.memic_bar_size", size)?;
    let most = cap(device_mem_cap::MAX_MEMIC_SIZE);
    rule(
        most <= size.min(MAX_MEMIC),
        "capabilities.device_memory.max_memic_size",
        most,
        "must be at most memic_bar_size and 16 MiB, which is what the model keeps",
    )?;
    let end = start.saturating_add(size);
    let count = u64::from(u64::BITS - operations.leading_zeros());
    Ok((Some(start..end), end..end.saturating_add(size * count)))
}

fn page_aligned(field: &'static str, offset: u64) -> Result<(), ProfileError> {
    rule(offset.is_multiple_of(PAGE), field, offset, "must be a multiple of 4096")
}
