//! The response gateway page: what is stored there, and in which order.

use std::sync::Arc;

use mlx5_twin_fw_cmds::layout::gateway_post;
use mlx5_twin_fw_cmds::twin_v1::gateway::{ARM, CONSUMER, END, HEADER, PAYLOAD, POST};
use mlx5_twin_sim::tlp::Header;

use super::super::Error;
use crate::backend::{self, DevicePage};

/// A staging area, and what it's known to hold: the device keeps that until it's overwritten, so equal parts aren't stored again.
#[derive(Debug)]
struct Staging {
    offset: usize,
    /// Its first bytes, a multiple of 4. What follows is unknown.
    held: Vec<u8>,
}

impl Staging {
    fn new(offset: u64) -> Staging {
        Staging { offset: offset as usize, held: Vec::new() }
    }

    /// Makes it hold `bytes`, a multiple of 4.
    fn stage(&mut self, page: &dyn DevicePage, bytes: &[u8]) -> Result<(), backend::Error> {
        let result = self.store(page, bytes);
        if result.is_ok() {
            if self.held.len() < bytes.len() {
                self.held.resize(bytes.len(), 0);
            }
            self.held[..bytes.len()].copy_from_slice(bytes);
        } else {
            self.held.clear();
        }
        result
    }

    fn store(&self, page: &dyn DevicePage, bytes: &[u8]) -> Result<(), backend::Error> {
        let (quads, rest) = bytes.as_chunks::<8>();
        for (number, quad) in quads.iter().enumerate() {
            let at = number * 8;
            if self.held.get(at..at + 8) != Some(quad) {
                page.store64(self.offset + at, *quad)?;
            }
        }
        let at = quads.len() * 8;
        if let Some(dword) = rest.first_chunk::<4>()
            && self.held.get(at..at + 4) != Some(dword)
        {
            page.store32(self.offset + at, *dword)?;
        }
        Ok(())
    }
}

/// The page of one channel.
#[derive(Debug)]
pub(super) struct Gateway {
    page: Arc<dyn DevicePage>,
    header: Staging,
    payload: Staging,
}

impl Gateway {
    pub(super) fn new(page: Arc<dyn DevicePage>) -> Result<Gateway, Error> {
        let (len, needs) = (page.len(), END as usize);
        if len < needs {
            return Err(Error::TooSmall { what: "response gateway page", len, needs });
        }
        Ok(Gateway { page, header: Staging::new(HEADER), payload: Staging::new(PAYLOAD) })
    }

    pub(super) fn page_id(&self) -> u32 {
        self.page.page_id()
    }

    /// Frees the slots before `index`.
    pub(super) fn consumer(&self, index: u32) -> Result<(), Error> {
        Ok(self.page.store32(CONSUMER as usize, index.to_be_bytes())?)
    }

    /// Frees the slots before `index`, and asks for an event.
    pub(super) fn arm(&self, index: u32) -> Result<(), Error> {
        Ok(self.page.store32(ARM as usize, index.to_be_bytes())?)
    }

    /// Stages header and payload, and posts them. The payload is a multiple of 4 and fits the page.
    pub(super) fn post(
        &mut self,
        kind: u8,
        port: u16,
        id: u32,
        header: Option<&Header>,
        payload: &[u8],
    ) -> Result<(), Error> {
        let room = (END - PAYLOAD) as usize;
        if payload.len() > room || !payload.len().is_multiple_of(4) {
            let (value, most) = (payload.len() as u64, room as u64);
            return Err(Error::Limit { what: "payload bytes of a response, in whole dwords", value, least: 0, most });
        }
        if let Some(header) = header {
            let mut bytes = [0; 16];
            let len = header.encode(&mut bytes);
            self.header.stage(self.page.as_ref(), &bytes[..len])?;
        }
        self.payload.stage(self.page.as_ref(), payload)?;
        let mut post = [0; gateway_post::SIZE];
        gateway_post::KIND.set(&mut post, u64::from(kind))?;
        gateway_post::FUNCTION.set(&mut post, u64::from(port & 0xff))?;
        gateway_post::FUNCTION_HIGH.set(&mut post, u64::from(port >> 8))?;
        gateway_post::LENGTH.set(&mut post, payload.len() as u64)?;
        gateway_post::ID.set(&mut post, u64::from(id))?;
        Ok(self.page.store64(POST as usize, post)?)
    }
}
