//! DEVX: general commands, objects, events, contexts.

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{
    alloc_pd_in, alloc_pd_out, create_mkey_in, create_mkey_out, create_mkey_umem, mbox_in, mkc, query_hca_cap_in,
    query_hca_cap_out, query_mkey_in, query_mkey_out,
};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::{Case, status, until_it_fails, word, words};
use crate::backend::{Backend, Error, ObjectHandle, RegisteredMemory, Wake};
use crate::channel::Settings;
use crate::emulation::{self, Channel};

/// A handle that no context gets here.
const NOBODYS: ObjectHandle = ObjectHandle(0x7fff_ffff);
/// More than a device has (ours).
const MANY: usize = 2000;

pub(super) const CASES: &[Case] = &[
    ("general: a capability page", |(first, _)| {
        Ok(status(&first.general_command(&cap(CapType::GENERAL)?, query_hca_cap_out::SIZE)))
    }),
    ("general: a page that there isn't", |(first, _)| {
        Ok(status(&first.general_command(&cap(CapType(0x123))?, query_hca_cap_out::SIZE)))
    }),
    ("general: an output that is too short", |(first, _)| {
        Ok(status(&first.general_command(&cap(CapType::GENERAL)?, 16)))
    }),
    ("general: lengths that no command has", |(first, _)| {
        let input = cap(CapType::GENERAL)?;
        Ok(words([
            first.general_command(&input[..15], 16),
            first.general_command(&input, 15),
            first.general_command(&[], 16),
            first.general_command(&input, 0x1_0000),
            first.general_command(&[&input[..], &vec![0; 0x1_0000]].concat(), 16),
        ]))
    }),
    ("general: commands that aren't", |(first, _)| {
        let opcodes = [Opcode::ALLOC_PD, Opcode::ENABLE_HCA, Opcode::CREATE_EQ, Opcode(0xfff), Opcode(0)];
        Ok(words(opcodes.map(|opcode| first.general_command(&command(opcode, 16)?, 16))))
    }),
    ("object: created, queried, destroyed", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let query = status(&first.query_object(key.handle, &key.query(0)?, query_mkey_out::SIZE));
        Ok(format!("{query}, {}, {}", word(&first.destroy_object(key.handle)), word(&first.destroy_object(key.pd))))
    }),
    ("object: commands that don't create one", |(first, _)| {
        let opcodes = [Opcode::QUERY_HCA_CAP, Opcode::CREATE_EQ, Opcode::ALLOC_UAR, Opcode::CREATE_UMEM, Opcode(0)];
        Ok(words(opcodes.map(|opcode| first.create_object(&command(opcode, 16)?, 16))))
    }),
    ("object: the firmware refuses it", |(first, _)| {
        Ok(status(&first.create_object(&command(Opcode::CREATE_MKEY, create_mkey_in::SIZE)?, create_mkey_out::SIZE)))
    }),
    ("object: queries of another number, of another kind, that aren't", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let query = key.query(1)?;
        Ok(words([
            first.query_object(key.handle, &query, query_mkey_out::SIZE),
            first.query_object(key.pd, &key.query(0)?, query_mkey_out::SIZE),
            first.query_object(key.handle, &cap(CapType::GENERAL)?, query_hca_cap_out::SIZE),
            first.modify_object(key.handle, &key.query(0)?, query_mkey_out::SIZE),
            first.query_object(key.handle, &key.query(0)?[..15], 16),
        ]))
    }),
    ("object: in use", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let refused = word(&first.destroy_object(key.pd));
        Ok(format!(
            "{refused}, then {}, {}",
            word(&first.destroy_object(key.handle)),
            word(&first.destroy_object(key.pd))
        ))
    }),
    ("object: a handle that was never given", |(first, _)| {
        let query = Key::create(first.as_ref())?.query(0)?;
        Ok(words([
            first.query_object(NOBODYS, &query, query_mkey_out::SIZE).map(drop),
            first.modify_object(NOBODYS, &query, query_mkey_out::SIZE).map(drop),
            first.destroy_object(NOBODYS),
            first.subscribe(NOBODYS, &[EventType::OBJECT_CHANGE], 1),
        ]))
    }),
    ("object: after it was destroyed", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        first.destroy_object(key.handle)?;
        Ok(words([
            first.query_object(key.handle, &key.query(0)?, query_mkey_out::SIZE).map(drop),
            first.destroy_object(key.handle),
            first.subscribe(key.handle, &[EventType::OBJECT_CHANGE], 1),
        ]))
    }),
    ("object: another context's", |(first, second)| {
        let key = Key::create(first.as_ref())?;
        Ok(words([
            second.query_object(key.handle, &key.query(0)?, query_mkey_out::SIZE).map(drop),
            second.destroy_object(key.handle),
            second.subscribe(key.handle, &[EventType::OBJECT_CHANGE], 1),
        ]))
    }),
    ("object: through the other file of its context", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let again = first.import_device()?;
        let query = word(&again.query_object(key.handle, &key.query(0)?, query_mkey_out::SIZE));
        Ok(format!("{query}, {}, {}", word(&again.destroy_object(key.handle)), word(&first.destroy_object(key.handle))))
    }),
    ("object: a handle of something else", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let export = key.memory.export_umem().ok_or(Error::NotSupported("registered memory that is shared"))?;
        let handle = ObjectHandle(export.handle);
        Ok(words([
            first.query_object(handle, &key.query(0)?, query_mkey_out::SIZE).map(drop),
            first.destroy_object(handle),
            first.subscribe(handle, &[EventType::OBJECT_CHANGE], 1),
        ]))
    }),
    ("events: subscriptions", |(first, _)| {
        let key = Key::create(first.as_ref())?;
        let subscribe = |events: &[EventType]| first.subscribe(key.handle, events, 7);
        Ok(words([
            subscribe(&[EventType::OBJECT_CHANGE]),
            subscribe(&[EventType::OBJECT_CHANGE; 16]),
            subscribe(&[EventType::OBJECT_CHANGE; 17]),
            subscribe(&[EventType::OBJECT_CHANGE, EventType::PAGE_REQUEST]),
            subscribe(&[EventType::CMD]),
            subscribe(&[EventType::COMP]),
            subscribe(&[]),
        ]))
    }),
    ("events: none comes", |(first, _)| {
        let waited = first.wait(Some(Duration::from_millis(5)))?;
        Ok(if matches!(waited, Wake::Event(_)) { "one came" } else { "none" }.to_owned())
    }),
    ("eq: numbers of vectors", |(first, second)| {
        let same = first.query_eqn(0)? == second.query_eqn(0)?;
        Ok(format!("the same: {same}; {}", words([1 << 16, u32::MAX].map(|vector| first.query_eqn(vector)))))
    }),
    ("channels: until no more can be had", |(first, _)| {
        let mut failed = None;
        let tried = until_it_fails(MANY, || {
            Channel::open(Arc::clone(first), &Settings::default()).map_err(|error| match error {
                emulation::Error::Channel(crate::channel::Error::Backend(error)) => error,
                other => {
                    failed = Some(other.to_string());
                    Error::Invalid(String::new())
                }
            })
        });
        Ok(failed.unwrap_or(tried))
    }),
    ("contexts: until no more can be had", |(first, _)| {
        let last = until_it_fails(MANY, || first.open_context());
        // How many the kernel's driver has for itself is its own matter.
        Ok(last.split(' ').next_back().unwrap_or_default().to_owned())
    }),
];

