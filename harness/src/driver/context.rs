//! A user context: what one process that opened the device has, and what it may do with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mlx5_twin_fw_cmds::constants::{
    ADAPTER_PAGE_SIZE, SHARED_RESOURCE_UID, UCTX_CAP_INTERNAL_DEV_RES, UCTX_CAP_RAW_TX,
};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{
    alloc_uar_in, alloc_uar_out, cmd_hca_cap, create_uctx_in, create_uctx_out, dealloc_uar_in, destroy_uctx_in,
    mbox_in, uctx,
};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::command::{Command, HEADER};
use super::devx::{self, Object, Use};
use super::door::{Dma, Progress, Until};
use super::mmap::Entries;
use super::page::{Page, Span};
use super::umem::Umem;
use super::{Driver, umem};
use crate::backend::{
    Backend, DevicePage, Error, Event, ObjectHandle, RegisteredMemory, UmemExport, VarExport, VarKind, Wake,
    check_event_types,
};

/// The longest input or output of a user's command: what an attribute of the kernel's interface can hold.
const LONGEST: usize = u16::MAX as usize;

/// What a context has.
#[derive(Debug)]
pub(super) enum Resource {
    /// A DEVX object.
    Object(Object),
    /// Registered memory, which stays allocated as long as the device may use it.
    Umem { object: Object, memory: Arc<Dma> },
    /// A UAR page; the flag turns false when it's given back.
    Uar { index: u32, mapped: Arc<AtomicBool> },
    /// A VAR page, which stays allocated as long as it's mapped.
    Var,
}

/// The part of a context that the driver's lock protects: its resources by handle. Handles rise with time.
#[derive(Debug, Default)]
pub(super) struct State {
    resources: BTreeMap<u32, Resource>,
    entries: Entries,
}

/// An open context, through one of its files.
#[derive(Debug)]
pub(super) struct Context {
    driver: Arc<Driver>,
    uid: u16,
    /// Which of its files: subscriptions are each one's own.
    listener: u32,
    /// What all its files share. The last one closes the context.
    open: Arc<Open>,
}

/// A context that is closed when this is dropped.
#[derive(Debug)]
struct Open {
    driver: Arc<Driver>,
    uid: u16,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.close(self.uid);
    }
}

impl Driver {
    /// Puts a resource of a context under a new handle.
    pub(super) fn keep(&self, uid: u16, resource: Resource) -> Result<u32, Error> {
        let mut state = self.lock();
        let handle = state.new_handle()?;
        let context = state.contexts.get_mut(&uid).ok_or_else(|| Error::Device("the context is closed".to_owned()))?;
        context.resources.insert(handle, resource);
        Ok(handle)
    }

    /// Destroys a resource of a context. If the device refuses, the context keeps it. `Ok` too if the context doesn't have it any more.
    pub(super) fn release(&self, uid: u16, handle: u32) -> Result<(), Error> {
        let taken = self.lock().contexts.get_mut(&uid).and_then(|context| context.resources.remove(&handle));
        let Some(resource) = taken else { return Ok(()) };
        let destroyed = match &resource {
            Resource::Object(object) | Resource::Umem { object, .. } => {
                self.execute(object.destroy(), HEADER).map(drop)
            }
            Resource::Uar { index, mapped } => {
                // Nothing may be stored to it from now on, even if the device keeps it.
                mapped.store(false, Ordering::Release);
                self.dealloc_uar(uid, *index)
            }
            Resource::Var => {
                let mut state = self.lock();
                let unused = state.contexts.get_mut(&uid).and_then(|context| context.entries.destroy(handle));
                if let Some((kind, index)) = unused {
                    state.vars.free(kind, index);
                }
                Ok(())
            }
        };
        let mut state = self.lock();
        match &destroyed {
            Ok(()) => state.subscriptions.remove(uid, |owner| owner == handle),
            Err(_) => {
                if let Some(context) = state.contexts.get_mut(&uid) {
                    context.resources.insert(handle, resource);
                }
            }
        }
        destroyed
    }

