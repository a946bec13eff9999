//! Who gets which event: subscriptions of contexts to objects' events.

use std::collections::{BTreeMap, VecDeque};

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{affiliated_event_header, eqe, eqe_comp, eqe_cq_err, eqe_qp_srq};

use super::devx::QUEUE_TYPE_DCT;
use crate::backend::Event;

/// By what an event finds its subscribers: its type, the kind of its object and the object's number.
pub(super) type Key = (EventType, u16, u32);

#[derive(Clone, Copy, Debug)]
struct Subscription {
    uid: u16,
    /// Which of the context's files waits for it.
    listener: u32,
    /// The object, by its handle.
    handle: u32,
    key: Key,
    cookie: u64,
    /// Whether it's in its context's queue: until it's taken out, further events add nothing.
    queued: bool,
}

/// All subscriptions, and the events that wait for their contexts. As with `MLX5_IB_UAPI_DEVX_CR_EV_CH_FLAGS_OMIT_DATA`, several events of
/// one subscription that wait are one: what waits is bounded by the number of subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    next: u64,
    all: BTreeMap<u64, Subscription>,
    by_key: BTreeMap<Key, Vec<u64>>,
    /// By listener.
    waiting: BTreeMap<u32, VecDeque<u64>>,
}

impl Subscriptions {
    pub(super) fn add(&mut self, uid: u16, listener: u32, handle: u32, key: Key, cookie: u64) {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, Subscription { uid, listener, handle, key, cookie, queued: false });
        self.by_key.entry(key).or_default().push(number);
    }

    /// Removes those of a context for which `gone` is true of the object's handle, and the events that wait for them.
    pub(super) fn remove(&mut self, uid: u16, gone: impl Fn(u32) -> bool) {
        self.retain(|subscription| subscription.uid != uid || !gone(subscription.handle));
    }

    /// A file is closed: removes its subscriptions.
    pub(super) fn close(&mut self, listener: u32) {
        self.retain(|subscription| subscription.listener != listener);
    }

    fn retain(&mut self, keep: impl Fn(&Subscription) -> bool) {
        self.all.retain(|_, subscription| keep(subscription));
        let all = &self.all;
        self.by_key.retain(|_, numbers| {
            numbers.retain(|number| all.contains_key(number));
            !numbers.is_empty()
        });
        self.waiting.retain(|_, numbers| {
            numbers.retain(|number| all.contains_key(number));
            !numbers.is_empty()
        });
    }

    /// An event has come. Whether anybody wanted it.
    pub(super) fn dispatch(&mut self, key: Key) -> bool {
        let Some(numbers) = self.by_key.get(&key) else { return false };
        for number in numbers {
            let Some(subscription) = self.all.get_mut(number).filter(|subscription| !subscription.queued) else {
                continue;
            };
            subscription.queued = true;
            self.waiting.entry(subscription.listener).or_default().push_back(*number);
        }
        true
    }

    /// Takes the first event that waits for a listener.
    pub(super) fn next(&mut self, listener: u32) -> Option<Event> {
        let number = self.waiting.get_mut(&listener)?.pop_front()?;
        let subscription = self.all.get_mut(&number)?;
        subscription.queued = false;
        Some(Event { cookie: subscription.cookie, event_type: subscription.key.0 })
    }
}

