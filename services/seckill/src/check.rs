//! `seckill health URL`: for images that have no other client.

use std::time::Duration;

use anyhow::Context;

/// Whether the URL answers 2xx; says why where it does not.
pub(crate) async fn run(url: &str) -> anyhow::Result<bool> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let response =
        client.get(url).send().await.with_context(|| format!("{url} cannot be asked"))?;
    let status = response.status();
    if !status.is_success() {
        eprintln!("{url} answers {status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(status.is_success())
}
