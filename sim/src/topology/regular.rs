//! Regular shapes, for tests and benches.

use super::{Body, Endpoint, Node, Root, Switch, Topology};

/// Trees that are all alike: below each root complex one switch, `depth` levels of switches in all, each with `fan_out` links below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// Root complexes.
    pub roots: u16,
    /// Levels of switches. With 0, `fan_out` endpoints are at the root ports.
    pub depth: u16,
    /// Links below each switch, or below each root complex if there are no switches.
    pub fan_out: u16,
    /// What each endpoint is.
    pub endpoint: Endpoint,
}

impl Regular {
    /// How many endpoints there are: `roots` times `fan_out` to the power of `depth`, or of 1 without switches.
    pub fn endpoints(&self) -> u64 {
        u64::from(self.roots) * u64::from(self.fan_out).saturating_pow(u32::from(self.depth.max(1)))
    }

    /// The topology. The root complexes are called `root`, the switches of level n from 1 on `level<n>-`, the endpoints `end`, each with its number.
    pub fn topology(&self) -> Topology {
        let root = Root { count: Some(self.roots), ..Root::new("root") };
        let node = |name: String, above: &str, count, body| Node {
            name,
            above: above.to_owned(),
            count: Some(count),
            link: None,
            slot: None,
            max_payload: None,
            body,
        };
        let mut nodes: Vec<Node> = Vec::new();
        for level in 1..=self.depth {
            let above = nodes.last().map_or("root", |switch| &switch.name).to_owned();
            let count = if level == 1 { 1 } else { self.fan_out };
            nodes.push(node(format!("level{level}-"), &above, count, Body::Switch(Switch::default())));
        }
        let above = nodes.last().map_or("root", |switch| &switch.name).to_owned();
        nodes.push(node("end".to_owned(), &above, self.fan_out, Body::Endpoint(self.endpoint)));
        Topology { roots: vec![root], nodes, ..Topology::default() }
    }
}
