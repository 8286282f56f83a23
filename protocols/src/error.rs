//! What a peer did wrong, in two bytes: `Error { fault, scope }`.
//!
//! A fault names the deed and cites the rule; it is not a message, holds no bytes of the peer and
//! allocates nothing. Who is to blame follows from the wire that returned it: a server-role wire
//! blames the downstream (answered with [`Fault::status`]), a client-role wire the upstream
//! (answered with 502 by the gateway, whatever `status` says). One table here maps a fault to its
//! reason word and to its status; nothing else in the crate knows status numbers of errors.

/// How much of the connection a fault takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// One stream ends; the connection lives on.
    Stream,
    /// The connection can no longer be understood and ends.
    Connection,
}

/// A fault and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error {
    /// What the peer did.
    pub fault: Fault,
    /// What ends because of it.
    pub scope: Scope,
}

const _: () = assert!(size_of::<Error>() <= 8, "an error travels in one register");

impl Error {
    /// A fault that ends the connection.
    pub const fn connection(fault: Fault) -> Error {
        Error { fault, scope: Scope::Connection }
    }

    /// A fault that ends one stream.
    pub const fn stream(fault: Fault) -> Error {
        Error { fault, scope: Scope::Stream }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.fault.reason())
    }
}

impl core::error::Error for Error {}

/// Declares the faults: doc, variant, reason word, status for a downstream at fault.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $reason:literal, $status:literal;)+) => {
        /// What a peer did wrong. The number in each line of the source is the status that a
        /// downstream at fault is answered with; 0 means that no words are due, only a close.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Fault { $($(#[doc = $doc])+ $variant,)+ }

        impl Fault {
            /// Every fault, in declaration order.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)+];

            /// Whether it is a code by which the peer ended a stream, not a fault that was found.
            pub fn is_peers_word(self) -> bool {
                self.reason().starts_with("peer_")
            }

            /// The word for logs and metrics: snake_case, stable, unique.
            pub const fn reason(self) -> &'static str {
                match self { $(Fault::$variant => $reason,)+ }
            }

            /// The HTTP status for a downstream that did this; 0 where nothing is to be said.
            /// An upstream's fault is 502 to the client and never read from here.
            pub const fn status(self) -> u16 {
                match self { $(Fault::$variant => $status,)+ }
            }
        }
    };
}

