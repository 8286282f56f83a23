//! Which engine number is published as which gauge.
//!
//! The engine knows no exporter and `observe` no engine; this table is where the two meet.

use engine::Stats;
use observe::Gauge;

/// The engine's numbers under their gauges.
pub(crate) fn of(stats: &Stats) -> [(Gauge, u64); 19] {
    [
        (Gauge::RingEnters, stats.enters),
        (Gauge::RingSqes, stats.sqes),
        (Gauge::RingCqes, stats.cqes),
        (Gauge::RingStaleCqes, stats.stale_cqes),
        (Gauge::RingCqOverflows, stats.cq_overflows),
        (Gauge::BuffersExhausted, stats.enobufs),
        (Gauge::Panics, stats.panics),
        (Gauge::HeadBufsFree, stats.bufs_free[0]),
        (Gauge::BulkBufsFree, stats.bufs_free[1]),
        (Gauge::OpsInFlight, stats.ops_in_flight),
        (Gauge::Tasks, stats.tasks),
        (Gauge::Sockets, stats.sockets),
        (Gauge::StalledBytes, stats.stalled_bytes),
        (Gauge::HeldBytesMax, stats.held_bytes_max),
        (Gauge::Accepts, stats.accepts),
        (Gauge::AcceptPauses, stats.accept_pauses),
        (Gauge::BufferPressureCloses, stats.buffer_pressure_closes),
        (Gauge::Turns, stats.turns),
        (Gauge::LoopDelayMaxUs, stats.turn_us_max),
    ]
}
