//! The cases, each a call or a few of a client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use pilota::FastStr;
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::codec::default::framed::MakeFramedCodec;
use volo_thrift::codec::default::thrift::MakeThriftCodec;
use volo_thrift::codec::default::ttheader::MakeTTHeaderCodec;
use volo_thrift::{ApplicationException, ClientError, Protocol};

use crate::echo::{EchoClient, EchoClientBuilder, call};
use crate::{metadata, serve};

/// How a client speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    transport: Transport,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    Framed,
    Buffered,
    TtHeader,
    /// Many calls at a time on one connection.
    Multiplexed,
}

const fn dialect(name: &'static str, transport: Transport, protocol: Protocol) -> Dialect {
    Dialect { name, transport, protocol }
}

pub(crate) const DIALECTS: &[Dialect] = &[
    dialect("framed_binary", Transport::Framed, Protocol::Binary),
    dialect("framed_compact", Transport::Framed, Protocol::ApacheCompact),
    dialect("buffered_binary", Transport::Buffered, Protocol::Binary),
    dialect("buffered_compact", Transport::Buffered, Protocol::ApacheCompact),
    dialect("ttheader_binary", Transport::TtHeader, Protocol::Binary),
    dialect("ttheader_compact", Transport::TtHeader, Protocol::ApacheCompact),
    dialect("multiplexed_binary", Transport::Multiplexed, Protocol::Binary),
    dialect("multiplexed_compact", Transport::Multiplexed, Protocol::ApacheCompact),
];

/// The servers that read the encoding of a caller.
const BINARY: &[&str] = &[
    "apache_framed_binary",
    "apache_buffered_binary",
    "apache_theader",
    "thriftpy2_framed_binary",
    "thriftpy2_buffered_binary",
    "npm_framed_binary",
    "npm_buffered_binary",
    "npm_theader_binary",
    "volo_framed",
    "volo_buffered",
    "volo_ttheader",
    "volo_multiplexed",
];
const COMPACT: &[&str] = &[
    "apache_framed_compact",
    "apache_buffered_compact",
    "apache_theader",
    "thriftpy2_framed_compact",
    "thriftpy2_buffered_compact",
    "npm_framed_compact",
    "npm_buffered_compact",
    "volo_framed",
    "volo_buffered",
    "volo_ttheader",
    "volo_multiplexed",
];

/// Where calls go, and how they are spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) dialect: Dialect,
    /// A listener, and one that believes what its callers say of themselves.
    pub(crate) address: std::net::SocketAddr,
    pub(crate) trusting: std::net::SocketAddr,
}

impl Caller {
    fn servers(&self) -> &'static [&'static str] {
        match self.dialect.protocol {
            Protocol::Binary => BINARY,
            _ => COMPACT,
        }
    }

    /// Says whether its dialect has a header.
    pub(crate) fn has_header(&self) -> bool {
        matches!(self.dialect.transport, Transport::TtHeader | Transport::Multiplexed)
    }

    /// A client that connects with its first call.
    fn client(&self, address: std::net::SocketAddr, timeout: Duration) -> EchoClient {
        let builder = EchoClientBuilder::new("echo-svc").address(address).caller_name("caller-svc");
        let builder = builder.rpc_timeout(Some(timeout));
        let thrift = MakeThriftCodec::new().with_protocol(self.dialect.protocol);
        match self.dialect.transport {
            Transport::Framed => {
                builder.make_codec(DefaultMakeCodec::new(MakeFramedCodec::new(thrift))).build()
            }
            Transport::Buffered => builder.make_codec(DefaultMakeCodec::new(thrift)).build(),
            Transport::TtHeader | Transport::Multiplexed => {
                let codec = MakeTTHeaderCodec::new(MakeFramedCodec::new(thrift));
                let is_multiplexed = self.dialect.transport == Transport::Multiplexed;
                let builder = builder.make_codec(DefaultMakeCodec::new(codec));
                builder.multiplex(is_multiplexed).build()
            }
        }
    }

    /// Asks so many times, each answer before the next, or eight at a time where the connection
    /// takes that; how many answers were right, which is all.
    pub(crate) async fn ask_many(self, index: usize, count: usize) -> usize {
        let client = self.open();
        let step = if self.dialect.transport == Transport::Multiplexed { 8 } else { 1 };
        let method = |number: usize| self.servers()[number % self.servers().len()];
        for first in (0..count).step_by(step) {
            let numbers = first..count.min(first + step);
            let calls: Vec<_> = numbers
                .map(|number| {
                    let (client, method) = (client.clone(), method(index + number));
                    let text = format!("{index} {number} ").repeat(1 + number * 37 % 400);
                    tokio::spawn(async move {
                        let said = ask(&client, method, text.clone()).await;
                        assert!(
                            said.as_ref().is_ok_and(|said| *said == text),
                            "{method}: {said:?}"
                        );
                    })
                })
                .collect();
            for call in calls {
                call.await.expect("the right answer");
            }
        }
        count
    }

    fn open(&self) -> EchoClient {
        self.client(self.address, serve::CALL_LIMIT)
    }
}

