//! What load is offered: how many requests, when each is meant to start, and their bytes.
//!
//! It knows no sockets and no clock; times are counted from the start of the load.

use std::time::Duration;

use mock::thrift::Encoding;

use crate::url::Url;

/// A constant rate as an endless row of instants, `1 / rate` apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rhythm {
    rate: f64,
}

impl Rhythm {
    /// `rate` instants a second; must be more than 0.
    pub(crate) fn new(rate: f64) -> Self {
        assert!(rate > 0.0, "a rhythm needs a rate");
        Self { rate }
    }

    /// When the instant `index` is. Computed from the index, so that errors do not add up.
    pub(crate) fn at(&self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// The index of the first instant later than `time`.
    pub(crate) fn first_after(&self, time: Duration) -> u64 {
        let guess = (time.as_secs_f64() * self.rate) as u64;
        (guess.saturating_sub(1)..).find(|&index| self.at(index) > time).unwrap_or(u64::MAX)
    }
}

/// What requests are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1, one burst a connection at a time.
    Http1,
    /// HTTP/2 by prior knowledge, many streams a connection.
    Http2,
    /// HTTP/2 with unary calls.
    Grpc,
    /// Thrift, many calls a connection.
    Thrift(Dialect),
}

/// How calls of Thrift are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// A frame within a TTHeader; else a frame alone.
    pub(crate) is_ttheader: bool,
    /// Of the messages.
    pub(crate) encoding: Encoding,
}

impl Dialect {
    /// The beginning of a struct's field 1, a string of so many bytes.
    pub(crate) fn string_field(self, bytes: u64) -> Vec<u8> {
        let bytes = bytes as u32;
        match self.encoding {
            Encoding::Binary => [&[11, 0, 1][..], &bytes.to_be_bytes()].concat(),
            Encoding::Compact => {
                let used = (32 - (bytes | 1).leading_zeros()).div_ceil(7);
                let digits = (0..used).map(|at| {
                    let more = if at + 1 < used { 0x80 } else { 0 };
                    (bytes >> (7 * at)) as u8 & 0x7f | more
                });
                [0x18].into_iter().chain(digits).collect()
            }
        }
    }
}

/// One run of `ringway-bench http1`, `http2`, `grpc` or `thrift`.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where requests go.
    pub(crate) url: Url,
    /// What they are sent as.
    pub(crate) wire: Wire,
    /// Requests a second over all connections; 0 = closed loop.
    pub(crate) rate: u64,
    /// Keep-alive connections.
    pub(crate) connections: u64,
    /// Requests that a connection may have under way; 1 with HTTP/1.1.
    pub(crate) streams: u64,
    /// Load before counting starts.
    pub(crate) warmup: Duration,
    /// How long is counted.
    pub(crate) duration: Duration,
    /// Ends earlier, after this many requests; 0 = no limit.
    pub(crate) requests_max: u64,
    /// Request method; of Thrift how it is spoken, for the report.
    pub(crate) method: String,
    /// Body of each request; of a call its message, or its argument.
    pub(crate) body_bytes: u64,
    /// More fields of each request, or pairs of its TTHeader; not with HTTP/1.1.
    pub(crate) fields: Vec<(String, String)>,
    /// Paths that requests go through in turn; at least one. Of Thrift `/Service/method`.
    pub(crate) paths: Vec<String>,
    /// Requests in one write.
    pub(crate) pipeline: u64,
    /// Load threads.
    pub(crate) threads: u64,
    /// Limit of one burst.
    pub(crate) timeout: Duration,
}

impl Plan {
    /// When bursts of `pipeline` requests start, over all connections; `None` in a closed loop.
    pub(crate) fn rhythm(&self) -> Option<Rhythm> {
        let rate = self.rate as f64 / self.pipeline as f64;
        (self.rate > 0).then(|| Rhythm::new(rate))
    }

    /// Places for one burst at a time: a connection, or a stream of one. Seat `n` belongs to
    /// connection `n % connections`, so that seats in a row load all connections alike.
    pub(crate) fn seats(&self) -> u64 {
        self.connections * self.streams
    }

    /// The place in the rhythm of a seat's `burst`: seats take turns.
    pub(crate) fn turn(&self, seat: u64, burst: u64) -> u64 {
        seat + burst * self.seats()
    }

    /// How many bursts a seat sends at most.
    pub(crate) fn bursts_max(&self, seat: u64) -> u64 {
        if self.requests_max == 0 {
            return u64::MAX;
        }
        let bursts = self.requests_max.div_ceil(self.pipeline);
        (bursts + self.seats() - 1).saturating_sub(seat) / self.seats()
    }

    /// The end of the load.
    pub(crate) fn end(&self) -> Duration {
        self.warmup + self.duration
    }

    /// The connections of a load thread.
    pub(crate) fn connections_of(&self, thread: u64) -> impl Iterator<Item = u64> + use<> {
        (thread..self.connections).step_by(self.threads as usize)
    }

    /// The seats of a connection.
    pub(crate) fn seats_of(&self, connection: u64) -> impl Iterator<Item = u64> + use<> {
        (connection..self.seats()).step_by(self.connections as usize)
    }

