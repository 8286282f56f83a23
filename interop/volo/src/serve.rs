//! The servers: one for every dialect with one call at a time, one for TTHeader with many.

use std::io::Write;
use std::time::Duration;

use tokio::net::TcpListener;
use volo::net::incoming::DefaultIncoming;

use crate::echo::{EchoServer, Told};

/// Generous: it ends a call whose answer never comes, and none on a machine that is busy.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(300);

/// Serves on free ports and says which; an answer takes so long.
pub(crate) async fn serve(delay: Duration) {
    let (told, ports) = (Told::after(delay), [listen().await, listen().await]);
    let [one, many] = ports.each_ref().map(|port| port.local_addr().expect("an address").port());
    println!("ready volo={one} volo_multiplexed={many}");
    std::io::stdout().flush().expect("standard output");
    let [one, many] = ports.map(DefaultIncoming::from);
    let single = tokio::spawn(EchoServer::new(told.clone()).run(one));
    let multiplexed = EchoServer::new(told).multiplex(true).run(many);
    multiplexed.await.expect("the second server runs");
    single.await.expect("no panic").expect("the first server runs");
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}
