//! A TCP proxy on whose connections things go wrong.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::fault::Trouble;

/// How late what is late comes.
const LATE: Duration = Duration::from_millis(100);
/// The share of chunks lost during such a fault, where little is said on a connection: of customers and nodes.
pub(crate) const OFTEN: f64 = 0.2;
/// The same of engines and their clients, who lose all that is on its way with a connection.
pub(crate) const SELDOM: f64 = 0.04;
const CHUNK: usize = 64 << 10;

/// Trouble on the connections of one client, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storm {
    pub(crate) trouble: Trouble,
    /// The name that the client gives itself to Kafka.
    pub(crate) of: Option<String>,
}

type Weather = watch::Sender<Vec<Storm>>;

/// Takes connections on a port of its own, and passes them on. Ends when dropped, with all of them.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: Arc<Weather>,
    _taking: AbortOnDropHandle<()>,
}

/// A storm ends when this is dropped.
pub(crate) struct Raging {
    weather: Arc<Weather>,
    storm: Storm,
}

impl Drop for Raging {
    fn drop(&mut self) {
        self.weather.send_modify(|storms| {
            if let Some(index) = storms.iter().position(|storm| *storm == self.storm) {
                storms.remove(index);
            }
        });
    }
}

impl Proxy {
    /// To a port of this machine; in a storm so much of what is said gets lost.
    pub(crate) async fn to(server: u16, lost: f64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a proxy")?;
        let port = listener.local_addr()?.port();
        let (weather, _) = watch::channel(Vec::new());
        let weather = Arc::new(weather);
        let taking = tokio::spawn(take(listener, server, lost, Arc::clone(&weather)));
        Ok(Self { port, weather, _taking: AbortOnDropHandle::new(taking) })
    }

    pub(crate) fn raise(&self, storm: Storm) -> Raging {
        self.weather.send_modify(|storms| storms.push(storm.clone()));
        Raging { weather: Arc::clone(&self.weather), storm }
    }
}

async fn take(listener: TcpListener, server: u16, lost: f64, weather: Arc<Weather>) {
    let mut passing = tokio::task::JoinSet::new();
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let weather = weather.subscribe();
            passing.spawn(pass(
                client,
                server,
                Connection { weather, lost, client: OnceLock::new() },
            ));
        }
        while passing.try_join_next().is_some() {}
    }
}

/// Which way something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Asked,
    Answered,
}

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Late,
    Lost,
    CutShort,
}

struct Connection {
    weather: watch::Receiver<Vec<Storm>>,
    lost: f64,
    client: OnceLock<Option<String>>,
}

async fn pass(client: TcpStream, server: u16, connection: Connection) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        _ = connection.flow(Way::Asked, from_client, to_server) => {}
        _ = connection.flow(Way::Answered, from_server, to_client) => {}
        () = connection.until(|troubles| troubles.contains(&Trouble::Shut)) => {}
    }
}

impl Connection {
    async fn flow(
        &self,
        way: Way,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = from.read(&mut chunk).await?;
            let said = &chunk[..length];
            if said.is_empty() {
                return Ok(());
            }
            if way == Way::Asked {
                self.client.get_or_init(|| kafka_client(said));
            }
            if self.troubles().contains(&Trouble::Shut) {
                return Ok(()); // whose it is has just become known
            }
            self.until(|troubles| !troubles.contains(&Trouble::Hang)).await;
            match fate(way, &self.troubles(), rand::random_bool(self.lost)) {
                Fate::Pass => to.write_all(said).await?,
                Fate::Late => {
                    tokio::time::sleep(LATE).await;
                    to.write_all(said).await?;
                }
                Fate::Lost => return Ok(()),
                Fate::CutShort => return to.write_all(&said[..length / 2]).await,
            }
        }
    }

    /// What goes wrong on this connection now.
    fn troubles(&self) -> Vec<Trouble> {
        let client = self.client.get().and_then(Option::as_deref);
        let storms = self.weather.borrow();
        let here =
            storms.iter().filter(|storm| storm.of.is_none() || storm.of.as_deref() == client);
        here.map(|storm| storm.trouble).collect()
    }

    async fn until(&self, is_so: impl Fn(&[Trouble]) -> bool) {
        let mut weather = self.weather.clone();
        while !is_so(&self.troubles()) {
            if weather.changed().await.is_err() {
                return;
            }
        }
    }
}