    /// A mapping of a VAR ends. Nothing happens if its context is closed: the mapping ended with it.
    pub(super) fn unmap(&self, uid: u16, entry: u64, mapped: &AtomicBool) {
        let mut state = self.lock();
        if !mapped.load(Ordering::Acquire) {
            return;
        }
        let unused = state.contexts.get_mut(&uid).and_then(|context| context.entries.unmap(entry));
        if let Some((kind, index)) = unused {
            state.vars.free(kind, index);
        }
    }

    fn dealloc_uar(&self, uid: u16, index: u32) -> Result<(), Error> {
        let command = Command::new(Opcode::DEALLOC_UAR, dealloc_uar_in::SIZE)?
            .uid(uid)?
            .set(dealloc_uar_in::UAR, u64::from(index))?;
        self.send(&command, HEADER).map(drop)
    }

    fn destroy_uctx(&self, uid: u16) -> Result<(), Error> {
        let command =
            Command::new(Opcode::DESTROY_UCTX, destroy_uctx_in::SIZE)?.set(destroy_uctx_in::UID, u64::from(uid))?;
        self.send(&command, HEADER).map(drop)
    }

    /// Destroys all that a context has, the newest first, and the context. What the device refuses at first is tried again as long as anything
    /// else goes; what is left then goes with the context.
    fn close(&self, uid: u16) {
        loop {
            let handles: Vec<u32> = match self.lock().contexts.get(&uid) {
                Some(context) => context.resources.keys().rev().copied().collect(),
                None => return,
            };
            let destroyed = handles.iter().filter(|&&handle| self.release(uid, handle).is_ok()).count();
            if destroyed == 0 {
                break;
            }
        }
        if let Err(error) = self.destroy_uctx(uid) {
            tracing::warn!(uid, %error, "the context wasn't destroyed in order");
        }
        let mut state = self.lock();
        state.subscriptions.remove(uid, |_| true);
        let left = state.contexts.remove(&uid).map(|context| context.entries.close());
        for (kind, index) in left.into_iter().flatten() {
            state.vars.free(kind, index);
        }
    }
}

impl Context {
    pub(super) fn open(driver: &Arc<Driver>) -> Result<Context, Error> {
        let allowed = {
            let state = driver.lock();
            if state.caps.general(cmd_hca_cap::LOG_MAX_UCTX) == 0 {
                // EINVAL, as `mlx5_ib_devx_create` of Linux has it.
                return Err(Error::Invalid("the device has no user contexts: log_max_uctx is 0".to_owned()));
            }
            // What the kernel gives a privileged process.
            state.caps.general(cmd_hca_cap::UCTX_CAP) & u64::from(UCTX_CAP_RAW_TX | UCTX_CAP_INTERNAL_DEV_RES)
        };
        let command = Command::new(Opcode::CREATE_UCTX, create_uctx_in::SIZE)?
            .set(uctx::CAP.within(create_uctx_in::UCTX.bits()), allowed)?;
        let output = driver.send(&command, create_uctx_out::SIZE)?;
        let uid = create_uctx_out::UID.get(&output)? as u16;
        let mut state = driver.lock();
        if uid == 0 || uid == SHARED_RESOURCE_UID || state.contexts.contains_key(&uid) {
            return Err(Error::Device(format!("CREATE_UCTX gave uid {uid:#x}, which isn't a new user's")));
        }
        state.contexts.insert(uid, State::default());
        drop(state);
        let open = Arc::new(Open { driver: Arc::clone(driver), uid });
        Ok(Context { driver: Arc::clone(driver), uid, listener: driver.lock().new_listener()?, open })
    }

    /// Puts the uid into a user's command and executes it.
    fn execute(&self, mut input: Vec<u8>, output_len: usize) -> Result<Vec<u8>, Error> {
        mbox_in::UID.set(&mut input, u64::from(self.uid))?;
        self.driver.execute(&input, output_len)
    }

    /// Looks at an object of this context.
    fn object<T>(&self, handle: ObjectHandle, look: impl FnOnce(&Object) -> T) -> Result<T, Error> {
        let state = self.driver.lock();
        match state.contexts.get(&self.uid).and_then(|context| context.resources.get(&handle.0)) {
            Some(Resource::Object(object)) => Ok(look(object)),
            Some(_) => Err(Error::Invalid(format!("handle {} isn't that of an object", handle.0))),
            None => Err(Error::NoHandle { what: "object", handle: handle.0 }),
        }
    }