/// The object that an event queue entry is about (`get_event_obj_type` and `devx_get_obj_id_from_event` of Linux's `devx.c`).
pub(super) fn key(event: EventType, entry: &[u8]) -> Result<Key, FieldError> {
    const DATA: u32 = eqe::DATA.bits();
    let number24 = |field: Field| Ok::<u32, FieldError>(field.within(DATA).get(entry)? as u32 & 0xff_ffff);
    let queue_number = number24(eqe_qp_srq::QP_SRQ_N);
    Ok(match event {
        EventType::COMP => (event, 0, number24(eqe_comp::CQN)?),
        EventType::WQ_CATAS_ERROR
        | EventType::WQ_ACCESS_ERROR
        | EventType::WQ_INVAL_REQ_ERROR
        | EventType::SRQ_LAST_WQE
        | EventType::PATH_MIG
        | EventType::PATH_MIG_FAILED
        | EventType::COMM_EST
        | EventType::SQ_DRAINED
        | EventType::SRQ_RQ_LIMIT
        | EventType::SRQ_CATAS_ERROR => (event, eqe_qp_srq::TYPE.within(DATA).get(entry)? as u16, queue_number?),
        EventType::CQ_ERROR => (event, 0, number24(eqe_cq_err::CQN)?),
        // `type_xrqn` of `struct mlx5_eqe_xrq_err`, the sixth dword of the data.
        EventType::XRQ_ERROR => {
            (event, 0, number24(Field { layout: "eqe_xrq_err", name: "type_xrqn", offset: 0xa0, width: 0x20 })?)
        }
        // `dctn` of `struct mlx5_eqe_dct` has the place of `qp_srq_n`.
        EventType::DCT_DRAINED | EventType::DCT_KEY_VIOLATION => (event, QUEUE_TYPE_DCT, queue_number?),
        _ => {
            let kind = affiliated_event_header::OBJ_TYPE.within(DATA).get(entry)?;
            (event, kind as u16, affiliated_event_header::OBJ_ID.within(DATA).get(entry)? as u32)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Key = (EventType::OBJECT_CHANGE, 0x7e00, 5);

    #[test]
    fn only_subscribers_get_an_event_and_each_once() {
        let mut events = Subscriptions::default();
        assert!(!events.dispatch(CHANNEL));
        events.add(1, 1, 10, CHANNEL, 111);
        events.add(2, 2, 20, CHANNEL, 222);
        events.add(2, 2, 21, (EventType::OBJECT_CHANGE, 0x7e00, 6), 333);
        assert!(events.dispatch(CHANNEL) && events.dispatch(CHANNEL));
        let event = |cookie| Some(Event { cookie, event_type: EventType::OBJECT_CHANGE });
        assert_eq!((events.next(1), events.next(1)), (event(111), None));
        assert_eq!((events.next(2), events.next(2)), (event(222), None));
        events.dispatch(CHANNEL);
        assert_eq!(events.next(1), event(111));
    }

    #[test]
    fn who_is_gone_gets_nothing() {
        let mut events = Subscriptions::default();
        events.add(1, 1, 10, CHANNEL, 1);
        events.add(1, 1, 11, CHANNEL, 2);
        events.dispatch(CHANNEL);
        events.remove(1, |handle| handle == 10);
        assert_eq!(events.next(1).map(|event| event.cookie), Some(2));
        events.remove(1, |_| true);
        assert!(!events.dispatch(CHANNEL));
        assert!(events.by_key.is_empty() && events.all.is_empty() && events.waiting.is_empty());
    }

    #[test]
    fn each_file_waits_for_its_own() {
        let mut events = Subscriptions::default();
        events.add(1, 7, 10, CHANNEL, 1);
        events.add(1, 8, 10, CHANNEL, 2);
        assert!(events.dispatch(CHANNEL));
        assert_eq!(events.next(8).map(|event| event.cookie), Some(2));
        events.dispatch(CHANNEL);
        events.close(8);
        assert_eq!((events.next(8), events.next(7).map(|event| event.cookie)), (None, Some(1)));
        events.remove(1, |handle| handle == 10);
        assert!(!events.dispatch(CHANNEL));
    }

    /// Entries by hand from the structs of Linux's `device.h`.
    #[test]
    fn entries_name_their_objects() {
        let mut entry = [0; 64];
        entry[0x22..0x24].copy_from_slice(&[0x7e, 0x00]);
        entry[0x24..0x28].copy_from_slice(&[0, 0, 0, 5]);
        assert_eq!(key(EventType::OBJECT_CHANGE, &entry), Ok(CHANNEL));
        entry[0x34] = 2;
        entry[0x38..0x3c].copy_from_slice(&[0xff, 1, 2, 3]);
        assert_eq!(key(EventType::SQ_DRAINED, &entry), Ok((EventType::SQ_DRAINED, 2, 0x01_0203)));
        assert_eq!(key(EventType::COMP, &entry), Ok((EventType::COMP, 0, 0x01_0203)));
        assert_eq!(key(EventType::DCT_DRAINED, &entry), Ok((EventType::DCT_DRAINED, 6, 0x01_0203)));
        assert_eq!(key(EventType::CQ_ERROR, &entry), Ok((EventType::CQ_ERROR, 0, 0x7e00)));
        assert!(key(EventType::COMP, &entry[..8]).is_err());
    }
}
