"""A client of BuildKit, the builder inside the Docker Engine, that needs no docker command.

A build is two connections. `POST /session` is turned around: the engine calls us over it, by gRPC,
for the files of the context, for secrets and for registry logins. `POST /build` names that session
and streams the progress back.

    client      one build: both connections and what goes over them
    control     the builder's own service, which takes more than `POST /build` does
    running     its deadline and its cancellation
    transport   HTTP/1.1 to the engine, over a Unix socket, TCP or TLS
    http2       the gRPC server on a turned-around connection
    services    what the engine may ask for: files, secrets, logins, health
    context     which files of a tree are sent, and how they are described; pure
    patterns    what .dockerignore patterns mean; pure
    trace       progress as the engine encodes it; pure
    progress    progress as people read it; pure
    failures    the sentence a failed build ends with; pure
    limits      which limit it ran into; pure
    wire        the little of protobuf that all this needs; pure

Source: BuildKit's session, filesync and fsutil packages (github.com/moby/buildkit,
github.com/tonistiigi/fsutil), and observation of Docker Engine 20.10 and 28.5; 2026-11.
"""
