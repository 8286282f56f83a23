//! No descriptor left: one connection is refused, accepting pauses, and goes on when it can.
//!
//! A test binary of its own, because it uses up the whole process's descriptors.

use std::fs::File;
use std::time::Duration;

use engine::{Piece, Runtime, ShardConfig, bind};

#[test]
fn accepting_pauses_without_descriptors_and_recovers() {
    const CLIENTS: usize = 8;
    let runtime = Runtime::new(&ShardConfig::default()).unwrap();
    let shard = runtime.shard();
    runtime.block_on(async move {
        let bound = bind(&"127.0.0.1:0".parse().unwrap(), 1, 64).unwrap().pop().unwrap();
        // The kernel completes these into the backlog before anybody accepts.
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(shard.connect(bound.address()).await.unwrap());
        }
        let first = File::open("/dev/null").unwrap();
        let mut hoard = Vec::new();
        while let Ok(another) = first.try_clone() {
            hoard.push(another);
        }
        let listener = shard.listen(bound).unwrap();
        while shard.stats().accept_pauses < 2 {
            shard.sleep_until(shard.now() + Duration::from_millis(5)).await;
        }
        // The two refused ones learn it at once instead of hanging in the backlog.
        let ended = clients[0].recv().await;
        assert!(!matches!(ended, Ok(Some(_))));
        drop(hoard);
        let refused = shard.stats().accept_pauses as usize;
        let mut accepted = 0;
        while accepted + refused < CLIENTS {
            let stream = listener.accept().await.unwrap();
            stream.push(Piece::Static(b"served")).unwrap();
            stream.finish(shard.now() + Duration::from_secs(1));
            accepted += 1;
        }
        assert_eq!(shard.stats().accepts as usize, accepted);
        assert_eq!(&clients[CLIENTS - 1].recv().await.unwrap().unwrap()[..], b"served");
    });
}
