//! Redis: a script that takes from the stock, remembers the customer, and adds an event to a stream.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Client, Script, pipe};

use super::process::{Server, find};
use super::shop::{Buyer, Shop};
use crate::machine::free_port;

/// As the owner of a promotion decides: who has one gets none again, and what is given is in the stream.
const GRAB: &str = r"
if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return -1 end
local left = redis.call('DECR', KEYS[1])
if left < 0 then
  redis.call('INCR', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
  return -2
end
redis.call('XADD', KEYS[3], '*', 'customer', ARGV[1])
return left
";
const KEYS: [&str; 3] = ["stock", "customers", "events"];

pub(super) struct Redis {
    /// When it has the kernel write its log to the disk.
    fsync: &'static str,
    server: Server,
    client: Client,
}

impl Redis {
    /// None where it is not installed.
    pub(super) async fn start(fsync: &'static str, folder: &Path) -> Result<Option<Self>> {
        let Some(program) = find("redis-server", &[]) else { return Ok(None) };
        let (port, data) = (free_port()?, folder.join(format!("redis-{fsync}")));
        std::fs::create_dir_all(&data)?;
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", fsync, "--dir"]).arg(&data);
        let server = Server::start(&mut command, port, &data.join("log"))?;
        let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let () =
            pipe().set(KEYS[0], i64::from(u32::MAX)).ignore().query_async(&mut connection).await?;
        Ok(Some(Self { fsync, server, client }))
    }
}

#[async_trait]
impl Shop for Redis {
    fn name(&self) -> String {
        format!("redis {}", self.fsync)
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn buyer(&self) -> Result<Box<dyn Buyer>> {
        let mut connection = self.client.get_multiplexed_async_connection().await?;
        let script = Script::new(GRAB);
        script.load_async(&mut connection).await?;
        Ok(Box::new(Connection { connection, hash: script.get_hash().to_owned() }))
    }
}

struct Connection {
    connection: MultiplexedConnection,
    hash: String,
}

#[async_trait]
impl Buyer for Connection {
    async fn grab(&mut self, customers: Vec<String>) -> Result<()> {
        let mut commands = pipe();
        for customer in &customers {
            commands.cmd("EVALSHA").arg(&self.hash).arg(KEYS.len()).arg(&KEYS).arg(customer);
        }
        let left: Vec<i64> = commands.query_async(&mut self.connection).await?;
        ensure!(left.iter().all(|left| *left >= 0), "not granted: {left:?}");
        Ok(())
    }
}
