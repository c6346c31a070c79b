//! A running node, as the tools of an operator ask it.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Client, Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::given::base_url;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct TargetArgs {
    /// Node that writes the views, http://HOST:PORT; alone that role is on port 8084
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = base_url, global = true)]
    target: String,
}

pub(crate) struct Node {
    client: Client,
    url: String,
}

impl Node {
    pub(crate) fn new(TargetArgs { target }: &TargetArgs) -> anyhow::Result<Self> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { client, url: target.clone() })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> anyhow::Result<T> {
        let response =
            request.send().await.with_context(|| format!("{} cannot be asked", self.url))?;
        let (status, text) = (response.status(), response.text().await?);
        if !status.is_success() {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            let said = problem["detail"].as_str().unwrap_or(&text);
            bail!("{} answers {status}: {said}", self.url);
        }
        serde_json::from_str(&text).with_context(|| format!("{} is no such node", self.url))
    }
}