fn command(opcode: Opcode, len: usize) -> Result<Vec<u8>, Error> {
    let mut input = vec![0; len];
    mbox_in::OPCODE.set(&mut input, u64::from(opcode.0))?;
    Ok(input)
}

fn cap(cap_type: CapType) -> Result<Vec<u8>, Error> {
    let mut input = command(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE)?;
    query_hca_cap_in::OP_MOD.set(&mut input, u64::from(cap_type.op_mod(CapMode::Current)))?;
    Ok(input)
}

/// A memory key over registered memory, of a protection domain: something that uses something.
pub(super) struct Key<'a> {
    context: &'a dyn Backend,
    pd: ObjectHandle,
    pub(super) handle: ObjectHandle,
    pub(super) number: u64,
    memory: Arc<dyn RegisteredMemory>,
}

impl Drop for Key<'_> {
    /// What uses the memory goes before it. Most cases have destroyed some of it themselves.
    fn drop(&mut self) {
        let _ = self.context.destroy_object(self.handle);
        let _ = self.context.destroy_object(self.pd);
    }
}

impl Key<'_> {
    pub(super) fn create(context: &dyn Backend) -> Result<Key<'_>, Error> {
        const LEN: usize = 4096;
        let (pd, output) = context.create_object(&command(Opcode::ALLOC_PD, alloc_pd_in::SIZE)?, alloc_pd_out::SIZE)?;
        let memory = context.register_umem(LEN)?;
        let mut input = command(Opcode::CREATE_MKEY, create_mkey_in::SIZE)?;
        let entry = create_mkey_in::MEMORY_KEY_MKEY_ENTRY.bits();
        for (field, value) in [
            (mkc::ACCESS_MODE_1_0.within(entry), 1), // a list of pages
            (mkc::LW.within(entry), 1),
            (mkc::LR.within(entry), 1),
            (mkc::QPN.within(entry), 0xff_ffff),
            (mkc::PD.within(entry), alloc_pd_out::PD.get(&output)?),
            (mkc::LEN.within(entry), LEN as u64),
            (create_mkey_umem::MKEY_UMEM_ID, u64::from(memory.umem_id())),
        ] {
            field.set(&mut input, value)?;
        }
        let (handle, output) = context.create_object(&input, create_mkey_out::SIZE)?;
        Ok(Key { context, pd, handle, number: create_mkey_out::MKEY_INDEX.get(&output)?, memory })
    }

    /// The command that queries it, or the one with the number that lies so far from its.
    pub(super) fn query(&self, distance: u64) -> Result<Vec<u8>, Error> {
        let mut input = command(Opcode::QUERY_MKEY, query_mkey_in::SIZE)?;
        query_mkey_in::MKEY_INDEX.set(&mut input, self.number + distance)?;
        Ok(input)
    }
}
