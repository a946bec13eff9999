//! VAR and UAR pages: allocation, and accesses.

use std::sync::Arc;

use super::{Case, Contexts, until_it_fails, word, words};
use crate::backend::{Backend, DevicePage, Error, VarKind};

/// More than any table has (ours).
const MANY: usize = 10_000;

pub(super) const CASES: &[Case] = &[
    ("var virtio: until none is left", |(first, _)| Ok(until_it_fails(MANY, || first.alloc_var(VarKind::Virtio)))),
    ("var virtio: accesses", |contexts| accesses(contexts, VarKind::Virtio)),
    ("var tlp: until none is left", |(first, _)| Ok(until_it_fails(MANY, || first.alloc_var(VarKind::Tlp)))),
    ("var tlp: accesses", |contexts| accesses(contexts, VarKind::Tlp)),
    ("var tlp: the lowest free one of both contexts", lowest),
    ("var tlp: given back when its context closes", closed),
    ("uar: length, twice", uars),
    ("uar: accesses after its context is closed", |(first, _)| used_after_close(first, |context| context.alloc_uar())),
    ("var tlp: accesses after its context is closed", |(first, _)| {
        used_after_close(first, |context| context.alloc_var(VarKind::Tlp))
    }),
];

/// Nothing is stored inside: the device would take it for a doorbell or a response.
fn accesses((first, _): Contexts<'_>, kind: VarKind) -> Result<String, Error> {
    let page = first.alloc_var(kind)?;
    let len = page.len();
    let outside = words([len, len - 2, 1, usize::MAX].map(|offset| page.store32(offset, [0; 4])));
    let across = words([len - 4, 4, len].map(|offset| page.store64(offset, [0; 8])));
    Ok(format!("{len:#x} bytes; 4 bytes: {outside}; 8 bytes: {across}; load: {}", word(&page.load32(len))))
}

fn lowest((first, second): Contexts<'_>) -> Result<String, Error> {
    let alloc = |context: &Arc<dyn Backend>| context.alloc_var(VarKind::Tlp);
    let (zero, one, two) = (alloc(first)?, alloc(second)?, alloc(first)?);
    let mut ids = vec![zero.page_id(), one.page_id(), two.page_id()];
    drop(one);
    let again = alloc(first)?;
    ids.push(again.page_id());
    drop(zero);
    ids.push(alloc(second)?.page_id());
    Ok(format!("{ids:?}"))
}

fn closed((first, second): Contexts<'_>) -> Result<String, Error> {
    let other = first.open_context()?;
    let page = other.alloc_var(VarKind::Tlp)?;
    let (before, meanwhile) = (page.page_id(), second.alloc_var(VarKind::Tlp)?);
    drop((page, other));
    let ids = [before, meanwhile.page_id(), second.alloc_var(VarKind::Tlp)?.page_id()];
    Ok(format!("{ids:?}"))
}

fn uars((first, second): Contexts<'_>) -> Result<String, Error> {
    let pages = [first.alloc_uar()?, first.alloc_uar()?, second.alloc_uar()?];
    let mut numbers: Vec<_> = pages.iter().map(|page| page.page_id()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(format!("{} of {:#x} bytes, {} numbers", pages.len(), pages[0].len(), numbers.len()))
}

fn used_after_close(
    first: &Arc<dyn Backend>,
    alloc: impl FnOnce(&dyn Backend) -> Result<Arc<dyn DevicePage>, Error>,
) -> Result<String, Error> {
    let context = first.open_context()?;
    let page = alloc(context.as_ref())?;
    drop(context);
    Ok(format!("{}, {}", word(&page.store32(0, [0; 4])), word(&page.load32(0))))
}
