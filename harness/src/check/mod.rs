//! Trying the contract on a device: what is allowed, and which errno comes of what isn't.
//!
//! Each case has two contexts of its own and gives one line. The same cases on the simulation, on the kernel's driver and by VFIO, over the same device, give the same lines:
//! tests compare them. Of hardware they tell what it makes of the same calls. Mistakes that need a host are made by `run --fault`, with the same comparison.

mod objects;
mod pages;
mod responses;
mod shared;
pub mod uverbs;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::backend::{Backend, Error};

/// Two contexts of the device.
type Contexts<'a> = (&'a Arc<dyn Backend>, &'a Arc<dyn Backend>);

/// A case: what it's called, and what it does. An error is of something that isn't what the case is about.
type Case = (&'static str, fn(Contexts<'_>) -> Result<String, Error>);

/// All cases, in the order in which they are tried.
const CASES: &[&[Case]] = &[pages::CASES, shared::CASES, responses::CASES, objects::CASES];

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name: `var tlp: until none is left`.
    pub case: String,
    /// What came of it, in words.
    pub outcome: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.outcome)
    }
}

/// Tries all cases on the device of a context.
pub fn run(context: &Arc<dyn Backend>) -> Vec<Line> {
    let tried = |(case, run): &Case| {
        let result = context.open_context().and_then(|first| run((&first, &context.open_context()?)));
        let outcome = result.unwrap_or_else(|error| format!("didn't come to it: {}", errno(&error)));
        Line { case: (*case).to_owned(), outcome }
    };
    CASES.iter().copied().flatten().map(tried).collect()
}

/// Names of errno numbers, those of Linux's `errno-base.h` and `errno.h` that are to be expected.
const NAMES: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (5, "EIO"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (22, "EINVAL"),
    (28, "ENOSPC"),
    (75, "EOVERFLOW"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (121, "EREMOTEIO"),
];

fn errno(error: &Error) -> String {
    let number = error.errno();
    let name = NAMES.iter().find(|(known, _)| *known == number);
    name.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}

/// `ok`, or the errno.
fn word<T>(result: &Result<T, Error>) -> String {
    result.as_ref().map_or_else(errno, |_| "ok".to_owned())
}

/// `ok`, or the errno and the firmware's status.
fn status<T>(result: &Result<T, Error>) -> String {
    match result {
        Err(error @ Error::Command { status, .. }) => format!("{} by status {status}", errno(error)),
        other => word(other),
    }
}

/// Results of several tries: `EINVAL, EINVAL, ok`.
fn words<T>(results: impl IntoIterator<Item = Result<T, Error>>) -> String {
    let all: Vec<_> = results.into_iter().map(|result| word(&result)).collect();
    all.join(", ")
}

/// Does something until it fails: how often it went well, and the error. What it gave is kept until then.
fn until_it_fails<T>(most: usize, mut call: impl FnMut() -> Result<T, Error>) -> String {
    let mut kept = Vec::new();
    while kept.len() < most {
        match call() {
            Ok(value) => kept.push(value),
            Err(error) => return format!("{} and then {}", kept.len(), errno(&error)),
        }
    }
    format!("{most} and no end")
}
