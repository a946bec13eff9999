//! `[pages]`: host memory that the firmware asks for.

use mlx5_twin_fw_cmds::layout::cmd_hca_cap;
use serde::Deserialize;

use super::{Capabilities, ProfileError, in_range, rule};

/// Most pages the firmware can ask for at one stage: 4 GiB. Ours.
pub const MAX_PAGES: i32 = 1 << 20;

/// Most pages the firmware can ask for at once while it runs: as many as fit into one small command. Ours.
pub const MAX_RUNTIME_PAGES: u32 = 512;

/// Most objects that go with these pages. Ours.
const MAX_RUNTIME_OBJECTS: u32 = 1 << 20;

/// `[pages]`: how many pages of 4 KiB the firmware asks the driver for. With 0 everywhere the driver gives
/// none and MANAGE_PAGES is never sent. The model only keeps the pages' books: it stores nothing in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagesWanted {
    /// Before anything else, 0 to [`MAX_PAGES`].
    pub boot: i32,
    /// In addition before INIT_HCA, 0 to [`MAX_PAGES`].
    pub init: i32,
    /// In addition while it runs, for each `runtime_objects` objects that are alive, begun ones counted; 0 to
    /// [`MAX_RUNTIME_PAGES`]. They are asked for by events, so `page_request_disable` must be 0.
    pub runtime: u32,
    /// Objects (of all kinds together) that `runtime` pages are enough for, 1 to 2^20.
    pub runtime_objects: u32,
}

impl Default for PagesWanted {
    fn default() -> Self {
        Self { boot: 0, init: 0, runtime: 0, runtime_objects: 64 }
    }
}

impl PagesWanted {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        in_range("pages.boot", self.boot, 0, MAX_PAGES)?;
        in_range("pages.init", self.init, 0, MAX_PAGES)?;
        in_range("pages.runtime", self.runtime, 0, MAX_RUNTIME_PAGES)?;
        in_range("pages.runtime_objects", self.runtime_objects, 1, MAX_RUNTIME_OBJECTS)
    }

    /// Checks that pages can be asked for by events, if they are.
    ///
    /// # Errors
    /// [`ProfileError::Rule`].
    pub fn fits(&self, capabilities: &Capabilities) -> Result<(), ProfileError> {
        rule(
            self.runtime == 0 || capabilities.general_max(cmd_hca_cap::PAGE_REQUEST_DISABLE) == 0,
            "pages.runtime",
            self.runtime,
            "needs capabilities.general.page_request_disable = 0",
        )
    }
}
