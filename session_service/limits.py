"""What a connection may ask of the service, however its caller behaves, and why each is so."""

_KIB, _MIB = 1024, 1024 * 1024
_SECOND, _MINUTE = 1000, 60 * 1000

MAX_REQUEST_BYTES = _MIB
MAX_RESPONSE_BYTES = 4 * _MIB
MAX_METADATA_BYTES = 16 * _KIB
MAX_STREAMS = 1000
MAX_PING_STRIKES = 2

SERVER_OPTIONS = (
    # The largest request is one of the ChatKit protocol, of which the gateway takes 512 KiB: the
    # rest is room for what is around it. Attachments come in chunks of 64 KiB.
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # What gRPC's clients take by default. The largest are a page of 1000 sessions and 256 KiB of
    # an answer; whoever adds a larger one is to learn it here and not from callers.
    ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
    # Callers send a request id, a token and what gRPC needs. Both are set, or requests between the
    # two would be refused at random.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    # Per connection, and a gateway has one: 500 people who read an answer each, and as many short
    # requests. What is above it waits in the caller, within its deadline.
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # Gateways ping every 30 s, idle or not, see gateway/channel.py: a third of that is for clocks
    # and others' settings. Whoever pings more often three times loses the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 10 * _SECOND),
    ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
    ("grpc.keepalive_permit_without_calls", 1),
    # A caller that has lost its network leaves answers running that cost money.
    ("grpc.keepalive_time_ms", _MINUTE),
    ("grpc.keepalive_timeout_ms", 20 * _SECOND),
    # A connection that says nothing after it was made, or stops in the middle of TLS.
    ("grpc.server_handshake_timeout_ms", 10 * _SECOND),
    # A certificate is looked at when a connection is made: one that was withdrawn is of use for an
    # hour at most. What has begun goes on, uploads of an hour included.
    ("grpc.max_connection_age_ms", 60 * _MINUTE),
    ("grpc.max_connection_age_grace_ms", 65 * _MINUTE),
    # Two processes on one port would share its connections: better that the second fails.
    ("grpc.so_reuseport", 0),
)
