//! What only the kernel's interface has: files that go to another process, asynchronous commands, pages with write combining.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mlx5_twin_fw_cmds::layout::query_mkey_out;

use super::objects::Key;
use super::{Line, errno, word};
use crate::backend::uverbs::share::{ObjectExport, Shared, receive, send};
use crate::backend::uverbs::{Context, Device};
use crate::backend::{Backend, Error, Stop, VarKind};

/// A case, on a context of its own.
type Case = (&'static str, fn(&Context) -> Result<String, Error>);

const CASES: &[Case] = &[
    ("uverbs: a context handed over by its file", handed_over),
    ("uverbs: a file that has no context", |_| {
        let file = std::fs::File::open("/dev/null").map_err(|error| Error::Device(error.to_string()))?;
        Ok(word(&Device::import(file.into(), Stop::new()?)))
    }),
    ("uverbs: asynchronous commands", asynchronous),
    ("uverbs: a page with write combining", |context| Ok(word(&context.alloc_blue_flame_uar()))),
];

/// Tries what only this backend has.
pub fn run(device: &Device) -> Vec<Line> {
    let tried = |(case, run): &Case| {
        let result = device.open_context().and_then(|context| run(&context));
        let outcome = result.unwrap_or_else(|error| format!("didn't come to it: {}", errno(&error)));
        Line { case: (*case).to_owned(), outcome }
    };
    CASES.iter().map(tried).collect()
}

/// All that another process does with it, through a second file of the same context.
fn handed_over(context: &Context) -> Result<String, Error> {
    let failed = |error: std::io::Error| Error::Device(error.to_string());
    let key = Key::create(context)?;
    let (page, memory) = (context.alloc_var(VarKind::Tlp)?, context.register_umem(4096)?);
    memory.write(0, b"twin")?;
    let lacks = Error::NotSupported("what is shared");
    let umem = memory.export_umem().ok_or(lacks.clone())?;
    let file = context.memory_file(&umem).ok_or(lacks.clone())?;
    let shared = Shared {
        vars: page.export_var().into_iter().collect(),
        umems: vec![umem],
        objects: vec![ObjectExport { handle: key.handle, object_id: key.number as u32 }],
    };
    let (here, there) = UnixStream::pair().map_err(failed)?;
    send(&here, &shared, &[context.file(), file.as_fd()]).map_err(failed)?;

    let (shared, files) = receive(&there).map_err(failed)?;
    let mut files = files.into_iter();
    let (Some(file), Some(memory)) = (files.next(), files.next()) else { return Err(lacks) };
    let other = Device::import(file, Stop::new()?)?;
    let mapped = other.import_var(shared.vars.first().ok_or(lacks.clone())?)?;
    let memory = other.import_umem_of(&umem, memory)?;
    let mut bytes = [0; 4];
    memory.read(0, &mut bytes)?;
    let query = word(&other.query_object(shared.objects[0].handle, &key.query(0)?, query_mkey_out::SIZE));
    let text = String::from_utf8_lossy(&bytes);
    Ok(format!(
        "{}, page {}, load {}, memory {text}, object {query}",
        other.name(),
        mapped.page_id(),
        word(&mapped.load32(0))
    ))
}

/// Two commands, whose answers come with their numbers; the wrong object; no more answers.
fn asynchronous(context: &Context) -> Result<String, Error> {
    let key = Key::create(context)?;
    let commands = context.async_commands()?;
    let mut seen = Vec::new();
    for id in [7, 8] {
        commands.query(key.handle, &key.query(0)?, query_mkey_out::SIZE as u16, id)?;
        let answer = commands.next(Duration::from_secs(5))?;
        seen.push(
            answer.map(|answer| (answer.id, answer.output.len() == query_mkey_out::SIZE && answer.output[0] == 0)),
        );
    }
    let wrong = word(&commands.query(key.handle, &key.query(1)?, 16, 9));
    let none = commands.next(Duration::from_millis(20))?.is_none();
    Ok(format!("{seen:?}; of another object: {wrong}; no more: {none}"))
}
