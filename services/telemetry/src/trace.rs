//! Log lines on stderr.

use std::ffi::OsStr;
use std::io::IsTerminal;

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to write log lines. `filter` is in the form of `RUST_LOG`, such as `info,rdkafka=warn`.
///
/// # Errors
/// The filter is not one.
pub fn start_tracing(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // Its source says the same once more.
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow!("{error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Where nobody reads stderr any more, a complaint about that would panic.
        .log_internal_errors(false)
        .with_ansi(is_colored(
            std::io::stderr().is_terminal(),
            std::env::var_os("NO_COLOR").as_deref(),
        ));
    // Somebody else may have begun already, as tests do: their lines are as good.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Colours are for terminals, unless somebody does not want any (no-color.org).
fn is_colored(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_colors_gets_none() {
        assert!(is_colored(true, None) && is_colored(true, Some(OsStr::new(""))));
        assert!(!is_colored(true, Some(OsStr::new("1"))) && !is_colored(false, None));
    }
}
