//! Credits that are short.

use mlx5_twin_sim::profile::Credits;
use proptest::prelude::*;

/// The smallest credits that a link or channel may have for payloads of 128 bytes: one header, and the data of one TLP.
pub(crate) const SMALLEST: Credits = Credits {
    posted_headers: 1,
    posted_data: 8,
    nonposted_headers: 1,
    nonposted_data: 8,
    completion_headers: 1,
    completion_data: 8,
};

/// Few credits, or infinite ones, enough for payloads of 128 bytes.
pub(crate) fn credits() -> impl Strategy<Value = Credits> {
    let headers = || prop_oneof![3 => 1..4u32, 1 => Just(0)];
    let data = || prop_oneof![3 => 8..20u32, 1 => Just(0)];
    (headers(), data(), headers(), data(), headers(), data()).prop_map(|(ph, pd, nh, nd, ch, cd)| Credits {
        posted_headers: ph,
        posted_data: pd,
        nonposted_headers: nh,
        nonposted_data: nd,
        completion_headers: ch,
        completion_data: cd,
    })
}
