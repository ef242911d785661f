"""A client of BuildKit, the builder inside the Docker Engine, that needs no docker command.

A build uses two connections. `POST /session` reverses the roles: over it, the engine calls us by
gRPC for the files of the context, for secrets and for registry logins. `POST /build` names that
session and streams the progress back.

    client      one build: its two connections and their messages
    control     the builder's control service, which has more options than `POST /build`
    running     a build's deadline and cancellation
    transport   HTTP/1.1 to the engine, over a Unix socket, TCP or TLS
    http2       the gRPC server on a connection with reversed roles
    services    the services that the engine calls: files, secrets, logins, health
    context     selects a tree's files and describes them to the engine; pure
    patterns    the meaning of .dockerignore patterns; pure
    trace       progress as the engine encodes it; pure
    progress    progress as people read it; pure
    failures    the error message of a failed build; pure
    missing     why COPY did not find a file; pure
    no_dockerfile  the error for a commit without a Dockerfile; pure
    dockerfile  what error messages need of a Dockerfile; pure
    limits      the limit that a failed build has reached; pure
    wire        the subset of protobuf that these modules need; pure

Source: BuildKit's session, filesync and fsutil packages (github.com/moby/buildkit,
github.com/tonistiigi/fsutil), and observation of Docker Engine 20.10 and 28.5; 2026-11.
"""
