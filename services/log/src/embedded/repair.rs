//! What is left of a damaged log, and the one way to go on with it: cut at the damage, by an
//! operator's word. What is cut is kept beside the segments.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seckill_proto::v1::Checkpoint;

use crate::embedded::format::{self, cannot, partition_folder, sync_folder};
use crate::embedded::recovery::{self, Prefix};
use crate::embedded::segment::{self, FIRST_BATCH, Header};
use crate::embedded::state::State;
use crate::embedded::{EmbeddedLog, high_water};
use crate::{Damage, History, LogError};

/// What a directory holds of a log.
#[derive(Debug)]
pub struct Survey {
    /// How many partitions it has.
    pub partitions: u32,
    /// What is damaged or missing; nothing where the log is whole.
    pub damages: Vec<Damage>,
}

/// A partition that was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// Partition of the event log.
    pub partition: u32,
    /// How far it was acknowledged, where that is known.
    pub reached: Option<Checkpoint>,
}

impl EmbeddedLog {
    /// Reads every file of a log, and changes nothing.
    ///
    /// # Errors
    /// There is no log, it is in use, or a file cannot be read at all.
    pub fn survey(directory: &Path) -> Result<Survey, LogError> {
        let (partitions, format_damage) = partitions(directory)?;
        let _lock = match format::lock_path(directory).exists() {
            true => Some(format::lock(directory, false)?),
            false => None,
        };
        let mut survey = Survey { partitions, damages: Vec::new() };
        survey.damages.extend(format_damage);
        for partition in 0..partitions {
            let prefix = recovery::survey(directory, partition)?;
            survey.damages.extend(prefix.damage);
        }
        Ok(survey)
    }

    /// Opens for reading what a damaged log still has, each partition up to its damage. Changes
    /// nothing.
    ///
    /// # Errors
    /// There is no log, it is in use, or a file cannot be read at all.
    pub fn open_what_is_left(directory: &Path) -> Result<Self, LogError> {
        let (partitions, _) = partitions(directory)?;
        let lock = match format::lock_path(directory).exists() {
            true => Some(format::lock(directory, false)?),
            false => None,
        };
        let left = (0..partitions).map(|partition| {
            let prefix = recovery::survey(directory, partition)?;
            Ok(prefix.into_recovered(partition_folder(directory, partition)))
        });
        let left = left.collect::<Result<Vec<_>, LogError>>()?;
        Ok(Self::new(Arc::new(State::new(directory, &left)), None, lock))
    }

    /// Cuts every damaged partition at its damage, so that the log can be opened: which ones. What is
    /// cut goes into a folder `lost-N` beside its segments.
    ///
    /// # Errors
    /// There is no log, it is in use, or a file cannot be written.
    pub fn cut_damage(directory: &Path) -> Result<Vec<Cut>, LogError> {
        let mut cuts = Vec::new();
        let _lock = format::lock(directory, true)?;
        let (partitions, format_damage) = partitions(directory)?;
        for partition in 0..partitions {
            let prefix = recovery::survey(directory, partition)?;
            let folder = partition_folder(directory, partition);
            if prefix.damage.is_some() {
                let reached = high_water::read(&folder).map(|mark| Checkpoint {
                    next_offset: mark.next_offset,
                    history: mark.history.number(),
                    ..Checkpoint::default()
                });
                cuts.push(Cut { partition, reached });
                cut(&folder, partition, &prefix).map_err(|error| cannot(&folder, &error))?;
            }
        }
        if format_damage.is_some() {
            format::write(directory, partitions)?;
        }
        Ok(cuts)
    }
}

/// The partition count, from the folders where `format` does not tell.
fn partitions(directory: &Path) -> Result<(u32, Option<Damage>), LogError> {
    let damage = match format::read(directory) {
        Ok(Some(partitions)) => return Ok((partitions, None)),
        Ok(None) => return Err(LogError::Absent(directory.to_owned())),
        Err(LogError::Damaged(damage)) => damage,
        Err(error) => return Err(error),
    };
    let folders = (0..).take_while(|partition| partition_folder(directory, *partition).is_dir());
    let partitions = u32::try_from(folders.count()).unwrap_or(u32::MAX);
    Ok((partitions, Some(*damage)))
}

fn cut(folder: &Path, partition: u32, prefix: &Prefix) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let lost = lost_folder(folder)?;
    for base in segment::list(folder)?.into_iter().filter(|base| !prefix.bases.contains(base)) {
        let path = segment::path(folder, base);
        fs::rename(&path, lost.join(path.file_name().unwrap_or_default()))?;
    }
    match prefix.bases.last() {
        Some(last) => cut_segment(&segment::path(folder, *last), &lost, prefix.position)?,
        None => {
            let history = History::default();
            let header = Header { partition, base: 0, history, base_before: 0, length_before: 0 };
            drop(segment::create(folder, header)?);
        }
    }
    let mark = folder.join(high_water::NAME);
    if mark.exists() {
        fs::rename(&mark, lost.join(high_water::NAME))?; // made anew when the log is opened
    }
    sync_folder(&lost)?;
    sync_folder(folder)
}

fn cut_segment(path: &Path, lost: &Path, position: u64) -> io::Result<()> {
    fs::copy(path, lost.join(path.file_name().unwrap_or_default()))?;
    let file = File::options().write(true).open(path)?;
    file.set_len(position.max(FIRST_BATCH))?;
    file.sync_all()
}

fn lost_folder(folder: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let lost = folder.join(format!("lost-{number}"));
        match fs::create_dir(&lost) {
            Ok(()) => return Ok(lost),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}