/// What a caller asks; it fails by a panic.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) start: fn(Caller) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(crate) const CASES: &[Case] = &[
    Case { name: "every_server", start: |caller| Box::pin(every_server(caller)) },
    Case { name: "exceptions", start: |caller| Box::pin(exceptions(caller)) },
    Case { name: "oneway", start: |caller| Box::pin(oneway(caller)) },
    Case { name: "many_at_once", start: |caller| Box::pin(many_at_once(caller)) },
    Case { name: "overtaking", start: |caller| Box::pin(overtaking(caller)) },
    Case { name: "timeouts", start: |caller| Box::pin(timeouts(caller)) },
    Case { name: "passed_on", start: |caller| Box::pin(passed_on(caller)) },
];

/// Asks, with nothing to pass on.
async fn ask(
    client: &EchoClient,
    method: &str,
    text: impl Into<FastStr>,
) -> Result<FastStr, ClientError> {
    metadata::with(&[], &[], call(client, method, text.into())).await
}

async fn every_server(caller: Caller) {
    let client = caller.open();
    for method in caller.servers() {
        for text in ["", "hello", "ol\u{e1}", &"x".repeat(300_000)] {
            let said = ask(&client, method, text.to_owned()).await;
            assert!(said.as_ref().is_ok_and(|said| said == text), "{method}: {said:?}");
        }
    }
}

async fn refused(client: &EchoClient, method: &str, text: &'static str) -> (i32, String) {
    match ask(client, method, text).await {
        Err(ClientError::Application(error)) => (error.kind().as_i32(), message(&error)),
        other => panic!("{method}: {other:?}"),
    }
}

fn message(error: &ApplicationException) -> String {
    error.message().to_string()
}

async fn exceptions(caller: Caller) {
    let client = caller.open();
    for method in caller.servers() {
        assert_eq!(refused(&client, method, "fail").await, (5, "as asked".to_owned()), "{method}");
        assert_eq!(ask(&client, method, "on").await.expect("an answer"), "on");
    }
    assert_eq!(refused(&client, "nowhere", "x").await, (1, "no_route".to_owned()));
}

/// Servers of oneways, and a method by which they are asked.
const TOLD: &[(&str, &str)] = &[
    ("tell_apache", "apache_theader"),
    ("tell_thriftpy2", "thriftpy2_framed_binary"),
    ("tell_npm", "npm_buffered_binary"),
    ("tell_volo", "volo_ttheader"),
];

async fn oneway(caller: Caller) {
    let client = caller.open();
    for (tell, method) in TOLD.iter().filter(|(_, method)| caller.servers().contains(method)) {
        let text = format!("volo {} {tell}", caller.dialect.name);
        ask(&client, tell, text.clone()).await.expect("nothing is answered");
        let told = ask(&client, method, format!("told {text}")).await;
        assert_eq!(told.expect("an answer"), "1", "{tell}");
    }
}

async fn many_at_once(caller: Caller) {
    let client = caller.open();
    let calls: Vec<_> = (0..200)
        .map(|index| {
            let (client, method) =
                (client.clone(), caller.servers()[index % caller.servers().len()]);
            tokio::spawn(async move { ask(&client, method, index.to_string()).await })
        })
        .collect();
    for (index, call) in calls.into_iter().enumerate() {
        let said = call.await.expect("no panic").expect("an answer");
        assert_eq!(said, index.to_string());
    }
}

/// A call is answered that waits for what comes after it, on the same connection where that may be.
async fn overtaking(caller: Caller) {
    let client = caller.open();
    let text = format!("volo {} overtakes", caller.dialect.name);
    let waiting = {
        let (client, text) = (client.clone(), format!("told {text}"));
        tokio::spawn(async move { ask(&client, "volo_ttheader", text).await })
    };
    assert_eq!(ask(&client, "volo_framed", "first").await.expect("an answer"), "first");
    ask(&client, "tell_volo", text).await.expect("nothing is answered");
    assert_eq!(waiting.await.expect("no panic").expect("an answer"), "1");
}

/// How long a caller waits is in its header: the gateway gives up, and says so or closes.
async fn timeouts(caller: Caller) {
    if !caller.has_header() {
        return;
    }
    let client = caller.client(caller.address, Duration::from_millis(200));
    let said = ask(&client, "volo_ttheader", "told nothing").await;
    assert!(said.is_err(), "{said:?}");
    assert_eq!(ask(&caller.open(), "volo_ttheader", "on").await.expect("an answer"), "on");
}

/// Metadata goes on from a listener that believes its callers, and from no other.
async fn passed_on(caller: Caller) {
    if !caller.has_header() {
        return;
    }
    let persistent = [("USER_ID", "7"), ("ZONE", "eu")];
    let transient = [("STEP", "one"), ("traceparent", TRACEPARENT)];
    for (address, want) in [
        (caller.address, format!("transient TRACEPARENT={TRACEPARENT}")),
        (
            caller.trusting,
            format!(
                "persistent USER_ID=7\npersistent ZONE=eu\ntransient STEP=one\n\
                 transient TRACEPARENT={TRACEPARENT}"
            ),
        ),
    ] {
        let client = caller.client(address, serve::CALL_LIMIT);
        let asked = call(&client, "volo_ttheader", "metadata".into());
        let said = metadata::with(&persistent, &transient, asked).await.expect("an answer");
        let said: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("persistent X_REQUEST_ID=")).collect();
        assert_eq!(said.join("\n").replace("traceparent", "TRACEPARENT"), want, "{address}");
    }
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