    /// The bytes of every burst of HTTP/1.1 that occurs; burst `turn` of the load is
    /// `bursts[turn % len]`.
    pub(crate) fn bursts(&self) -> Vec<Vec<u8>> {
        let requests: Vec<Vec<u8>> = self.paths.iter().map(|path| self.request(path)).collect();
        let count = if requests.len() == 1 { 1 } else { requests.len() };
        let burst = |first: usize| {
            let indexes = (0..self.pipeline as usize).map(|index| (first + index) % requests.len());
            indexes.flat_map(|index| requests[index].iter().copied()).collect()
        };
        (0..count).map(burst).collect()
    }

    fn request(&self, path: &str) -> Vec<u8> {
        let mut bytes = format!("{} {path} HTTP/1.1\r\nHost: {}\r\n", self.method, self.url.host);
        if self.body_bytes > 0 {
            bytes += &format!("Content-Length: {}\r\n", self.body_bytes);
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        bytes.extend((0..self.body_bytes).map(mock::http1::body_byte));
        bytes
    }
}

/// The paths of a `--path-file`: a path a line, blank lines and `#` lines left out.
pub(crate) fn paths(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.starts_with('/')).map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) fn example(address: std::net::SocketAddr) -> Plan {
    Plan {
        url: Url { address, host: "test".into(), path: "/".into() },
        wire: Wire::Http1,
        rate: 0,
        connections: 4,
        streams: 1,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(3600),
        requests_max: 0,
        method: "GET".into(),
        body_bytes: 0,
        fields: Vec::new(),
        paths: vec!["/".into()],
        pipeline: 1,
        threads: 1,
        timeout: Duration::from_secs(60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        example(([127, 0, 0, 1], 80).into())
    }

    #[test]
    fn a_rhythm_does_not_drift() {
        let rhythm = Rhythm::new(7.0);
        assert_eq!(rhythm.at(7_000_000), Duration::from_secs(1_000_000));
        assert_eq!(rhythm.first_after(Duration::ZERO), 1);
        assert_eq!(rhythm.first_after(Duration::from_secs(1)), 8);
        assert_eq!(rhythm.first_after(Duration::from_millis(1001)), 8);
    }

    #[test]
    fn connections_together_keep_the_rate() {
        let plan = Plan { rate: 1000, ..plan() };
        let rhythm = plan.rhythm().unwrap();
        let mut starts: Vec<Duration> = (0..plan.connections)
            .flat_map(|connection| (0..10).map(move |burst| (connection, burst)))
            .map(|(connection, burst)| rhythm.at(plan.turn(connection, burst)))
            .collect();
        starts.sort();
        let even: Vec<Duration> = (0..40).map(Duration::from_millis).collect();
        assert_eq!(starts, even);
    }

    #[test]
    fn a_pipelined_burst_counts_as_all_its_requests() {
        let plan = Plan { rate: 1000, pipeline: 10, ..plan() };
        assert_eq!(plan.rhythm().unwrap().at(1), Duration::from_millis(10));
        assert_eq!(plan.bursts()[0], plan.request("/").repeat(10));
    }

    #[test]
    fn a_request_limit_is_shared_out_exactly() {
        for (requests, connections, pipeline) in [(10, 4, 1), (3, 4, 1), (64, 4, 8), (1, 1, 1)] {
            let plan = Plan { requests_max: requests, connections, pipeline, ..plan() };
            let bursts: u64 = (0..connections).map(|index| plan.bursts_max(index)).sum();
            assert_eq!(bursts * pipeline, requests);
        }
        let plan = Plan { requests_max: 1000, connections: 7, streams: 9, ..plan() };
        assert_eq!((0..63).map(|seat| plan.bursts_max(seat)).sum::<u64>(), 1000);
        assert_eq!(self::plan().bursts_max(0), u64::MAX);
    }

    #[test]
    fn threads_share_the_connections() {
        let plan = Plan { connections: 7, threads: 3, ..plan() };
        let mut all: Vec<u64> = (0..3).flat_map(|thread| plan.connections_of(thread)).collect();
        all.sort();
        assert_eq!(all, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn connections_share_the_seats() {
        let plan = Plan { connections: 3, streams: 4, ..plan() };
        assert_eq!(plan.seats_of(1).collect::<Vec<_>>(), [1, 4, 7, 10]);
        let mut all: Vec<u64> = (0..3).flat_map(|connection| plan.seats_of(connection)).collect();
        all.sort();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn mixed_paths_go_round() {
        let plan = Plan { paths: paths("# mix\n/a\n\n/b\n/c\n"), pipeline: 2, ..plan() };
        let bursts = plan.bursts();
        assert_eq!(bursts.len(), 3);
        assert_eq!(bursts[2], [plan.request("/c"), plan.request("/a")].concat());
    }

    #[test]
    fn a_string_has_its_length() {
        let of = |encoding, bytes| Dialect { is_ttheader: false, encoding }.string_field(bytes);
        assert_eq!(of(Encoding::Binary, 258), [11, 0, 1, 0, 0, 1, 2]);
        assert_eq!(of(Encoding::Compact, 0), [0x18, 0]);
        assert_eq!(of(Encoding::Compact, 127), [0x18, 127]);
        assert_eq!(of(Encoding::Compact, 300), [0x18, 0xac, 2]);
    }

    #[test]
    fn a_body_has_its_length() {
        let plan = Plan { body_bytes: 3, method: "POST".into(), ..plan() };
        let request = String::from_utf8(plan.request("/x")).unwrap();
        assert_eq!(request, "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n012");
    }
}
