//! `mlx5-twin share`: gives a context to another program over a unix socket, or takes one.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use mlx5_twin_fw_cmds::layout::{
    alloc_flow_counter_in, alloc_flow_counter_out, query_flow_counter_in, query_flow_counter_out, traffic_counter,
};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::{Failure, ShareArguments, print};
use crate::backend::uverbs::share::{ObjectExport, Shared, receive, send};
use crate::backend::uverbs::{Context, Device};
use crate::backend::{Backend, Choice, Error, ObjectHandle, Stop, VarKind};

/// What is written into the memory that is shared (ours).
const MARK: &[u8] = b"twin";

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::Run(error.to_string())
}

/// Gives a page, memory and a flow counter, and keeps them until the other one closes the connection, or takes what it's given.
pub(super) fn share(arguments: &ShareArguments) -> Result<(), Failure> {
    let choice = Choice::parse(&arguments.backend).map_err(Failure::Input)?;
    let Choice::Uverbs(name) = choice else {
        return Err(Failure::Input(format!("{choice} has no context that another process could have: uverbs has")));
    };
    let stop = Stop::new().map_err(|error| failed(&error))?;
    let told = if arguments.give {
        let device = Device::open(name.as_deref(), stop).map_err(|error| failed(&error))?;
        let context = device.open_context().map_err(|error| failed(&error))?;
        let listener = UnixListener::bind(&arguments.socket);
        let listener = listener.map_err(|error| Failure::Input(format!("{}: {error}", arguments.socket.display())))?;
        give(&context, &listener)
    } else {
        let socket = UnixStream::connect(&arguments.socket);
        let socket = socket.map_err(|error| Failure::Input(format!("{}: {error}", arguments.socket.display())))?;
        take(socket, stop)
    };
    print(&told.map_err(|error| failed(&error))?)
}

fn give(context: &Context, listener: &UnixListener) -> Result<String, Box<dyn std::error::Error>> {
    let (page, memory) = (context.alloc_var(VarKind::Tlp)?, context.register_umem(4096)?);
    memory.write(0, MARK)?;
    let mut input = [0; alloc_flow_counter_in::SIZE];
    alloc_flow_counter_in::OPCODE.set(&mut input, u64::from(Opcode::ALLOC_FLOW_COUNTER.0))?;
    let (counter, output) = context.create_object(&input, alloc_flow_counter_out::SIZE)?;
    let object_id = alloc_flow_counter_out::FLOW_COUNTER_ID.get(&output)? as u32;

    let umem = memory.export_umem().ok_or(Error::NotSupported("registered memory that is shared"))?;
    let file = context.memory_file(&umem).ok_or(Error::NotSupported("registered memory that is shared"))?;
    let shared = Shared {
        vars: page.export_var().into_iter().collect(),
        umems: vec![umem],
        objects: vec![ObjectExport { handle: counter, object_id }],
    };
    let (mut socket, _) = listener.accept()?;
    send(&socket, &shared, &[context.file(), file.as_fd()])?;
    let mut said = String::new();
    socket.read_to_string(&mut said)?;
    // All is still there, whatever the other one has done.
    let query = query(context, counter, object_id);
    context.destroy_object(counter)?;
    Ok(format!("given: page {}; the other says: {}; counter {}\n", page.page_id(), said.trim_end(), word(&query)))
}

fn take(mut socket: UnixStream, stop: Stop) -> Result<String, Box<dyn std::error::Error>> {
    let (Shared { vars, umems, objects }, files) = receive(&socket)?;
    let mut files = files.into_iter();
    let file = files.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no context's file came"))?;
    let context = Device::import(file, stop)?;
    let mut told = format!("taken: {}", context.name());
    for var in &vars {
        let page = context.import_var(var)?;
        told += &format!("; page {} of {:#x} bytes, load {}", page.page_id(), page.len(), word(&page.load32(0)));
    }
    for (umem, file) in umems.iter().zip(files) {
        let mut bytes = [0; MARK.len()];
        context.import_umem_of(umem, file)?.read(0, &mut bytes)?;
        told += &format!("; memory {}", String::from_utf8_lossy(&bytes));
    }
    for object in &objects {
        told += &format!("; counter {}", word(&query(&context, object.handle, object.object_id)));
    }
    told.push('\n');
    socket.write_all(told.as_bytes())?;
    Ok(told)
}

/// Reads a flow counter.
fn query(context: &Context, counter: ObjectHandle, object_id: u32) -> Result<Vec<u8>, Error> {
    let mut input = [0; query_flow_counter_in::SIZE];
    query_flow_counter_in::OPCODE.set(&mut input, u64::from(Opcode::QUERY_FLOW_COUNTER.0))?;
    query_flow_counter_in::FLOW_COUNTER_ID.set(&mut input, u64::from(object_id))?;
    context.query_object(counter, &input, query_flow_counter_out::SIZE + traffic_counter::SIZE)
}

fn word<T>(result: &Result<T, Error>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned())
}
