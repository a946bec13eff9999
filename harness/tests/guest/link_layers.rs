//! Both link layers: an Ethernet port by itself, and beside an InfiniBand port in one guest.

use mlx5_twin_harness::profile;

use crate::driver::{complaints, nothing_is_alive, nothing_is_left};
use crate::rig::Guest;

/// The network interface is set up, used and taken down, twice; then the drivers go. Packets go to nobody.
const ROUNDS: &str = r#"
set -e
field() { ibv_devinfo -d mlx5_0 | sed -n "s/^[[:space:]]*$1:[[:space:]]*//p"; }
echo "mac $(cat /sys/class/net/eth0/address)"
echo "driver $(ethtool -i eth0 | sed -n 's/^driver: //p')"
echo "layer $(field link_layer) $(ls /dev/infiniband/uverbs0)"
rdma dev | grep -q '^0: mlx5_0: node_type ca protocol roce'
up_and_down() {
    ip link set eth0 up
    for _ in $(seq 100); do [ "$(field state)" = "PORT_ACTIVE (4)" ] && break; sleep 0.05; done
    echo "state $(field state) $(cat /sys/class/net/eth0/carrier)"
    [ "$(cat /sys/class/infiniband/mlx5_0/ports/1/gids/0)" != "0000:0000:0000:0000:0000:0000:0000:0000" ]
    ip addr replace 192.0.2.1/24 dev eth0
    ping -c 1 -W 1 192.0.2.2 >/dev/null &
    ethtool -S eth0 >/dev/null
    for _ in $(seq 100); do [ "$(cat /sys/class/net/eth0/statistics/tx_packets)" -gt 0 ] && break; sleep 0.05; done
    [ "$(cat /sys/class/net/eth0/statistics/tx_packets)" -gt 0 ]
    ip link set eth0 down
    echo "down $(field state)"
}
up_and_down
ip link set eth0 mtu 9000
up_and_down
rmmod rdma_ucm ib_umad
rmmod mlx5_ib mlx5_core
dmesg
"#;

#[test]
fn an_ethernet_port_comes_and_goes() {
    let Some(guest) = Guest::new() else { return };
    let result = guest.arguments(&["--profile", "bluefield3-eth"]).json(ROUNDS);
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    let text = result["stdout"].as_str().unwrap();
    let loaded = profile::load(Some("bluefield3-eth".as_ref())).expect("is built in").profile;
    let mac = loaded.ethernet.expect("has a section [ethernet]").mac;
    let expected = [
        format!("mac {mac}"),
        "driver mlx5_core".to_owned(),
        "layer Ethernet /dev/infiniband/uverbs0".to_owned(),
        "state PORT_ACTIVE (4) 1".to_owned(),
        "down PORT_DOWN (1)".to_owned(),
        "state PORT_ACTIVE (4) 1".to_owned(),
        "down PORT_DOWN (1)".to_owned(),
    ];
    let (log, told): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('['));
    assert_eq!(told, expected, "{text}");
    assert_eq!(complaints(&log.join("\n"), &[]), [""; 0]);
    assert_eq!((&result["device"]["interface"], &result["warnings"]), (&"eth0".into(), &serde_json::json!([])));
    nothing_is_left(&result["server"], 1);
}

/// Address handles of RoCE, and queue pairs of raw packets.
#[test]
fn rdma_cores_tests_of_ethernet_pass() {
    let Some(guest) = Guest::new() else { return };
    let guest = guest.arguments(&["--profile", "bluefield3-eth"]);
    let result = guest.list("../tests/rdma-core/control-plane-eth.txt");
    assert_eq!(result["findings"], serde_json::json!([]), "{result:#}");
    assert_eq!((&result["passed"], &result["server"]["unknown"]), (&9.into(), &serde_json::json!([])));
}

/// Two functions have their own devices, in the order in which they were given.
#[test]
fn both_link_layers_are_in_one_guest() {
    let Some(guest) = Guest::new() else { return };
    let script = "for device in mlx5_0 mlx5_1; do cat /sys/class/infiniband/$device/ports/1/link_layer; done; \
                  rmmod rdma_ucm ib_umad; rmmod mlx5_ib mlx5_core; dmesg";
    let result = guest.arguments(&["--profile", "bluefield3-ib", "--profile", "bluefield3-eth"]).json(script);
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    let text = result["stdout"].as_str().unwrap();
    assert!(text.starts_with("InfiniBand\nEthernet\n"), "{text}");
    assert_eq!(complaints(text, &[]), [""; 0]);
    let second = &result["others"][0];
    for (device, name, layer) in
        [(&result["device"], "mlx5_0", "InfiniBand"), (&second["device"], "mlx5_1", "Ethernet")]
    {
        assert_eq!((&device["name"], &device["link_layer"]), (&name.into(), &layer.into()), "{device:#}");
    }
    for server in [&result["server"], &second["server"]] {
        nothing_is_left(server, 1);
    }
}

/// Twice the same profile gives two functions that are told apart.
#[test]
fn the_same_profile_twice_is_two_functions() {
    let Some(guest) = Guest::new() else { return };
    let guest = guest.arguments(&["--profile", "bluefield3-ib", "--profile", "bluefield3-ib"]);
    let result = guest.json("rmmod rdma_ucm ib_umad; rmmod mlx5_ib mlx5_core");
    assert_eq!(result["warnings"], serde_json::json!([]));
    let guids = [&result["device"]["node_guid"], &result["others"][0]["device"]["node_guid"]];
    assert_eq!(guids, ["0002:c903:00aa:bbcc", "0002:c903:00aa:bbcd"]);
    nothing_is_alive(&result["others"][0]["server"]);
}
