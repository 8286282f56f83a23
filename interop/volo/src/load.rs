//! Calls in TTHeader, one at a time on a connection and many at a time on one, all at once.

use std::io::Write;
use std::net::SocketAddr;

use crate::cases::{Caller, DIALECTS};

/// Clients of each dialect, and calls of each.
const CLIENTS: usize = 4;
const CALLS: usize = 150;

/// Asks, once a line of standard input says so; how many calls were answered.
pub(crate) async fn load(address: SocketAddr) -> usize {
    let callers: Vec<Caller> = DIALECTS
        .iter()
        .map(|dialect| Caller { dialect: *dialect, address, trusting: address })
        .filter(Caller::has_header)
        .collect();
    println!("ready");
    std::io::stdout().flush().expect("standard output");
    std::io::stdin().read_line(&mut String::new()).expect("standard input");
    let asked: Vec<_> = callers
        .iter()
        .flat_map(|caller| (0..CLIENTS).map(|index| tokio::spawn(caller.ask_many(index, CALLS))))
        .collect();
    let mut answered = 0;
    for asked in asked {
        answered += asked.await.expect("every reply is the right one");
    }
    answered
}
