//! Mistakes of emulation software, made on purpose: what the device counts, and what a host sees of them.
//!
//! [`Faulty`] stands between the emulation API, whose checks would prevent most of them, and a [`ChannelProtocol`]: it spoils what goes through by
//! rule. [`while_running`] has a program run so, which needn't know of it.

mod faulty;
mod plan;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;

pub use faulty::Faulty;
pub use plan::{Injection, InjectionError, Mistake, Outcome, Plan, When};

use super::{ChannelProtocol, Error, Export, Settings};
use crate::backend::Backend;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
}

/// Takes the plan back when the program ends, however it ends.
struct Restore(Option<Arc<Plan>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Runs a program: every channel that the emulation API opens meanwhile in this thread makes the mistakes of the plan.
pub fn while_running<T>(plan: &Arc<Plan>, program: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(Some(Arc::clone(plan))));
    program()
}

/// Opens or imports a channel for the emulation API: with mistakes, if there's a plan for some.
pub(crate) fn open<P: ChannelProtocol + 'static>(
    backend: Arc<dyn Backend>,
    export: Option<&Export>,
    settings: &Settings,
) -> Result<Box<dyn ChannelProtocol>, Error> {
    let plan = CURRENT.with_borrow(Clone::clone);
    let unchecked = settings.unchecked || plan.as_ref().is_some_and(|plan| plan.is_unchecked());
    let settings = Settings { unchecked, ..*settings };
    let protocol = match export {
        Some(export) => P::import(backend, export, &settings)?,
        None => P::open(backend, &settings)?,
    };
    Ok(match plan {
        Some(plan) => Box::new(Faulty::new(protocol, plan)),
        None => Box::new(protocol),
    })
}