faults! {
    /// The request line is not `method SP target SP version` (RFC 9112 §3).
    BadRequestLine = "bad_request_line", 400;
    /// The method holds a byte that is no `tchar` (RFC 9110 §9.1).
    BadMethod = "bad_method", 400;
    /// CONNECT, which this gateway does not serve (RFC 9110 §9.3.6).
    ConnectRefused = "connect_refused", 501;
    /// The target is of no form that the method allows, or holds an illegal byte (RFC 9112 §3.2).
    BadTarget = "bad_target", 400;
    /// The path holds `%` without two hex digits, or `%00` (RFC 3986 §2.1).
    BadEscape = "bad_escape", 400;
    /// `..` climbs above the path's root (RFC 3986 §5.2.4).
    PathAboveRoot = "path_above_root", 400;
    /// The path holds `%2F` or `%5C`, which some servers take for a separator (RFC 3986 §2.2).
    EncodedSlash = "encoded_slash", 400;
    /// The path holds `\`, which no path may (RFC 3986 §3.3) and some servers read as `/`.
    RawBackslash = "raw_backslash", 400;
    /// The path holds `;` or `%3B`, and the rule is strict (RFC 3986 §3.3).
    PathParameter = "path_parameter", 400;
    /// The path holds an escaped escape, and the rule is strict (RFC 3986 §2.4).
    DoubleEncoding = "double_encoding", 400;
    /// The path holds an escaped control byte, and the rule is strict (RFC 3986 §7.3).
    EncodedControl = "encoded_control", 400;
    /// The path's escapes are not UTF-8, and the rule is strict (RFC 3986 §2.5, RFC 3629 §3).
    PathNotUtf8 = "path_not_utf8", 400;
    /// The request line or the target is over its limit (RFC 9112 §3).
    TargetTooLong = "target_too_long", 414;
    /// A version that is neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 §15.6.6).
    BadVersion = "bad_version", 505;
    /// The status line is not `version SP 3DIGIT [SP reason]` (RFC 9112 §4).
    BadStatusLine = "bad_status_line", 400;
    /// A line ends in LF without CR (RFC 9112 §2.2).
    BareLf = "bare_lf", 400;
    /// A CR is not followed by LF (RFC 9112 §2.2).
    BareCr = "bare_cr", 400;
    /// A field line begins with white space: obsolete folding (RFC 9112 §5.2).
    ObsFold = "obs_fold", 400;
    /// A field name is empty, holds a byte that is no `tchar`, or a space before the colon
    /// (RFC 9112 §5.1); or it would be a protected name if its `_` were `-`.
    BadFieldName = "bad_field_name", 400;
    /// A field value holds NUL or another control byte (RFC 9110 §5.5).
    BadFieldValue = "bad_field_value", 400;
    /// More fields than `fields_max` (RFC 6585 §5).
    TooManyFields = "too_many_fields", 431;
    /// A field line over `line_bytes_max` (RFC 6585 §5).
    FieldTooLong = "field_too_long", 431;
    /// The whole head is over `head_bytes_max` (RFC 6585 §5).
    HeadTooLarge = "head_too_large", 431;
    /// HTTP/1.1 without a Host field (RFC 9112 §3.2).
    MissingHost = "missing_host", 400;
    /// More than one Host field (RFC 9112 §3.2).
    DuplicateHost = "duplicate_host", 400;
    /// Host or the target's authority is malformed (RFC 9110 §7.2, RFC 3986 §3.2).
    BadHost = "bad_host", 400;
    /// Content-Length is not one plain decimal number below 2^63 (RFC 9112 §6.3).
    BadContentLength = "bad_content_length", 400;
    /// Content-Length appears twice, or as a list (RFC 9112 §6.3).
    DuplicateContentLength = "duplicate_content_length", 400;
    /// Both Content-Length and Transfer-Encoding (RFC 9112 §6.3: a smuggling attempt).
    LengthConflict = "length_conflict", 400;
    /// Transfer-Encoding that does not end in exactly one `chunked` (RFC 9112 §6.1).
    BadTransferEncoding = "bad_transfer_encoding", 400;
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    UnknownCoding = "unknown_coding", 501;
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    TransferEncodingInHttp10 = "transfer_encoding_in_http10", 400;
    /// Connection lists a field that it must not remove, or too many names (RFC 9110 §7.6.1).
    BadConnection = "bad_connection", 400;
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    BadExpectation = "bad_expectation", 417;
    /// The body is longer than `body_bytes_max` (RFC 9110 §15.5.14).
    BodyTooLarge = "body_too_large", 413;
    /// A chunk size line is malformed (RFC 9112 §7.1).
    BadChunkSize = "bad_chunk_size", 400;
    /// A chunk extension is over its limit or holds a control byte (RFC 9112 §7.1.1).
    BadChunkExtension = "bad_chunk_extension", 400;
    /// Chunk data are not followed by CRLF (RFC 9112 §7.1).
    BadChunkEnd = "bad_chunk_end", 400;
    /// The trailer section is malformed (RFC 9112 §7.1.2).
    BadTrailer = "bad_trailer", 400;
    /// The trailer section is over its limits.
    TrailerTooLarge = "trailer_too_large", 431;
    /// No complete head within `head_timeout` of its first byte (RFC 9110 §15.5.9).
    HeadTimeout = "head_timeout", 408;
    /// The body comes slower than `body_rate_min` (RFC 9110 §15.5.9).
    BodyTooSlow = "body_too_slow", 408;
    /// The connection ended inside a head.
    HeadTruncated = "head_truncated", 0;
    /// The connection ended inside a body (RFC 9112 §8).
    BodyTruncated = "body_truncated", 0;
    /// The upstream closed before the first byte of its reply.
    ClosedBeforeReply = "closed_before_reply", 0;
    /// Bytes arrived that answer no request (RFC 9112 §9.2).
    UnsolicitedBytes = "unsolicited_bytes", 0;
    /// More than `interim_max` 1xx replies to one request.
    TooManyInterim = "too_many_interim", 0;
    /// 101 to a request that asked for no upgrade (RFC 9110 §15.2.2).
    UnexpectedUpgrade = "unexpected_upgrade", 0;
    /// A header block names an entry that neither table has (RFC 7541 §2.3.3, §6.1).
    BadHpackIndex = "bad_hpack_index", 0;
    /// An integer of a header block is longer than any of ours can be (RFC 7541 §5.1).
    BadHpackInteger = "bad_hpack_integer", 0;
    /// A compressed string holds EOS, or padding that is none (RFC 7541 §5.2).
    BadHuffman = "bad_huffman", 0;
    /// A size update over what we allowed, not at a block's start, or missing (RFC 7541 §4.2).
    BadTableSize = "bad_table_size", 0;
    /// A header block ends within a field (RFC 7541 §5).
    HpackTruncated = "hpack_truncated", 0;
    /// A header block decodes to many times its length (RFC 7541 §7.3).
    HpackBomb = "hpack_bomb", 0;
    /// A PROXY header that is malformed, or fails its checksum (proxy-protocol.txt §2).
    BadProxyHeader = "bad_proxy_header", 0;
    /// A PROXY header over its limit: 107 bytes of v1 (§2.1), or 4632 of v2.
    ProxyHeaderTooLong = "proxy_header_too_long", 0;
    /// The listener asks for a PROXY header and the connection begins with something else.
    ProxyHeaderMissing = "proxy_header_missing", 0;
    /// No complete PROXY header in time.
    ProxyHeaderTimeout = "proxy_header_timeout", 0;
    /// The connection does not begin with the preface and a SETTINGS frame (RFC 9113 §3.4).
    BadPreface = "bad_preface", 0;
    /// A frame that may not stand where it does (RFC 9113 §5.1, §6.2, §6.6, §6.10).
    UnexpectedFrame = "unexpected_frame", 0;
    /// A stream identifier of the wrong kind, out of order, or idle (RFC 9113 §5.1.1).
    BadStreamId = "bad_stream_id", 0;
    /// A frame longer than allowed, or too short for its type (RFC 9113 §4.2).
    BadFrameSize = "bad_frame_size", 0;
    /// Padding as long as its frame or longer (RFC 9113 §6.1).
    BadPadding = "bad_padding", 0;
    /// A setting with a value out of its range (RFC 9113 §6.5.2).
    BadSetting = "bad_setting", 0;
    /// SETTINGS were not acknowledged in time (RFC 9113 §6.5.3).
    SettingsTimeout = "settings_timeout", 0;
    /// A PING was not answered in time (RFC 9113 §6.7).
    PingTimeout = "ping_timeout", 0;
    /// More than the window allows, or a window beyond 2^31 - 1 (RFC 9113 §6.9.1).
    FlowControl = "flow_control", 0;
    /// WINDOW_UPDATE by nothing (RFC 9113 §6.9).
    ZeroIncrement = "zero_increment", 0;
    /// A frame on a stream that the peer had ended (RFC 9113 §5.1).
    StreamClosed = "stream_closed", 0;
    /// More streams at a time than SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §5.1.2).
    StreamRefused = "stream_refused", 503;
    /// Streams opened and reset faster than allowed (CVE-2023-44487).
    RapidReset = "rapid_reset", 0;
    /// Faults that make this side reset streams, more often than allowed (CVE-2025-8671).
    MadeYouReset = "made_you_reset", 0;
    /// A field block in too many pieces, or too long (CVE-2024-27316).
    ContinuationFlood = "continuation_flood", 0;
    /// Frames that say nothing, more often than allowed (RFC 9113 §10.5).
    GlitchFlood = "glitch_flood", 0;
    /// A pseudo-header field that is unknown, of the other kind of message, in a trailer section or
    /// behind a field (RFC 9113 §8.3).
    BadPseudoField = "bad_pseudo_field", 400;
    /// The same pseudo-header field twice (RFC 9113 §8.3).
    DuplicatePseudoField = "duplicate_pseudo_field", 400;
    /// A request without `:method`, `:scheme` or `:path`, a reply without `:status`
    /// (RFC 9113 §8.3.1, §8.3.2).
    MissingPseudoField = "missing_pseudo_field", 400;
    /// `:status` is not three digits from 100 on, or 101 (RFC 9113 §8.3.2, §8.6).
    BadStatus = "bad_status", 400;
    /// A field that belongs to an HTTP/1 connection (RFC 9113 §8.2.2).
    ConnectionField = "connection_field", 400;
    /// Content of another length than Content-Length says (RFC 9113 §8.1.1).
    ContentLengthMismatch = "content_length_mismatch", 400;
    /// Content in a reply that has none, or before a reply's head (RFC 9113 §8.1).
    UnexpectedContent = "unexpected_content", 400;
    /// HTTP/2 carries no upgrade (RFC 9113 §8.6).
    TunnelImpossible = "tunnel_impossible", 0;
    /// The peer ends the connection and has not looked at this stream (RFC 9113 §6.8).
    GoneAway = "gone_away", 0;
    /// The peer reset the stream with NO_ERROR, or ended the connection with it (RFC 9113 §7).
    PeerNoError = "peer_no_error", 0;
    /// The peer reset the stream with PROTOCOL_ERROR.
    PeerProtocolError = "peer_protocol_error", 0;
    /// The peer reset the stream with INTERNAL_ERROR, or a code that has no name.
    PeerInternalError = "peer_internal_error", 0;
    /// The peer reset the stream with FLOW_CONTROL_ERROR.
    PeerFlowControlError = "peer_flow_control_error", 0;
    /// The peer reset the stream with SETTINGS_TIMEOUT.
    PeerSettingsTimeout = "peer_settings_timeout", 0;
    /// The peer reset the stream with STREAM_CLOSED.
    PeerStreamClosed = "peer_stream_closed", 0;
    /// The peer reset the stream with FRAME_SIZE_ERROR.
    PeerFrameSizeError = "peer_frame_size_error", 0;
    /// The peer reset the stream with REFUSED_STREAM: it did nothing with it (RFC 9113 §8.7).
    PeerRefusedStream = "peer_refused_stream", 0;
    /// The peer reset the stream with CANCEL.
    PeerCancel = "peer_cancel", 0;
    /// The peer reset the stream with COMPRESSION_ERROR.
    PeerCompressionError = "peer_compression_error", 0;
    /// The peer reset the stream with CONNECT_ERROR.
    PeerConnectError = "peer_connect_error", 0;
    /// The peer reset the stream with ENHANCE_YOUR_CALM.
    PeerEnhanceYourCalm = "peer_enhance_your_calm", 0;
    /// The peer reset the stream with INADEQUATE_SECURITY.
    PeerInadequateSecurity = "peer_inadequate_security", 0;
    /// The peer reset the stream with HTTP_1_1_REQUIRED.
    PeerHttp11Required = "peer_http_1_1_required", 0;
    /// The connection does not begin with a TLS handshake (RFC 8446 §5.1).
    NotTls = "not_tls", 0;
    /// A ClientHello whose lengths do not add up, or with a name that is none (RFC 8446 §4.1.2).
    BadClientHello = "bad_client_hello", 0;
    /// A ClientHello over 64 KiB.
    ClientHelloTooLong = "client_hello_too_long", 0;
    /// No complete ClientHello in time.
    ClientHelloTimeout = "client_hello_timeout", 0;
    /// A ClientHello that asks for a server which the listener has no way to.
    ServerNameUnknown = "server_name_unknown", 0;
    /// The body is no sequence of whole messages (PROTOCOL-HTTP2.md of gRPC).
    BadGrpcMessage = "bad_grpc_message", 400;
    /// A connection that begins like no protocol that is known here.
    UnknownProtocol = "unknown_protocol", 0;
    /// A connection that begins in a protocol which its listener does not take.
    ProtocolNotAllowed = "protocol_not_allowed", 0;
    /// The banner of SSH (RFC 4253 §4.2).
    SshBanner = "ssh_banner", 0;
    /// Options of telnet (RFC 854).
    TelnetOptions = "telnet_options", 0;
    /// A ClientHello of SSL 2.0, which nobody may answer (RFC 6176).
    Sslv2Hello = "sslv2_hello", 0;
    /// A mesh header (`FF AF`) before a Thrift message.
    MeshHeader = "mesh_header", 0;
    /// A Thrift frame with a length of 64 bits (`BIGF`).
    ThriftBigFrame = "thrift_big_frame", 0;
    /// The SETUP frame of RSocket: Thrift over Rocket.
    RocketSetup = "rocket_setup", 0;
    /// A frame of Kitex that holds protobuf (`90 01`).
    KitexProtobuf = "kitex_protobuf", 0;
    /// A TTHeader frame of a stream: flag 0x02.
    TtheaderStreaming = "ttheader_streaming", 0;
    /// Thrift messages without a version, which this listener does not take.
    LaxBinaryOff = "lax_binary_off", 0;
    /// A Thrift frame, or a message without one, over `thrift_frame_bytes_max`.
    ThriftFrameTooLarge = "thrift_frame_too_large", 0;
    /// A Thrift frame that is empty, or shorter than the headers in it.
    BadThriftFrame = "bad_thrift_frame", 0;
    /// A Thrift message whose first bytes are of no version or type that there is.
    BadThriftMessage = "bad_thrift_message", 400;
    /// A method or service name that is empty, over 256 bytes, or no identifier.
    BadThriftName = "bad_thrift_name", 400;
    /// A struct with a type that there is not, a negative length, or an integer that is too long.
    BadThriftStruct = "bad_thrift_struct", 400;
    /// A length or count of a struct goes beyond the struct's frame.
    ThriftStructTruncated = "thrift_struct_truncated", 400;
    /// Structs and containers in each other, deeper than `thrift_depth_max`.
    ThriftTooDeep = "thrift_too_deep", 400;
    /// Bytes in a frame behind the end of its message.
    ThriftFrameGarbage = "thrift_frame_garbage", 400;
    /// A TTHeader whose sizes do not add up, or with a block that there is not.
    BadTtheader = "bad_ttheader", 0;
    /// A THeader whose sizes do not add up.
    BadTheader = "bad_theader", 0;
    /// A header names a protocol for its payload that is not spoken here, or not the one there is.
    UnknownPayloadProtocol = "unknown_payload_protocol", 0;
    /// A header names a transform that is not known here.
    UnknownTransform = "unknown_transform", 0;
    /// A payload that its transform cannot have made.
    BadZlib = "bad_zlib", 0;
    /// A compressed payload that grows beyond `thrift_frame_bytes_max`.
    InflatedTooLarge = "inflated_too_large", 0;
    /// A message of a type that this side is never sent: a reply to a server, a call to a client.
    UnexpectedThriftMessage = "unexpected_thrift_message", 400;
    /// A message in another dialect than the connection's first one.
    DialectChanged = "dialect_changed", 400;
    /// A reply to a call that nobody waits for.
    UnknownSeqid = "unknown_seqid", 0;
    /// The sequence ids of a reply's header and of its message are of different calls.
    SeqidMismatch = "seqid_mismatch", 0;
    /// A reply to a oneway call.
    ReplyToOneway = "reply_to_oneway", 0;
    /// A reply that names another method than its call.
    ReplyNameMismatch = "reply_name_mismatch", 0;
    /// The exchange was given up by this side.
    Cancelled = "cancelled", 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_words_are_unique_snake_case() {
        let mut seen = std::collections::BTreeSet::new();
        for fault in Fault::ALL {
            let word = fault.reason();
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(seen.insert(word), "{word} is used twice");
        }
    }

    #[test]
    fn a_peers_code_is_told_from_a_fault() {
        assert!(Fault::PeerCancel.is_peers_word() && Fault::PeerNoError.is_peers_word());
        assert!(!Fault::RapidReset.is_peers_word() && !Fault::Cancelled.is_peers_word());
    }

    #[test]
    fn statuses_are_those_the_gateway_documents() {
        for fault in Fault::ALL {
            assert!(matches!(
                fault.status(),
                0 | 400 | 408 | 413 | 414 | 417 | 431 | 501 | 503 | 505
            ));
        }
    }

    #[test]
    fn an_error_is_two_bytes_and_shows_its_reason() {
        assert_eq!(size_of::<Error>(), 2);
        assert_eq!(Error::connection(Fault::BareLf).to_string(), "bare_lf");
        assert_eq!(Error::stream(Fault::Cancelled).scope, Scope::Stream);
    }
}
