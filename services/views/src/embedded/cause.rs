//! What an error of fjall comes from, in words.

use std::error::Error;
use std::io;

/// EMFILE and ENFILE, which have no kind of their own.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// Whether the machine refuses, and the files are as they were.
pub(super) fn is_of_the_machine(error: &fjall::Error) -> bool {
    use io::ErrorKind::{
        PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    let machine = [PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull];
    io_error(error).is_some_and(|error| {
        let files = error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code));
        files || machine.contains(&error.kind())
    })
}

/// What is wrong, without the names of an engine's types.
pub(super) fn words(error: &fjall::Error) -> String {
    if let Some(error) = io_error(error) {
        return match error.kind() {
            io::ErrorKind::StorageFull => "no space is left".to_owned(),
            _ => error.to_string(),
        };
    }
    match error {
        fjall::Error::Poisoned => "an earlier write failed".to_owned(),
        fjall::Error::Locked => "another process has it open".to_owned(),
        fjall::Error::InvalidVersion(_) => "it was written by another version".to_owned(),
        fjall::Error::Unrecoverable => "files are missing".to_owned(),
        other => format!("its files are damaged ({other:?})"),
    }
}

fn io_error(error: &fjall::Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}
