//! QUERY_PAGES, MANAGE_PAGES: host memory that the driver lends the firmware.

use mlx5_twin_fw_cmds::constants::{
    MANAGE_PAGES_CANT_GIVE, MANAGE_PAGES_GIVE, MANAGE_PAGES_TAKE, QUERY_PAGES_BOOT, QUERY_PAGES_INIT,
    QUERY_PAGES_REGULAR,
};
use mlx5_twin_fw_cmds::layout::{manage_pages_in, manage_pages_out, query_pages_in, query_pages_out};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::State;

/// Bytes of an address in the list of pages.
const ADDRESS_BYTES: usize = 8;

/// Answers how many pages are still missing for the stage. The regular pages are those that an event has asked for, or as a
/// negative number those it has offered back; after TEARDOWN_HCA all that are to be taken back.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_pages_in::{EMBEDDED_CPU_FUNCTION, FUNCTION_ID};
    own_function(command, &[EMBEDDED_CPU_FUNCTION, FUNCTION_ID])?;
    let number = |pages: usize| i32::try_from(pages).map_err(|_| Failure::INTERNAL);
    let held = &firmware.resources.pages;
    let given = number(held.given())?;
    let wanted = firmware.profile.pages;
    let pages = match command.op_mod() {
        QUERY_PAGES_BOOT => (wanted.boot - given).max(0),
        QUERY_PAGES_INIT => (wanted.boot + wanted.init - given).max(0),
        QUERY_PAGES_REGULAR if firmware.state == State::TornDown => -given,
        QUERY_PAGES_REGULAR if held.asked() > 0 => number(held.asked())?,
        QUERY_PAGES_REGULAR => -number(held.offered())?,
        _ => return Err(Failure::OP_MOD),
    };
    answer.set(query_pages_out::NUM_PAGES, pages.cast_unsigned())?;
    Ok(Effect::None)
}

/// Gives pages, takes them back, or tells that there are none to give. While the function is initialised only pages that are not
/// needed are handed back.
pub(in super::super) fn manage(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use manage_pages_in::{EMBEDDED_CPU_FUNCTION, FUNCTION_ID};
    own_function(command, &[EMBEDDED_CPU_FUNCTION, FUNCTION_ID])?;
    let entries: u32 = command.get(manage_pages_in::INPUT_NUM_ENTRIES)?;
    match command.op_mod() {
        MANAGE_PAGES_CANT_GIVE => {
            firmware.resources.pages.ask(0);
            Ok(Effect::PagesRefused)
        }
        MANAGE_PAGES_GIVE => {
            let pages = command.list(manage_pages_in::PAS, entries.into())?;
            let wanted = match firmware.state {
                State::Enabled | State::Initialised => firmware.pages_wanted(),
                State::Disabled | State::TornDown => 0,
            };
            firmware.resources.pages.give(&pages, wanted)?;
            firmware.resources.pages.ask(0);
            Ok(Effect::PagesGiven(pages.len()))
        }
        MANAGE_PAGES_TAKE => {
            let count = firmware.pages_spare().min(usize::try_from(entries).unwrap_or(usize::MAX));
            if answer.len() - manage_pages_out::SIZE < count * ADDRESS_BYTES {
                return Err(Failure::OUTPUT_TOO_SHORT);
            }
            let pages = firmware.resources.pages.take(count);
            firmware.resources.pages.offer(0);
            let number = u32::try_from(pages.len()).map_err(|_| Failure::INTERNAL)?;
            answer.set(manage_pages_out::OUTPUT_NUM_ENTRIES, number)?;
            answer.set_list(manage_pages_out::PAS, &pages);
            Ok(Effect::PagesTaken(pages.len()))
        }
        _ => Err(Failure::OP_MOD),
    }
}
