//! Functions of one guest that are told apart.

use mlx5_twin_model::profile::Profile;

/// Gives a function whose GUIDs or MAC address another before it has the next ones that are free: Linux takes functions of the same
/// system image GUID for ports of one card, and GIDs and addresses must be different in any case.
pub fn tell_apart(profiles: &mut [&mut Profile]) {
    for index in 1..profiles.len() {
        let (before, rest) = profiles.split_at_mut(index);
        let Some(profile) = rest.first_mut() else { return };
        while before.iter().any(|other| alike(other, profile)) {
            next(profile);
        }
    }
}

/// Whether two functions have something in common that only one may have.
fn alike(one: &Profile, other: &Profile) -> bool {
    let guids = |profile: &Profile| {
        let device = &profile.device;
        let own = [device.node_guid, device.system_image_guid, device.port_guid];
        own.into_iter().chain(profile.port.alias_guids.iter().copied()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (guids(one), guids(other));
    let address = |profile: &Profile| profile.ethernet.as_ref().and_then(|ethernet| ethernet.address().ok());
    ours.iter().any(|guid| theirs.contains(guid)) || address(one).is_some() && address(one) == address(other)
}

/// The numbers after those that a function has. None is 0, and an address stays unicast.
fn next(profile: &mut Profile) {
    let device = &mut profile.device;
    let own = [&mut device.node_guid, &mut device.system_image_guid, &mut device.port_guid];
    for guid in own.into_iter().chain(&mut profile.port.alias_guids) {
        *guid = guid.checked_add(1).unwrap_or(1);
    }
    if let Some(ethernet) = &mut profile.ethernet {
        // Only the lower half counts up: the upper half says whose the address is, and that it's unicast.
        let address = ethernet.address().unwrap_or(1);
        let bytes = (address & !0xff_ffff | (address + 1) & 0xff_ffff).max(1).to_be_bytes();
        ethernet.mac = bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_model::profile::Ethernet;

    use super::*;

    fn profile(guid: u64, mac: Option<&str>) -> Profile {
        let mut profile = Profile::default();
        let device = &mut profile.device;
        (device.node_guid, device.system_image_guid, device.port_guid) = (guid, guid, guid);
        profile.ethernet = mac.map(|mac| Ethernet { mac: mac.to_owned(), ..Ethernet::default() });
        profile
    }

    #[test]
    fn what_is_different_stays_and_what_is_alike_counts_up() {
        let ff = Some("02:00:00:ff:ff:ff");
        let mut all = [
            profile(7, None),
            profile(9, ff),
            profile(7, ff),
            profile(7, None),
            profile(u64::MAX, None),
            profile(u64::MAX, None),
        ];
        tell_apart(&mut all.each_mut());
        let shown = all.each_ref().map(|profile| {
            profile.validate_identity();
            (profile.device.node_guid, profile.ethernet.as_ref().map(|ethernet| ethernet.mac.as_str()))
        });
        let expected = [(7, None), (9, ff), (8, Some("02:00:00:00:00:00")), (10, None), (u64::MAX, None), (1, None)];
        assert_eq!(shown, expected);
    }

    trait Valid {
        fn validate_identity(&self);
    }

    impl Valid for Profile {
        fn validate_identity(&self) {
            self.device.validate().expect("GUIDs");
            assert!(self.ethernet.as_ref().is_none_or(|ethernet| ethernet.validate().is_ok()));
        }
    }
}
