//! What is shared by two files of one context, and what another context makes of it.

use std::sync::Arc;

use super::{Case, Contexts, word, words};
use crate::backend::{Backend, DevicePage, Error, RegisteredMemory, UmemExport, VarExport, VarKind};

pub(super) const CASES: &[Case] = &[
    ("import var: through the other file", |(first, _)| {
        let (_page, export) = var(first)?;
        let again = first.import_device()?.import_var(&export)?;
        Ok(format!("page {}, {:#x} bytes", again.page_id(), again.len()))
    }),
    ("import var: wrong lengths", |(first, _)| {
        let (_page, export) = var(first)?;
        let lengths = [0, 1, export.length - 1, export.length + 1, 2 * export.length, u32::MAX];
        Ok(words(lengths.map(|length| first.import_var(&VarExport { length, ..export }))))
    }),
    ("import var: wrong offsets", |(first, _)| {
        let (_page, export) = var(first)?;
        let page = u64::from(export.length);
        let offset = export.mmap_offset;
        let offsets = [0, 1, offset + 1, offset + page, offset | 1 << 40, offset | 1 << 62, u64::MAX - page + 1];
        Ok(words(offsets.map(|mmap_offset| first.import_var(&VarExport { mmap_offset, ..export }))))
    }),
    ("import var: another context's", |(first, second)| {
        let (_page, export) = var(first)?;
        Ok(word(&second.import_var(&export)))
    }),
    ("import var: after it was given back", |(first, _)| {
        let (page, export) = var(first)?;
        drop(page);
        Ok(word(&first.import_var(&export)))
    }),
    ("import var: it keeps the page", keeps),
    ("import umem: through the other file", |(first, _)| {
        let (memory, export) = umem(first)?;
        memory.write(8, b"twin")?;
        let again = first.import_device()?.import_umem(&export)?;
        let mut bytes = [0; 4];
        again.read(8, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }),
    ("import umem: another context's", |(first, second)| {
        let (_memory, export) = umem(first)?;
        Ok(word(&second.import_umem(&export)))
    }),
    ("import umem: after it was taken back", |(first, _)| {
        let (memory, export) = umem(first)?;
        drop(memory);
        Ok(word(&first.import_umem(&export)))
    }),
    ("umem: lengths", |(first, _)| {
        let lengths = [0, 1, 4096, 4097, 1 << 20];
        let registered = lengths.map(|len| first.register_umem(len).map(|memory| memory.len()));
        let all: Vec<_> =
            registered.iter().map(|len| len.as_ref().map_or_else(super::errno, |len| format!("{len:#x}"))).collect();
        Ok(all.join(", "))
    }),
    ("umem: accesses outside", |(first, _)| {
        let memory = first.register_umem(4096)?;
        let [read, write] = [memory.read(4090, &mut [0; 7]), memory.write(usize::MAX, &[0; 2])];
        Ok(words([
            read,
            write,
            memory.load32(4094).map(drop),
            memory.store32(4096, [0; 4]),
            memory.load32(2).map(drop),
        ]))
    }),
];

fn var(context: &Arc<dyn Backend>) -> Result<(Arc<dyn DevicePage>, VarExport), Error> {
    let page = context.alloc_var(VarKind::Tlp)?;
    let export = page.export_var().ok_or(Error::NotSupported("VAR pages that are shared"))?;
    Ok((page, export))
}

fn umem(context: &Arc<dyn Backend>) -> Result<(Arc<dyn RegisteredMemory>, UmemExport), Error> {
    let memory = context.register_umem(4096)?;
    let export = memory.export_umem().ok_or(Error::NotSupported("registered memory that is shared"))?;
    Ok((memory, export))
}

/// The owner gives the page back while another mapping of it is there.
fn keeps((first, _): Contexts<'_>) -> Result<String, Error> {
    let (page, export) = var(first)?;
    let again = first.import_device()?;
    let mapped = again.import_var(&export)?;
    drop(page);
    let load = word(&mapped.load32(0));
    let meanwhile = first.alloc_var(VarKind::Tlp)?.page_id();
    drop(mapped);
    let after = first.alloc_var(VarKind::Tlp)?.page_id();
    Ok(format!("load {load}; meanwhile page {meanwhile}, afterwards page {after}"))
}