    /// Looks at what can be mapped of this context, or changes it.
    fn with_entries<T>(&self, call: impl FnOnce(&mut Entries) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.driver.lock();
        let context = state.contexts.get_mut(&self.uid);
        call(&mut context.ok_or_else(|| Error::Device("the context is closed".to_owned()))?.entries)
    }

    fn use_object(&self, what: Use, handle: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        check_lengths(input, output_len)?;
        self.object(handle, |object| object.check_use(what, input))??;
        self.execute(input.to_vec(), output_len)
    }
}

fn check_lengths(input: &[u8], output_len: usize) -> Result<(), Error> {
    for (what, len) in [("input", input.len()), ("output", output_len)] {
        if !(HEADER..=LONGEST).contains(&len) {
            return Err(Error::Invalid(format!("an {what} of {len} bytes: must have {HEADER} to {LONGEST}")));
        }
    }
    Ok(())
}

impl Backend for Context {
    fn name(&self) -> String {
        self.driver.door.name()
    }

    fn open_context(&self) -> Result<Arc<dyn Backend>, Error> {
        self.driver.open()
    }

    fn general_command(&self, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        check_lengths(input, output_len)?;
        let tunnels = self.driver.lock().caps.general(cmd_hca_cap::VHCA_TUNNEL_COMMANDS) != 0;
        if !devx::is_general(input, tunnels) {
            let opcode = super::command::opcode(input);
            return Err(Error::Invalid(format!("{opcode} isn't a general command")));
        }
        self.execute(input.to_vec(), output_len)
    }

    fn create_object(&self, input: &[u8], output_len: usize) -> Result<(ObjectHandle, Vec<u8>), Error> {
        check_lengths(input, output_len)?;
        let mut input = input.to_vec();
        devx::prepare_creation(&mut input)?;
        mbox_in::UID.set(&mut input, u64::from(self.uid))?;
        let output = self.driver.execute(&input, output_len)?;
        let object = Object::created(&input, &output)?;
        let handle = self.driver.keep(self.uid, Resource::Object(object))?;
        Ok((ObjectHandle(handle), output))
    }

