//! Settings in a TOML file: as if each had been given as a flag, where it was given neither as a flag nor
//! as a variable. So a setting is described once, as a flag.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command};

use crate::given::{Given, nearest};

/// Parses arguments, and the file that they name. Ends the process with clap's own words where the
/// arguments are wrong, or ask for help.
pub(crate) fn matches(command: Command, args: &[OsString]) -> anyhow::Result<ArgMatches> {
    let matches = command.clone().try_get_matches_from(args).unwrap_or_else(|error| error.exit());
    let Some((name, given)) = matches.subcommand() else { return Ok(matches) };
    let Ok(Some(path)) = given.try_get_one::<PathBuf>("config") else { return Ok(matches) };
    let taken = command.find_subcommand(name).context("it was just parsed")?;
    let flags = flags(taken, given, path)
        .with_context(|| format!("config: {} is not valid", path.display()))?;
    let all = [args, &flags].concat();
    command.try_get_matches_from(all).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        anyhow!("config: {} is not valid: {line}", path.display())
    })
}

/// What the file says that is not given otherwise, as flags. Settings of other commands are passed over.
fn flags(command: &Command, given: &ArgMatches, path: &Path) -> anyhow::Result<Vec<OsString>> {
    let text = std::fs::read_to_string(path).context("it cannot be read")?;
    let table: toml::Table = text.parse()?;
    let all = Given::augment_args(Command::new("all"));
    let names = all.get_arguments().map(|arg| arg.get_id().as_str());
    let names: Vec<&str> = names.filter(|name| *name != "config").collect();
    let mut flags = Vec::new();
    for (name, value) in &table {
        if !names.contains(&name.as_str()) {
            let meant = nearest(name, &names).map(|name| format!("; did you mean `{name}`?"));
            bail!("unknown setting `{name}`{}", meant.unwrap_or_default());
        }
        let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == name) else { continue };
        let is_given = matches!(
            given.value_source(name),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        );
        if !is_given {
            let long = arg.get_long().context("a setting without a flag")?;
            let texts = match value {
                toml::Value::Table(table) if matches!(arg.get_action(), ArgAction::Append) => {
                    pairs(name, table)?
                }
                one => vec![text_of(name, one)?],
            };
            flags.extend(texts.into_iter().map(|text| format!("--{long}={text}").into()));
        }
    }
    Ok(flags)
}

/// NAME=VALUE of all that is in a table. A name with dots is a table in a table.
fn pairs(of: &str, table: &toml::Table) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(within) => {
                let within = pairs(of, within)?.into_iter();
                all.extend(within.map(|pair| format!("{name}.{pair}")));
            }
            toml::Value::Boolean(is) => all.push(format!("{name}={is}")),
            other => all.push(format!("{name}={}", text_of(of, other)?)),
        }
    }
    Ok(all)
}

fn text_of(name: &str, value: &toml::Value) -> anyhow::Result<String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        other => bail!("{name} must be a text or a whole number, not {}", other.type_str()),
    }
}
