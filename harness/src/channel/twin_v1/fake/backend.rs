//! The device through the backend contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{
    general_obj_in_cmd_hdr as header_in, general_obj_out_cmd_hdr as header_out, query_hca_cap_in, query_hca_cap_out,
    tlp_channel,
};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status as CommandStatus;
use mlx5_twin_fw_cmds::twin_v1::{self as numbers, gateway};

use super::Fake;
use crate::backend::{Backend, DevicePage, Error, ObjectHandle, RegisteredMemory, VarKind, Wake};

#[derive(Debug)]
struct Memory(Fake);

impl RegisteredMemory for Memory {
    fn umem_id(&self) -> u32 {
        7
    }

    fn len(&self) -> usize {
        self.0.device().memory.lock().unwrap().len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.copy_from_slice(&self.0.device().memory.lock().unwrap()[offset..offset + bytes.len()]);
        Ok(())
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.0.device().memory.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn load32(&self, offset: usize) -> Result<[u8; 4], Error> {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        self.write(offset, &bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.device().gone.push("umem");
    }
}

#[derive(Debug)]
struct Page(Fake);

impl DevicePage for Page {
    fn page_id(&self) -> u32 {
        3
    }

    fn len(&self) -> usize {
        4096
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        self.0.device().store(offset, &bytes);
        Ok(())
    }

    fn store64(&self, offset: usize, bytes: [u8; 8]) -> Result<(), Error> {
        self.0.device().store(offset, &bytes);
        Ok(())
    }

    fn load32(&self, _: usize) -> Result<[u8; 4], Error> {
        Ok([0; 4])
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.0.device().gone.push("page");
    }
}

fn refused(opcode: Opcode, status: CommandStatus) -> Error {
    Error::Command { opcode, status, syndrome: 0x1234 }
}

impl Backend for Fake {
    fn name(&self) -> String {
        "fake".into()
    }

    fn open_context(&self) -> Result<Arc<dyn Backend>, Error> {
        Err(Error::NotSupported("further contexts"))
    }

    fn general_command(&self, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        let opcode = Opcode(query_hca_cap_in::OPCODE.get(input).unwrap() as u16);
        if matches!(opcode, numbers::QUERY_EMULATED_REGION | numbers::MODIFY_EMULATED_REGION) {
            let done = self.device().region_command(input, output_len);
            return done.map_err(|status| refused(opcode, status));
        }
        assert_eq!(opcode, Opcode::QUERY_HCA_CAP);
        assert_eq!(query_hca_cap_in::OP_MOD.get(input), Ok(0xfe1));
        let page = self.device().twin_cap.clone();
        if page.is_empty() {
            return Err(refused(Opcode::QUERY_HCA_CAP, CommandStatus::BAD_PARAM));
        }
        let mut output = vec![0; output_len];
        query_hca_cap_out::CAPABILITY.slice_mut(&mut output).unwrap()[..page.len()].copy_from_slice(&page);
        Ok(output)
    }

    fn create_object(&self, input: &[u8], output_len: usize) -> Result<(ObjectHandle, Vec<u8>), Error> {
        assert_eq!(header_in::OPCODE.get(input), Ok(u64::from(Opcode::CREATE_GENERAL_OBJECT.0)));
        let kind = ObjectType(header_in::OBJ_TYPE.get(input).unwrap() as u16);
        let mut device = self.device();
        let created = device.create(kind, &input[header_in::SIZE..]);
        let port = created.map_err(|status| refused(Opcode::CREATE_GENERAL_OBJECT, status))?;
        let handle = device.handles.keys().last().map_or(1, |last| last + 1);
        device.handles.insert(handle, (kind, port));
        let mut output = vec![0; output_len];
        header_out::OBJ_ID.set(&mut output, u64::from(handle) + 0x100).unwrap();
        Ok((ObjectHandle(handle), output))
    }

    fn query_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        assert_eq!(header_in::OBJ_ID.get(input), Ok(u64::from(object.0) + 0x100));
        let device = self.device();
        let mut output = vec![0; header_out::SIZE];
        match device.handles[&object.0] {
            (numbers::TLP_CHANNEL, _) => {
                let mut context = device.channel.clone();
                for (field, value) in [
                    (tlp_channel::PRODUCER_INDEX, u64::from(device.producer & gateway::INDEX_MASK)),
                    (tlp_channel::CONSUMER_INDEX, u64::from(device.consumer & gateway::INDEX_MASK)),
                    (tlp_channel::OPEN_REQUESTS, device.waiting.len() as u64),
                    (tlp_channel::MESSAGES, u64::from(device.producer)),
                    (tlp_channel::RESPONSES, device.responses),
                ] {
                    field.set(&mut context, value).unwrap();
                }
                for (index, count) in device.faults.iter().enumerate() {
                    tlp_channel::FAULTS.set(&mut context, index, *count).unwrap();
                }
                output.extend(context);
            }
            (_, port) => output.extend(device.functions[&port].queried()),
        }
        output.truncate(output_len);
        Ok(output)
    }

    fn modify_object(&self, _: ObjectHandle, _: &[u8], _: usize) -> Result<Vec<u8>, Error> {
        Err(refused(Opcode::MODIFY_GENERAL_OBJECT, CommandStatus::BAD_OP))
    }

    fn destroy_object(&self, object: ObjectHandle) -> Result<(), Error> {
        let mut device = self.device();
        if device.handles[&object.0].0 == numbers::TLP_CHANNEL {
            if !device.functions.is_empty() {
                return Err(refused(Opcode::DESTROY_GENERAL_OBJECT, CommandStatus::BAD_RES_STATE));
            }
            device.gone.push("channel");
        } else {
            let port = device.handles[&object.0].1;
            device.functions.remove(&port);
            device.waiting.retain(|_, waiting| waiting.function != port);
            device.gone.push("function");
        }
        device.handles.remove(&object.0);
        Ok(())
    }

    fn alloc_var(&self, kind: VarKind) -> Result<Arc<dyn DevicePage>, Error> {
        assert_eq!(kind, VarKind::Tlp);
        Ok(Arc::new(Page(self.clone())))
    }

    fn alloc_uar(&self) -> Result<Arc<dyn DevicePage>, Error> {
        Err(Error::NotSupported("UARs"))
    }

    fn register_umem(&self, len: usize) -> Result<Arc<dyn RegisteredMemory>, Error> {
        self.device().memory = Arc::new(Mutex::new(vec![0; len]));
        Ok(Arc::new(Memory(self.clone())))
    }

    fn query_eqn(&self, _: u32) -> Result<u32, Error> {
        Err(Error::NotSupported("completion EQs"))
    }

    fn subscribe(&self, _: ObjectHandle, events: &[EventType], cookie: u64) -> Result<(), Error> {
        assert_eq!(events, [EventType::OBJECT_CHANGE]);
        self.device().cookie = Some(cookie);
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Wake, Error> {
        let end = timeout.map(|timeout| self.now() + timeout);
        loop {
            if let Some(event) = self.device().events.pop_front() {
                return Ok(Wake::Event(event));
            }
            if end.is_some_and(|end| end <= self.now()) {
                return Ok(Wake::TimedOut);
            }
            if !self.happen() {
                return Ok(Wake::Silent);
            }
        }
    }

    fn pause(&self) -> Result<bool, Error> {
        Ok(self.happen())
    }

    fn is_stopped(&self) -> bool {
        self.device().stopped
    }

    fn now(&self) -> Duration {
        self.device().now
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