    fn query_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        self.use_object(Use::Query, object, input, output_len)
    }

    fn modify_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        self.use_object(Use::Modify, object, input, output_len)
    }

    fn destroy_object(&self, object: ObjectHandle) -> Result<(), Error> {
        self.object(object, |_| ())?;
        self.driver.release(self.uid, object.0)
    }

    fn alloc_var(&self, kind: VarKind) -> Result<Arc<dyn DevicePage>, Error> {
        let place = self.driver.lock().vars.alloc(kind)?;
        let page_size = self.driver.door.page_size() as u64;
        let handle = self.driver.keep(self.uid, Resource::Var);
        let handle = handle.inspect_err(|_| self.driver.lock().vars.free(kind, place.index))?;
        let mapped = self.with_entries(|entries| {
            let at = entries.insert(kind, place, page_size, handle)?;
            // A VAR whose length doesn't fit the interface can't be shared.
            Ok((entries.map(at)?, entries.query(handle, page_size).ok()))
        });
        let (mapping, export) = mapped.inspect_err(|_| {
            self.driver.lock().vars.free(kind, place.index);
            let _ = self.driver.release(self.uid, handle);
        })?;
        Ok(Arc::new(Page::var(&self.driver, self.uid, Some(handle), place.index, export, mapping)))
    }

    fn import_device(&self) -> Result<Arc<dyn Backend>, Error> {
        let listener = self.driver.lock().new_listener()?;
        let (driver, open) = (Arc::clone(&self.driver), Arc::clone(&self.open));
        Ok(Arc::new(Context { driver, uid: self.uid, listener, open }))
    }

    fn query_var(&self, handle: u32) -> Result<VarExport, Error> {
        let page_size = self.driver.door.page_size() as u64;
        self.with_entries(|entries| entries.query(handle, page_size))
    }

    fn import_var(&self, export: &VarExport) -> Result<Arc<dyn DevicePage>, Error> {
        let page_size = self.driver.door.page_size() as u64;
        let VarExport { page_id, length, mmap_offset, .. } = *export;
        let mapping = self.with_entries(|entries| entries.map_offset(mmap_offset, u64::from(length), page_size))?;
        Ok(Arc::new(Page::var(&self.driver, self.uid, None, page_id, Some(*export), mapping)))
    }

    fn import_umem(&self, export: &UmemExport) -> Result<Arc<dyn RegisteredMemory>, Error> {
        let UmemExport { handle, umem_id } = *export;
        let state = self.driver.lock();
        let memory = match state.contexts.get(&self.uid).and_then(|context| context.resources.get(&handle)) {
            Some(Resource::Umem { memory, .. }) => Arc::clone(memory),
            _ => return Err(Error::Invalid(format!("this context has no registered memory with handle {handle}"))),
        };
        drop(state);
        Ok(Arc::new(Umem::new(&self.driver, self.uid, handle, umem_id, memory, false)))
    }

    fn alloc_uar(&self) -> Result<Arc<dyn DevicePage>, Error> {
        let command = Command::new(Opcode::ALLOC_UAR, alloc_uar_in::SIZE)?.uid(self.uid)?;
        let output = self.driver.send(&command, alloc_uar_out::SIZE)?;
        let index = alloc_uar_out::UAR.get(&output)? as u32;
        let span = Span { start: u64::from(index) * ADAPTER_PAGE_SIZE as u64, len: ADAPTER_PAGE_SIZE };
        let mapped = Arc::new(AtomicBool::new(true));
        let handle = self.driver.keep(self.uid, Resource::Uar { index, mapped: Arc::clone(&mapped) })?;
        Ok(Arc::new(Page::uar(&self.driver, self.uid, handle, index, span, mapped)))
    }

    fn register_umem(&self, len: usize) -> Result<Arc<dyn RegisteredMemory>, Error> {
        if len == 0 {
            return Err(Error::Invalid("a UMEM of 0 bytes".to_owned()));
        }
        let memory = Arc::new(Dma::new(&self.driver.door, len)?);
        let command = umem::create(self.uid, &memory)?;
        let output = self.driver.send(&command, HEADER)?;
        let object = Object::created(command.bytes(), &output)?;
        let id = object.number();
        let handle = self.driver.keep(self.uid, Resource::Umem { object, memory: Arc::clone(&memory) })?;
        Ok(Arc::new(Umem::new(&self.driver, self.uid, handle, id, memory, true)))
    }

    fn query_eqn(&self, vector: u32) -> Result<u32, Error> {
        self.driver.completion_eq(vector)
    }

    fn subscribe(&self, object: ObjectHandle, events: &[EventType], cookie: u64) -> Result<(), Error> {
        check_event_types(events)?;
        let keys: Vec<_> = self.object(object, |object| {
            events.iter().map(|&event| (event, object.event_kind(event), object.number())).collect()
        })?;
        let mut state = self.driver.lock();
        if let Some(event) =
            events.iter().find(|&&event| Driver::keeps(event) || !state.caps.allows_subscription(event))
        {
            return Err(Error::Invalid(format!("users can't subscribe to event {event} of an object")));
        }
        for key in keys {
            state.subscriptions.add(self.uid, self.listener, object.0, key, cookie);
        }
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Wake, Error> {
        let deadline = timeout.and_then(|timeout| self.driver.door.now().checked_add(timeout));
        let until = deadline.map_or(Until::Forever, Until::Deadline);
        let event: Result<Event, Progress> =
            self.driver.until(until, |state| Ok(state.subscriptions.next(self.listener)))?;
        Ok(match event {
            Ok(event) => Wake::Event(event),
            Err(Progress::Silent) => Wake::Silent,
            Err(_) => Wake::TimedOut,
        })
    }

    fn pause(&self) -> Result<bool, Error> {
        Ok(self.driver.door.pause()? && !self.is_stopped())
    }

    fn is_stopped(&self) -> bool {
        self.driver.door.is_stopped()
    }

    fn now(&self) -> Duration {
        self.driver.door.now()
    }

    fn is_simulated(&self) -> bool {
        self.driver.door.is_simulated()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.driver.lock().subscriptions.close(self.listener);
    }
}
