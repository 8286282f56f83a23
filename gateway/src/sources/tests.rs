//! The table against a naive map, its bounds, and two threads at once.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn place(admission: Admission) -> Place {
    match admission {
        Admission::Counted(place) => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_is_counted_up_to_its_limit_and_down_again() {
    let sources = Sources::new(100, [1, 2]);
    let places: Vec<_> = (0..3).map(|_| place(sources.admit(v4(1), 3))).collect();
    assert!(places.iter().all(|other| *other == places[0]), "one slot");
    assert_eq!(sources.admit(v4(1), 3), Admission::Full);
    assert!(matches!(sources.admit(v4(2), 3), Admission::Counted(_)), "others are not hit");
    sources.leave(places[0]);
    assert_eq!(sources.admit(v4(1), 3), Admission::Counted(places[0]));
    assert!(matches!(sources.admit(v4(1), 4), Admission::Counted(_)), "the limit may be raised");
    assert_eq!(sources.admit(v4(1), 2), Admission::Full, "or lowered");
}

#[test]
fn an_ipv6_user_is_a_64_and_a_mapped_address_is_ipv4() {
    let sources = Sources::new(100, [1, 2]);
    let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
    let first = place(sources.admit(v6("2001:db8:0:1::1"), 9));
    assert_eq!(place(sources.admit(v6("2001:db8:0:1:ffff::2"), 9)), first);
    assert_ne!(place(sources.admit(v6("2001:db8:0:2::1"), 9)), first);
    let plain = place(sources.admit(v4(7), 9));
    assert_eq!(place(sources.admit(v6("::ffff:192.0.2.7"), 9)), plain);
}

#[test]
fn a_full_window_admits_uncounted_and_a_left_slot_is_taken() {
    let sources = Sources { slots: (0..WINDOW).map(|_| AtomicU64::new(0)).collect(), key: [3, 4] };
    let places: Vec<_> = (0..WINDOW as u8).map(|n| place(sources.admit(v4(n), 1))).collect();
    assert_eq!(sources.admit(v4(200), 1), Admission::Uncounted);
    assert_eq!(sources.admit(v4(5), 1), Admission::Full, "who is in it is still limited");
    sources.leave(places[9]);
    assert_eq!(sources.admit(v4(200), 1), Admission::Counted(places[9]));
    assert_eq!(sources.admit(v4(9), 1), Admission::Uncounted);
}

#[test]
fn the_key_decides_where_a_source_stands() {
    let hash = |key| Sources::new(1000, key).hash(v4(1));
    assert_eq!(hash([1, 2]), hash([1, 2]));
    assert!(hash([1, 2]) != hash([1, 3]) && hash([1, 2]) != hash([2, 2]));
}

#[test]
fn the_size_follows_the_connections() {
    let slots = |conns| Sources::new(conns, [0, 0]).slots.len();
    assert_eq!((slots(0), slots(256), slots(100_000)), (1024, 1024, 524_288));
}

/// Two threads open and close connections of four sources; the truth is counted beside the table.
#[test]
fn two_threads_never_exceed_the_bound_and_end_at_zero() {
    const LIMIT: u32 = 3;
    const SHARDS: u32 = 2;
    let sources = Sources { slots: (0..WINDOW).map(|_| AtomicU64::new(0)).collect(), key: [5, 6] };
    let open: [AtomicU32; 4] = std::array::from_fn(|_| AtomicU32::new(0));
    std::thread::scope(|scope| {
        for seed in 1..=u64::from(SHARDS) {
            let (sources, open) = (&sources, &open);
            scope.spawn(move || {
                let (mut state, mut held) = (seed, Vec::new());
                // Never more than there are: down before the table, up after it.
                let leave = |which: usize, place| {
                    open[which].fetch_sub(1, Ordering::SeqCst);
                    sources.leave(place);
                };
                for _ in 0..200_000 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let which = (state >> 33) as usize % 4;
                    if state >> 63 == 1 && !held.is_empty() {
                        let (which, place): (usize, Place) = held.swap_remove(which % held.len());
                        leave(which, place);
                    } else if let Admission::Counted(place) = sources.admit(v4(which as u8), LIMIT)
                    {
                        let count = open[which].fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(count < LIMIT + SHARDS, "{count} connections");
                        held.push((which, place));
                    }
                }
                held.into_iter().for_each(|(which, place)| leave(which, place));
            });
        }
    });
    assert!(sources.slots.iter().all(|slot| slot.load(Ordering::SeqCst) & COUNT_MASK == 0));
}

proptest! {
    /// One thread, any order of admissions and departures: exactly what a map of counts says.
    #[test]
    fn it_is_a_map_of_counts(
        steps in prop::collection::vec(
            (0u8..40, 1u32..5, any::<prop::sample::Index>(), any::<bool>()),
            0..300,
        ),
        key in any::<[u64; 2]>(),
    ) {
        let sources = Sources::new(10_000, key);
        let mut model: BTreeMap<u8, u32> = BTreeMap::new();
        let mut held: Vec<(u8, Place)> = Vec::new();
        for (source, limit, index, leaves) in steps {
            if leaves && !held.is_empty() {
                let (source, place) = held.swap_remove(index.index(held.len()));
                sources.leave(place);
                *model.get_mut(&source).unwrap() -= 1;
                continue;
            }
            let count = model.entry(source).or_default();
            match sources.admit(v4(source), limit) {
                Admission::Counted(place) => {
                    *count += 1;
                    prop_assert!(*count <= limit);
                    held.push((source, place));
                }
                Admission::Full => prop_assert!(*count >= limit),
                Admission::Uncounted => prop_assert!(false, "the table is nearly empty"),
            }
        }
    }
}
