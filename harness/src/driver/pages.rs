//! Memory that the firmware asks for: pages of 4 KiB, lent by MANAGE_PAGES and taken back at the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mlx5_twin_fw_cmds::constants::{ADAPTER_PAGE_SIZE, MANAGE_PAGES_CANT_GIVE, MANAGE_PAGES_GIVE, MANAGE_PAGES_TAKE};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{eqe, eqe_page_req, manage_pages_in, manage_pages_out};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::command::{Command, HEADER};
use super::door::{Dma, Door};
use crate::backend::Error;

/// Pages that are asked back at once, so that the answer stays small.
pub(super) const MOST_AT_ONCE: usize = 4096;
/// Requests of the device that may wait. A device that has more of them open isn't sane.
const MOST_REQUESTS: usize = 64;

/// What a MANAGE_PAGES command under way is for.
#[derive(Debug)]
enum Transfer {
    /// These pages are given.
    Give(Vec<Dma>),
    /// Some are taken back, so many at most.
    Take(usize),
    /// The device is told that there are none.
    Refuse,
}

/// The pages that the device has.
#[derive(Debug, Default)]
pub(super) struct Pages {
    lent: BTreeMap<u64, Dma>,
    requests: VecDeque<(u16, i32)>,
    under_way: Option<Transfer>,
}

fn manage(function: u16, op_mod: u16, count: usize) -> Result<Command, Error> {
    Command::new(Opcode::MANAGE_PAGES, HEADER)?
        .op_mod(op_mod)?
        .set(manage_pages_in::FUNCTION_ID, u64::from(function))?
        .set(manage_pages_in::INPUT_NUM_ENTRIES, count as u64)
}

/// The command that takes back up to `count` pages, and the length of its output.
pub(super) fn take(function: u16, count: usize) -> Result<(Command, usize), Error> {
    Ok((manage(function, MANAGE_PAGES_TAKE, count)?, manage_pages_out::SIZE + count * 8))
}

/// Memory for `count` pages, and the command that gives them.
pub(super) fn give(door: &Arc<dyn Door>, function: u16, count: usize) -> Result<(Vec<Dma>, Command), Error> {
    let mut pages = Vec::new();
    for _ in 0..count {
        pages.push(Dma::new(door, ADAPTER_PAGE_SIZE)?);
    }
    let command =
        manage(function, MANAGE_PAGES_GIVE, count)?.list(manage_pages_in::PAS, pages.iter().map(Dma::iova))?;
    Ok((pages, command))
}

/// The command that says that there are no pages to give.
pub(super) fn refuse(function: u16) -> Result<Command, Error> {
    manage(function, MANAGE_PAGES_CANT_GIVE, 0)
}

impl Pages {
    /// How many pages the device has.
    pub(super) fn lent(&self) -> usize {
        self.lent.len()
    }

    /// The device has these now.
    pub(super) fn add(&mut self, pages: Vec<Dma>) {
        self.lent.extend(pages.into_iter().map(|page| (page.iova(), page)));
    }

    /// The device has given pages back: gives how many. `asked`: how many there may be.
    pub(super) fn returned(&mut self, output: &[u8], asked: usize) -> Result<usize, Error> {
        let count = manage_pages_out::OUTPUT_NUM_ENTRIES.get(output)? as usize;
        if count > asked {
            return Err(Error::Device(format!("MANAGE_PAGES gave back {count} pages, {asked} were asked for")));
        }
        for index in 0..count {
            let address = manage_pages_out::PAS.get(output, index)?;
            if self.lent.remove(&address).is_none() {
                return Err(Error::Device(format!(
                    "MANAGE_PAGES gave back a page at {address:#x} that it doesn't have"
                )));
            }
        }
        Ok(count)
    }

    /// The device asks for pages (`num_pages` above 0) or offers some back (below 0), by an event.
    pub(super) fn requested(&mut self, entry: &[u8]) -> Result<(), Error> {
        let get = |field: Field| field.within(eqe::DATA.bits()).get(entry);
        let function = get(eqe_page_req::FUNC_ID)? as u16;
        let count = get(eqe_page_req::NUM_PAGES)? as u32 as i32;
        if self.requests.len() == MOST_REQUESTS {
            return Err(Error::Device(format!("the device has more than {MOST_REQUESTS} requests for pages open")));
        }
        self.requests.push_back((function, count));
        Ok(())
    }

    /// The command that answers the next request, and the length of its output.
    pub(super) fn next_answer(&mut self, door: &Arc<dyn Door>) -> Result<Option<(Command, usize)>, Error> {
        let Some((function, count)) = self.requests.pop_front() else { return Ok(None) };
        let size = manage_pages_out::SIZE;
        let (transfer, command, output_len) = if count < 0 {
            let count = (count.unsigned_abs() as usize).min(self.lent.len()).min(MOST_AT_ONCE);
            let (command, output_len) = take(function, count)?;
            (Transfer::Take(count), command, output_len)
        } else {
            match give(door, function, count as usize) {
                Ok((pages, command)) => (Transfer::Give(pages), command, size),
                Err(Error::NoMemory { .. }) => (Transfer::Refuse, refuse(function)?, size),
                Err(error) => return Err(error),
            }
        };
        self.under_way = Some(transfer);
        Ok(Some((command, output_len)))
    }

    /// Such a command has completed.
    pub(super) fn answered(&mut self, answer: Result<Vec<u8>, Error>) -> Result<(), Error> {
        let transfer = self.under_way.take();
        let output = answer?;
        match transfer {
            Some(Transfer::Give(pages)) => self.add(pages),
            Some(Transfer::Take(asked)) => drop(self.returned(&output, asked)?),
            Some(Transfer::Refuse) | None => {}
        }
        Ok(())
    }
}
