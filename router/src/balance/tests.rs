//! Both algorithms under the same rules: shares follow weights, `avoid` is honoured.

use proptest::prelude::*;

use super::{BalanceKind, Balancer};
use crate::{Cluster, ClusterId, Endpoint, EndpointId};

fn cluster(kind: BalanceKind, weights: &[u32]) -> Cluster {
    let endpoint = |(index, weight): (usize, &u32)| {
        let address = format!("127.0.0.1:{}", 9000 + index);
        Endpoint { weight: *weight, ..Endpoint::new(&address) }
    };
    let endpoints = weights.iter().enumerate().map(endpoint).collect();
    Cluster { balance: kind, ..Cluster::new(ClusterId(0), "c", endpoints) }
}

/// How often each endpoint is chosen in `count` requests that finish at once.
fn shares(kind: BalanceKind, weights: &[u32], count: usize) -> Vec<usize> {
    let cluster = cluster(kind, weights);
    let mut balancer = Balancer::new(&cluster, 7);
    let mut shares = vec![0; weights.len()];
    for _ in 0..count {
        let EndpointId(index) = balancer.pick(&cluster, &[], None).unwrap();
        shares[index as usize] += 1;
    }
    shares
}

/// In flight at each endpoint after `count` requests that never finish.
fn pile(weights: &[u32], count: usize) -> Vec<u32> {
    let cluster = cluster(BalanceKind::LeastLoaded, weights);
    let mut balancer = Balancer::new(&cluster, 7);
    let mut loads = vec![0; weights.len()];
    for _ in 0..count {
        let EndpointId(index) = balancer.pick(&cluster, &loads, None).unwrap();
        loads[index as usize] += 1;
    }
    loads
}

#[test]
fn round_robin_is_exact() {
    assert_eq!(shares(BalanceKind::RoundRobin, &[1, 1, 1], 30), [10, 10, 10]);
    assert_eq!(shares(BalanceKind::RoundRobin, &[5, 1, 1], 70), [50, 10, 10]);
    assert_eq!(shares(BalanceKind::RoundRobin, &[3, 0, 1], 40), [30, 0, 10]);
}

#[test]
fn round_robin_spreads_a_heavy_endpoint() {
    let cluster = cluster(BalanceKind::RoundRobin, &[5, 1, 1]);
    let mut balancer = Balancer::new(&cluster, 0);
    let mut pick = || balancer.pick(&cluster, &[], None).map(|id| id.0);
    let picks: Vec<Option<u32>> = (0..70).map(|_| pick()).collect();
    let light = |pick: &Option<u32>| *pick != Some(0);
    assert!(!picks.windows(2).any(|pair| pair.iter().all(light)), "{picks:?}");
}

#[test]
fn shards_begin_at_different_endpoints() {
    let cluster = cluster(BalanceKind::RoundRobin, &[1; 8]);
    let first = |seed| Balancer::new(&cluster, seed).pick(&cluster, &[], None);
    let firsts: std::collections::BTreeSet<_> = (0..64).map(first).collect();
    assert!(firsts.len() > 4, "{firsts:?}");
}

#[test]
fn least_loaded_takes_the_least_loaded() {
    let cluster = cluster(BalanceKind::LeastLoaded, &[1, 1, 2]);
    let mut balancer = Balancer::new(&cluster, 1);
    assert_eq!(balancer.pick(&cluster, &[2, 1, 4], None), Some(EndpointId(1)));
    assert_eq!(balancer.pick(&cluster, &[2, 2, 3], None), Some(EndpointId(2)), "per weight");
    assert_eq!(
        balancer.pick(&cluster, &[2, 1, 4], Some(EndpointId(1))).map(|id| id.0 != 1),
        Some(true)
    );
}

#[test]
fn least_loaded_breaks_ties_fairly() {
    for share in shares(BalanceKind::LeastLoaded, &[1, 1, 1, 1], 4000) {
        assert!((800..1200).contains(&share), "{share}");
    }
    let shares = shares(BalanceKind::LeastLoaded, &[3, 1], 4000);
    assert!((2800..3200).contains(&shares[0]), "{shares:?}");
}

#[test]
fn least_loaded_fills_by_weight() {
    assert_eq!(pile(&[1, 1, 1, 1], 40), [10, 10, 10, 10]);
    assert_eq!(pile(&[3, 1], 40), [30, 10]);
    let loads = pile(&[1; 100], 10_000);
    assert!(loads.iter().all(|load| (90..=110).contains(load)), "{loads:?}");
    let mut weights = [1; 40];
    weights[0] = 10;
    let loads = pile(&weights, 4900);
    assert!((900..1100).contains(&loads[0]), "{loads:?}");
}

#[test]
fn the_only_endpoint_is_chosen_though_avoided() {
    for kind in [BalanceKind::RoundRobin, BalanceKind::LeastLoaded] {
        for weights in [&[1][..], &[0, 2], &[1, 0, 0]] {
            let cluster = cluster(kind, weights);
            let only = weights.iter().position(|weight| *weight > 0).map(|i| EndpointId(i as u32));
            let mut balancer = Balancer::new(&cluster, 3);
            assert_eq!(balancer.pick(&cluster, &[], only), only, "{kind:?} {weights:?}");
        }
        let none = cluster(kind, &[0, 0]);
        assert_eq!(Balancer::new(&none, 3).pick(&none, &[], None), None);
        let empty = cluster(kind, &[]);
        assert_eq!(Balancer::new(&empty, 3).pick(&empty, &[], Some(EndpointId(0))), None);
    }
}

proptest! {
    #[test]
    fn a_pick_is_eligible(
        least in any::<bool>(),
        weights in prop::collection::vec(0u32..4, 0..40),
        loads in prop::collection::vec(0u32..9, 0..40),
        avoid in prop::option::of(0u32..40),
        seed in any::<u64>(),
    ) {
        let kind = if least { BalanceKind::LeastLoaded } else { BalanceKind::RoundRobin };
        let cluster = cluster(kind, &weights);
        let mut balancer = Balancer::new(&cluster, seed);
        let avoid = avoid.map(EndpointId);
        let eligible = |id: usize| weights[id] > 0 && avoid != Some(EndpointId(id as u32));
        for _ in 0..20 {
            let pick = balancer.pick(&cluster, &loads, avoid).map(|id| id.0 as usize);
            match pick {
                Some(index) if (0..weights.len()).any(eligible) => prop_assert!(eligible(index)),
                Some(index) => prop_assert!(weights[index] > 0),
                None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
            }
        }
    }
}
