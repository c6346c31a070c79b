//! PostgreSQL: a function that takes from the stock and inserts the coupon, each grab a transaction of its own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use futures::future::try_join_all;
use tokio_postgres::{Client, NoTls, Statement};

use super::process::{Server, find};
use super::shop::{Buyer, Shop};
use crate::machine::free_port;

/// Where Debian has it.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];
/// Nobody: it does not run as root.
const NOBODY: u32 = 65_534;
const SCHEMA: &str = "
create table sale (id int primary key, remaining bigint not null) with (fillfactor = 10);
create table coupon (id bigint generated always as identity primary key, customer text not null unique);
insert into sale values (1, 4294967295);
create function grab(who text) returns bigint language plpgsql as $$
declare given bigint;
begin
  update sale set remaining = remaining - 1 where id = 1 and remaining > 0;
  if not found then return -2; end if;
  insert into coupon (customer) values (who) on conflict do nothing returning id into given;
  if given is null then raise exception 'they have one'; end if;
  return given;
end $$;
";

pub(super) struct Postgres {
    server: Server,
    address: String,
}

impl Postgres {
    /// None where it is not installed.
    pub(super) async fn start(folder: &Path) -> Result<Option<Self>> {
        let programs = ["initdb", "postgres"].map(|name| find(name, &FOLDERS));
        let [Some(initdb), Some(postgres)] = programs else { return Ok(None) };
        let (port, data) = (free_port()?, folder.join("postgres"));
        std::fs::create_dir_all(&data)?;
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY))?;
        }
        let run = |program: PathBuf| {
            let mut command = Command::new(program);
            command.arg("-D").arg(&data).current_dir(&data);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made = run(initdb)
            .args(["--username", "bench", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"])
            .output()
            .context("initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut command = run(postgres);
        command.args(["-p", &port.to_string(), "-k", "", "-h", "127.0.0.1"]);
        command.args(["-c", "max_connections=600", "-c", "shared_buffers=256MB"]);
        command.args(["-c", "max_wal_size=4GB", "-c", "synchronous_commit=on"]);
        let server = Server::start(&mut command, port, &folder.join("postgres.log"))?;
        let address = format!("host=127.0.0.1 port={port} user=bench dbname=postgres");
        let (client, connection) = connect(&address).await?;
        client.batch_execute(SCHEMA).await?;
        drop((client, connection));
        Ok(Some(Self { server, address }))
    }
}

/// Waits while it is still starting.
async fn connect(address: &str) -> Result<(Client, tokio::task::JoinHandle<()>)> {
    let mut tries = 0;
    loop {
        match tokio_postgres::connect(address, NoTls).await {
            Ok((client, connection)) => {
                return Ok((client, tokio::spawn(async move { drop(connection.await) })));
            }
            Err(error) if tries == 100 => return Err(error.into()),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
        tries += 1;
    }
}

#[async_trait]
impl Shop for Postgres {
    fn name(&self) -> String {
        "postgresql".to_owned()
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn buyer(&self) -> Result<Box<dyn Buyer>> {
        let (client, _) = connect(&self.address).await?;
        let grab = client.prepare("select grab($1)").await?;
        Ok(Box::new(Connection { client, grab }))
    }
}

struct Connection {
    client: Client,
    grab: Statement,
}

#[async_trait]
impl Buyer for Connection {
    async fn grab(&mut self, customers: Vec<String>) -> Result<()> {
        // They go together, and each is committed by itself.
        let asked = customers.iter().map(async |customer| {
            let row = self.client.query_one(&self.grab, &[customer]).await?;
            let given: i64 = row.get(0);
            ensure!(given > 0, "not granted: {given}");
            Ok(())
        });
        try_join_all(asked).await.map(drop)
    }
}
