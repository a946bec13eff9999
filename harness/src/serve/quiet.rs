//! Panics of a library that takes bad input for impossible: they end what was going on, and say so in the log only.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls `act`. `None` if it panicked; nothing of that is printed, unless [`loudly`] says so. Panics of other threads are what they were.
pub(super) fn quietly<T>(act: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                tracing::debug!("{panic}");
            } else {
                before(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(act)).ok();
    QUIET.set(before);
    result
}

/// Calls `act`, which has no excuse: a panic in it is printed, and goes on.
pub(super) fn loudly<T>(act: impl FnOnce() -> T) -> T {
    let before = QUIET.replace(false);
    let result = act();
    QUIET.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::{QUIET, loudly, quietly};

    #[test]
    fn a_panic_is_an_end() {
        assert_eq!(quietly(|| 5), Some(5));
        assert_eq!(quietly(|| quietly(|| panic!("inside")).unwrap_or(3)), Some(3));
        assert_eq!(quietly(|| panic!("nobody reads this")), None::<()>);
        assert!(!QUIET.get());
        let states = quietly(|| (QUIET.get(), loudly(|| QUIET.get()), QUIET.get()));
        assert_eq!(states, Some((true, false, true)));
    }
}
