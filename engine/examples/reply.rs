//! Answers every received buffer with one fixed HTTP reply: what the engine alone costs.
//!
//! `cargo run --release -p engine --example reply -- 127.0.0.1:9300`, then
//! `wrk -t1 -c64 -d5 http://127.0.0.1:9300/`. It prints the counters once a second; microseconds
//! of CPU a request = (utime + stime) / polls.

use std::time::Duration;

use engine::{Address, Piece, Runtime, Shard, ShardConfig, Stream, bind};

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!";

async fn answer(stream: Stream) {
    while let Ok(Some(buf)) = stream.recv().await {
        drop(buf);
        if stream.push(Piece::Static(REPLY)).is_err() {
            return;
        }
    }
}

async fn serve(shard: Shard, address: Address) {
    let mut bound = bind(&address, 1, 1024).expect("a free address");
    let listener = shard.listen(bound.remove(0)).expect("a listener");
    let ticker = shard.clone();
    shard.spawn(async move {
        loop {
            ticker.sleep_until(ticker.now() + Duration::from_secs(1)).await;
            println!("{:?}", ticker.stats());
        }
    });
    while let Ok(stream) = listener.accept().await {
        shard.spawn(answer(stream));
    }
}

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9300".into());
    let address: Address = address.parse().expect("an address");
    let runtime = Runtime::new(&ShardConfig::default()).expect("a ring");
    println!("{}", runtime.features());
    let shard = runtime.shard();
    runtime.block_on(serve(shard, address));
}
