//! Memory keys: by which addresses in work requests are translated, and what may be done there.

use mlx5_twin_fw_cmds::layout::mkc;
use mlx5_twin_fw_cmds::transport::AccessMode;

use super::buffer::UmemRange;
use super::context::Context;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// A memory key. Its number is the index; the key in work requests is
/// `index << 8 | mkey_7_0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mkey {
    /// What the driver said of it, an `mkc`.
    pub context: Context,
    /// The list it translates by, in quadwords: one for a page (address, access in the low bits), two
    /// for another key (length and key, address). Empty if there is none, or none yet.
    pub translations: Vec<u64>,
    /// What it translates by instead of a list.
    pub umem: Option<UmemRange>,
    /// The memory on the device that it translates to.
    pub memic: Option<u32>,
}

impl Mkey {
    /// How the key translates.
    #[must_use]
    pub fn access_mode(&self) -> AccessMode {
        access_mode(&self.context)
    }
}

/// The access mode, both parts of it together.
pub(crate) fn access_mode(context: &Context) -> AccessMode {
    AccessMode((context.get(mkc::ACCESS_MODE_4_2) << 2 | context.get(mkc::ACCESS_MODE_1_0)) as u8)
}

impl Kind for Mkey {
    const FULL: Failure = Failure::MKEY_FULL;
    const UNKNOWN: Failure = Failure::MKEY_UNKNOWN;
    const FOREIGN: Failure = Failure::MKEY_FOREIGN;
    const IN_USE: Failure = Failure::MKEY_IN_USE;

    fn held(&self) -> Vec<Held> {
        let umem = self.umem.map(|range| Held::Umem(range.id));
        let memic = self.memic.map(Held::Memic);
        umem.into_iter().chain(memic).chain([Held::Pd(self.context.get32(mkc::PD))]).collect()
    }

    fn page_entries(&self) -> usize {
        self.translations.len()
    }
}
