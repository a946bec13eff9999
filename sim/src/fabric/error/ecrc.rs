//! Digests: made by who sends a TLP, checked by who receives it, if AER's control says so (base specification 2.7.1).

use crate::fabric::TlpId;
use crate::fabric::core::Core;
use crate::fabric::ids::PortId;
use crate::tlp::{Header, Prefixes, ecrc};

impl Core {
    /// Whether a TLP has the digest that it should have. `None` if it has none.
    pub(in crate::fabric) fn digest_is_right(&self, tlp: TlpId) -> Option<bool> {
        let slot = self.arena.slot(tlp);
        let digest = self.arena.extra(slot)?.digest?;
        let prefixes = Prefixes::parse(self.prefixes(tlp)).unwrap_or_default();
        Some(u32::from_be_bytes(digest) == ecrc(&prefixes, &slot.header, self.arena.payload(tlp)))
    }

    /// As [`Core::send`], for paths that few TLPs take: it isn't copied into each of them.
    #[inline(never)]
    pub(in crate::fabric) fn pass_on(&mut self, port: PortId, tlp: TlpId) {
        self.send(port, tlp);
    }

    /// As [`Core::send_new`], with a digest if `digest` is set.
    pub fn send_with_digest(&mut self, port: PortId, header: Header, payload: &[u8], digest: bool) {
        if !digest {
            return self.send_new(port, header, payload);
        }
        self.send_digested(port, header, |room| {
            let len = room.len().min(payload.len());
            room.fill(0);
            room[..len].copy_from_slice(&payload[..len]);
        });
    }

    /// Makes a TLP whose payload `fill` writes, with a digest, and sends it from `port`.
    #[cold]
    pub(in crate::fabric) fn send_digested(&mut self, port: PortId, mut header: Header, fill: impl FnOnce(&mut [u8])) {
        header.set_td(true);
        let tlp = self.create(header);
        fill(self.payload_mut(tlp));
        self.add_digest(tlp);
        self.pass_on(port, tlp);
    }

    /// Gives a TLP without prefixes that isn't sent yet a digest.
    pub(in crate::fabric) fn digest(&mut self, tlp: TlpId) {
        let mut header = *self.header(tlp);
        header.set_td(true);
        self.rewrite(tlp, header);
        self.add_digest(tlp);
    }

    /// Gives a TLP that isn't sent yet, and whose header says that it has one, its digest.
    pub(in crate::fabric) fn add_digest(&mut self, tlp: TlpId) {
        let header = *self.header(tlp);
        let prefixes = Prefixes::parse(self.prefixes(tlp)).unwrap_or_default();
        let digest = ecrc(&prefixes, &header, self.payload(tlp)).to_be_bytes();
        let mut bytes = [0; 32];
        let before = self.prefixes(tlp);
        let len = before.len();
        bytes[..len].copy_from_slice(before);
        // There are no more prefixes than there were.
        let _ = self.decorate(tlp, &bytes[..len], Some(digest));
    }
}
