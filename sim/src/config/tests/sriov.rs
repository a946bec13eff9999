//! SR-IOV and ARI: what the registers allow, and what follows from them.

use super::super::*;
use super::{SRIOV, read, sriov_function, write};

#[test]
fn wrong_descriptions_are_refused() {
    let wrong = [
        SriovCapability { total: 0, ..SRIOV },
        SriovCapability { ari: (0, 2), ..SRIOV },
        SriovCapability { plain: (0, 2), ..SRIOV },
        SriovCapability { ari: (1, 0), ..SRIOV },
        SriovCapability { bars: [Some(Bar::io(4)), None, None, None, None, None], ..SRIOV },
        SriovCapability { bars: [None, None, None, None, None, Some(Bar::memory64(4096))], ..SRIOV },
        SriovCapability { bars: [Some(Bar::memory32(5000)), None, None, None, None, None], ..SRIOV },
    ];
    for capability in wrong {
        assert!(capability.layout().is_err(), "{capability:?}");
    }
    // One virtual function needs no stride.
    assert!(SriovCapability { total: 1, ari: (1, 0), ..SRIOV }.layout().is_ok());
}

/// Where the memory of virtual functions lies: VF Enable, VF MSE, NumVFs, System Page Size.
#[test]
fn apertures() -> Result<(), ConfigError> {
    let bars = [Some(Bar::memory32(1 << 14)), Some(Bar::memory64(1 << 20)), None, None, None, None];
    let shape = SriovCapability { bars, ..SRIOV };
    let mut space = super::physical_function()?;
    let at = space.add(&shape)?;
    write(&mut space, at + 0x24, 0xe010_0000);
    write(&mut space, at + 0x28, 0x8000_0000);
    write(&mut space, at + 0x2c, 0x21);
    #[rustfmt::skip]
    let cases = [
        // control, NumVFs, page, number and apertures
        (0x00, 4,  1,    0,  vec![]),
        (0x08, 4,  1,    0,  vec![]),
        (0x01, 4,  1,    4,  vec![]),
        (0x09, 0,  1,    0,  vec![]),
        (0x09, 4,  1,    4,  vec![(0, 0xe010_0000, 1 << 14), (1, 0x21_8000_0000, 1 << 20)]),
        (0x09, 99, 1,    16, vec![(0, 0xe010_0000, 1 << 14), (1, 0x21_8000_0000, 1 << 20)]),
        (0x09, 4,  0x10, 4,  vec![(0, 0xe010_0000, 1 << 16), (1, 0x21_8000_0000, 1 << 20)]),
        (0x09, 4,  0x400, 4, vec![(0, 0xe000_0000, 1 << 22), (1, 0x21_8000_0000, 1 << 22)]),
    ];
    for (control, number, page, count, expected) in cases {
        write(&mut space, at + 0x08, 0);
        write(&mut space, at + 0x10, number);
        write(&mut space, at + 0x20, page);
        assert!(write(&mut space, at + 0x08, control).contains(Changed::SRIOV) || control == 0);
        assert_eq!(space.vfs_enabled(), count);
        let seen: Vec<_> =
            space.vf_apertures(&shape).iter().map(|aperture| (aperture.index, aperture.base, aperture.size)).collect();
        assert_eq!(seen, expected, "control {control:#x}, {number} of page {page:#x}");
    }
    // In D3hot the physical function decodes nothing, and so do its virtual ones.
    write(&mut space, 0x44, 3);
    assert_eq!(space.vf_apertures(&shape), []);
    Ok(())
}

#[test]
fn what_is_kept_by_resets() -> Result<(), ConfigError> {
    for (kind, control) in [(Reset::FunctionLevel, 0x10), (Reset::Hot, 0), (Reset::Fundamental, 0)] {
        let mut space = sriov_function()?;
        let at = space.find(CapabilityId::SRIOV).expect("added");
        write(&mut space, at + 0x10, 3);
        write(&mut space, at + 0x08, 0x19);
        space.review_sriov(&SRIOV, true);
        assert_eq!((space.vfs_enabled(), space.vf_placement()), (3, (2, 2)));
        space.reset(kind);
        space.review_sriov(&SRIOV, space.ari_capable_hierarchy());
        assert_eq!((read(&space, at + 0x08), read(&space, at + 0x10)), (control, 0), "{kind:?}");
        assert_eq!(space.vf_placement().0, if control == 0 { 0x100 } else { 2 });
    }
    Ok(())
}

#[test]
fn without_the_capability() -> Result<(), ConfigError> {
    let mut space = super::physical_function()?;
    space.review_sriov(&SRIOV, true);
    assert_eq!((space.vfs_enabled(), space.vf_placement(), space.ari_capable_hierarchy()), (0, (0, 0), false));
    assert_eq!((space.vf_apertures(&SRIOV), space.ari_next_function()), (vec![], None));
    assert_eq!(sriov_function()?.ari_next_function(), Some(1));
    Ok(())
}