fn fate(way: Way, troubles: &[Trouble], unlucky: bool) -> Fate {
    let is_lost = |trouble: &Trouble| match trouble {
        Trouble::LoseRequests => way == Way::Asked,
        Trouble::LoseAnswers => way == Way::Answered,
        _ => false,
    };
    if unlucky && troubles.iter().any(is_lost) {
        Fate::Lost
    } else if unlucky && troubles.contains(&Trouble::CutShort) {
        Fate::CutShort
    } else if troubles.contains(&Trouble::Slow) {
        Fate::Late
    } else {
        Fate::Pass
    }
}

/// The name that a client of Kafka gives itself: after the length of the request, which request it is, its
/// version and its number.
fn kafka_client(request: &[u8]) -> Option<String> {
    let (length, name) = request.get(12..)?.split_first_chunk()?;
    let name = name.get(..usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_kafka_is_known_by_its_first_request() {
        let mut request = vec![0, 0, 0, 30, 0, 18, 0, 3, 0, 0, 0, 1, 0, 14];
        request.extend(b"seckill.node-1and more");
        assert_eq!(kafka_client(&request).as_deref(), Some("seckill.node-1"));
        assert_eq!(kafka_client(&request[..20]), None);
        assert_eq!(kafka_client(b"GET / HTTP/1.1\r\n\r\n"), None);
        request[12] = 0xff; // it gives itself none
        assert_eq!(kafka_client(&request), None);
    }

    #[test]
    fn what_is_lost_depends_on_the_way() {
        let storm = [Trouble::LoseAnswers];
        assert_eq!(fate(Way::Answered, &storm, true), Fate::Lost);
        assert_eq!(fate(Way::Asked, &storm, true), Fate::Pass);
        assert_eq!(fate(Way::Answered, &storm, false), Fate::Pass);
        assert_eq!(fate(Way::Asked, &[Trouble::CutShort, Trouble::Slow], true), Fate::CutShort);
        assert_eq!(fate(Way::Asked, &[Trouble::Slow], false), Fate::Late);
    }

    /// Answers what is said with the same.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_storm_begins_and_ends() {
        let proxy = Proxy::to(echo().await, OFTEN).await.expect("a proxy");
        let connect = async || TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("it");
        let mut open = connect().await;
        assert_eq!(&ask(&mut open).await.expect("an answer"), b"ping");
        let shut = proxy.raise(Storm { trouble: Trouble::Shut, of: None });
        assert!(ask(&mut open).await.is_err());
        assert!(ask(&mut connect().await).await.is_err());
        drop(shut);
        assert_eq!(&ask(&mut connect().await).await.expect("an answer"), b"ping");
        let of_one = Storm { trouble: Trouble::Shut, of: Some("one".to_owned()) };
        let _raging = proxy.raise(of_one);
        assert_eq!(&ask(&mut connect().await).await.expect("an answer"), b"ping");
        let mut named = connect().await;
        let request = [&[0; 12][..], &[0, 3], b"one"].concat();
        named.write_all(&request).await.expect("it is sent");
        assert_eq!(named.read(&mut [0; 4]).await.expect("it is closed"), 0);
    }

    #[tokio::test]
    async fn nothing_passes_until_it_is_over() {
        let proxy = Proxy::to(echo().await, OFTEN).await.expect("a proxy");
        let mut open = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("it");
        let hang = proxy.raise(Storm { trouble: Trouble::Hang, of: None });
        let asked = tokio::time::timeout(Duration::from_millis(100), ask(&mut open)).await;
        assert!(asked.is_err());
        drop(hang);
        assert_eq!(&ask(&mut open).await.expect("an answer"), b"ping");
    }
}
