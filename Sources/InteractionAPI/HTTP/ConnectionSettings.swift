// What bounds connections: how many, for how long, and how much an answer may hold.

/// Bounds of the connection pool. Every time is an upper bound of its phase, under the timeout of the whole call.
public struct ConnectionSettings: Sendable, Hashable {
    /// Connections open or being opened at once, per origin; one request is in flight on each.
    public var connectionsPerOrigin = 64
    /// Calls that may wait for a connection, per origin; one more fails at once.
    public var waitingPerOrigin = 1024
    /// How long a call may wait for a connection, the opening of a new one included.
    public var waitTimeout: Duration = .seconds(10)
    /// Name resolution and TCP connect.
    public var connectTimeout: Duration = .seconds(5)
    /// The proxy's answer to CONNECT.
    public var proxyTimeout: Duration = .seconds(5)
    public var tlsTimeout: Duration = .seconds(5)
    /// From the start of writing the request until the kernel has taken all of it.
    public var writeTimeout: Duration = .seconds(5)
    /// From there until the head of the answer is complete.
    public var answerHeadTimeout: Duration = .seconds(30)
    /// From there until the answer is complete.
    public var answerBodyTimeout: Duration = .seconds(10)
    /// How long a connection is kept for reuse. Shorter than the five seconds after which common servers close one
    /// (Apache httpd, Node.js), because a request that crosses with such a close is of unknown effect.
    public var idleTimeout: Duration = .seconds(4)
    /// Bytes of all lines of an answer together: its head, interim answers before it, extensions of chunks, trailers. One
    /// with more is malformed.
    public var answerHeadBytes = 32 * 1024
    /// Bytes of body kept of an answer; a larger one is cut there and unreadable.
    public var answerBodyBytes = 256 * 1024

    public init() {}
}

/// An HTTP proxy that opens tunnels (CONNECT, RFC 9110 §9.3.6). The connection to the proxy itself is not encrypted; what
/// goes through the tunnel is.
public struct HTTPProxy: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Without the brackets of an IPv6 address.
    public var host: String
    public var port: Int
    /// The value of the `Proxy-Authorization` header, where the proxy wants one. Secret.
    public var authorization: String?

    public init(host: String, port: Int, authorization: String? = nil) {
        self.host = host
        self.port = port
        self.authorization = authorization
    }

    public var description: String { "\(host.hostInURL):\(port)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["host": host, "port": port], displayStyle: .struct) }
}
