//! Every request for a coupon and what was said to it, one line of JSON each: `seckill verify --history` holds
//! them against the log.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use seckill_checker::{Attempt, Outcome, Reason, now_us};

use super::Meaning;
use crate::ledger::{Answer, Refusal, Trouble};
use crate::promotion::Offer;

const CANNOT_WRITE: &str = "--history: it cannot be written";

pub(crate) struct History {
    /// The file, until it could not be written.
    file: Mutex<Result<BufWriter<File>, std::io::Error>>,
}

impl History {
    /// Leaves what is there as it is, until something comes in its place.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.with_context(|| format!("--history {}", path.display()))?;
        Ok(Self { file: Mutex::new(Ok(BufWriter::new(file))) })
    }

    /// Whatever the file had is gone.
    pub(crate) fn begin(&self) -> Result<()> {
        let file = self.file.lock();
        let begun = file.as_ref().map_or(Ok(()), |writer| writer.get_ref().set_len(0));
        begun.context(CANNOT_WRITE)
    }

    /// Takes note of a request that was asked at a time, and of its answer, which came now.
    pub(crate) fn note(&self, asked: u64, sale: &Offer, customer_id: &str, meaning: &Meaning) {
        let outcome = outcome(meaning);
        let answered = (outcome != Outcome::Unknown).then(now_us);
        let key = if sale.limit_per_customer > 1 { customer_id } else { "" };
        let attempt = Attempt {
            promotion_id: sale.id.clone(),
            customer_id: customer_id.to_owned(),
            key: key.to_owned(),
            asked,
            answered,
            outcome,
        };
        let mut file = self.file.lock();
        if let Ok(writer) = &mut *file
            && let Err(error) = write(writer, &attempt)
        {
            *file = Err(error);
        }
    }

    /// Sees to it that all is written.
    pub(crate) fn close(&self) -> Result<()> {
        let mut file = self.file.lock();
        let written = match &mut *file {
            Ok(writer) => writer.flush(),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        };
        written.context(CANNOT_WRITE)
    }
}

fn write(file: &mut BufWriter<File>, attempt: &Attempt) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, attempt)?;
    file.write_all(b"\n")
}

fn outcome(meaning: &Meaning) -> Outcome {
    let (answer, position) = match meaning {
        Meaning::Definite { answer, position, .. } => (*answer, *position),
        Meaning::Again(Trouble::Unavailable | Trouble::Overloaded | Trouble::Unsent) => {
            return Outcome::NotAccepted;
        }
        Meaning::Again(Trouble::TimedOut | Trouble::Lost | Trouble::Unexpected) => {
            return Outcome::Unknown;
        }
    };
    let granted = |serial: std::num::NonZeroU32, repeated| {
        Some(Outcome::Granted { serial: serial.get(), position: position?, repeated })
    };
    let said = match answer {
        Answer::Granted(serial) => serial.and_then(|serial| granted(serial, false)),
        Answer::AlreadyYours(serial) => serial.and_then(|serial| granted(serial, true)),
        Answer::Refused(refusal) => Some(match (reason(refusal), position) {
            (Some(reason), Some(position)) => Outcome::Refused { reason, position },
            _ => Outcome::NotAccepted,
        }),
        Answer::GaveUp => None,
    };
    said.unwrap_or(Outcome::Unknown) // what cannot be read may mean anything
}

fn reason(refusal: Refusal) -> Option<Reason> {
    match refusal {
        Refusal::SoldOut => Some(Reason::SoldOut),
        Refusal::LimitReached => Some(Reason::LimitReached),
        Refusal::NotStarted => Some(Reason::NotStarted),
        Refusal::Finished => Some(Reason::Finished),
        Refusal::NotFound => Some(Reason::NotFound),
        Refusal::Invalid => None,
    }
}
