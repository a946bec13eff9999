//! The channel as one of a group: exports, primary and secondary, and what the next one needs to know.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{emulated_function, tlp_channel};
use mlx5_twin_fw_cmds::twin_v1::{channel as numbers, power};
use mlx5_twin_sim::config::PowerState;
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::Bdf;

use super::super::{Error, Export, Role, Snooped, Waited};
use super::TwinV1;
use crate::backend::Wake;

impl TwinV1 {
    fn modify(&self, select: u64, field: Field, value: u64) -> Result<(), Error> {
        let mut context = vec![0; tlp_channel::SIZE];
        tlp_channel::MODIFY_FIELD_SELECT.set(&mut context, select)?;
        field.set(&mut context, value)?;
        self.channel()?.modify(self.backend.as_ref(), &context)
    }

    fn query(&self) -> Result<Vec<u8>, Error> {
        self.channel()?.query(self.backend.as_ref(), tlp_channel::SIZE)
    }

    /// Sets a new key, or none.
    pub(super) fn set_export(&mut self, exported: bool) -> Result<Export, Error> {
        let channel = self.channel()?.id();
        // Against mistakes, not against attacks: who can guess the time can guess the key. In a simulation it's the same each time.
        self.exports += 1;
        let seed = (self.backend.now().as_nanos() as u64).wrapping_add(self.exports) ^ u64::from(channel) << 48;
        let key = if exported { Rng::stream(seed, "twin-v1 export").next_u64().max(1) } else { 0 };
        self.modify(numbers::SELECT_EXPORT_KEY, tlp_channel::EXPORT_KEY, key)?;
        Ok(Export { channel, key })
    }

    pub(super) fn set_state(&mut self, primary: bool) -> Result<(), Error> {
        let state = if primary { numbers::PRIMARY } else { numbers::SECONDARY };
        self.modify(numbers::SELECT_STATE, tlp_channel::STATE, u64::from(state))
    }

    pub(super) fn query_role(&self) -> Result<Role, Error> {
        let context = self.query()?;
        let primary = tlp_channel::PRIMARY_ID.get(&context)?;
        Ok(match tlp_channel::STATE.get(&context)? as u8 {
            numbers::PRIMARY => Role::Primary,
            _ if primary == 0 => Role::Vacant,
            _ => Role::Secondary,
        })
    }

    /// Frees all that was taken. The answer to the query comes from a device that has seen the store before it.
    pub(super) fn free_all(&mut self) -> Result<bool, Error> {
        self.gateway.consumer(self.ring.release())?;
        let context = self.query()?;
        Ok(tlp_channel::PRODUCER_INDEX.get(&context)? == tlp_channel::CONSUMER_INDEX.get(&context)?)
    }

    pub(super) fn wait_vacant(&mut self) -> Result<Waited, Error> {
        loop {
            // Armed before the look, so that a primary that goes in between gives an event.
            self.gateway.arm(self.ring.release())?;
            if self.query_role()? != Role::Secondary {
                return Ok(Waited::Woken);
            }
            if self.backend.wait(None)? == Wake::Silent {
                return Ok(Waited::Silent);
            }
        }
    }

    pub(super) fn query_snooped(&self, port: u16) -> Result<Snooped, Error> {
        let object = self.function(port)?.object.ok_or(Error::NoFunction(port))?;
        let context = object.query(self.backend.as_ref(), emulated_function::SIZE)?;
        let number = |field: Field| field.get(&context).map(|value| value as u16);
        let mut bars = [0; 6];
        for (index, bar) in bars.iter_mut().enumerate() {
            *bar = emulated_function::BAR_VALUES.get(&context, index)? as u32;
        }
        Ok(Snooped {
            id: Bdf(number(emulated_function::FUNCTION_ID)?),
            command: number(emulated_function::COMMAND)?,
            msix_control: number(emulated_function::MSIX_CONTROL)?,
            device_control: number(emulated_function::DEVICE_CONTROL)?,
            bars,
            expansion_rom: emulated_function::ROM_VALUE.get(&context)? as u32,
            power: match emulated_function::POWER_STATE.get(&context)? as u8 {
                power::D3HOT => PowerState::D3Hot,
                _ => PowerState::D0,
            },
        })
    }
}
