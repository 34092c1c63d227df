// Where a broker is and how to get in: `amqp://` and `amqps://` addresses.

/// One broker address with credentials.
///
/// Its descriptions never show the password.
public struct AMQPEndpoint: Sendable, Hashable {
    public var host: String
    public var port: Int
    public var vhost: String
    public var user: String
    public var password: String
    /// `nil` speaks plain TCP.
    public var tls: TLSSettings?
    /// What we propose; the smaller of ours and the broker's counts. Zero switches heartbeats off.
    public var heartbeat: Duration
    /// Limits the TCP and TLS handshakes, and then again the AMQP handshake. Resolving the name is not limited by it.
    public var connectionTimeout: Duration
    /// Limits each call that waits for the broker's answer (declare, consume, close, …).
    public var rpcTimeout: Duration

    public init(
        host: String = "localhost", port: Int? = nil, vhost: String = "/", user: String = "guest",
        password: String = "guest", tls: TLSSettings? = nil, heartbeat: Duration = .seconds(20),
        connectionTimeout: Duration = .seconds(10), rpcTimeout: Duration = .seconds(20)
    ) {
        self.host = host
        self.port = port ?? (tls == nil ? 5672 : 5671)
        self.vhost = vhost
        self.user = user
        self.password = password
        self.tls = tls
        self.heartbeat = heartbeat
        self.connectionTimeout = connectionTimeout
        self.rpcTimeout = rpcTimeout
    }
}

/// How the broker's certificate is checked and which one we show. At least TLS 1.2 is spoken.
public struct TLSSettings: Sendable, Hashable {
    /// PEM file of trusted authorities; `nil` takes the system's bundle.
    public var certificateAuthorities: String?
    /// PEM file of our certificate chain, for brokers that ask for one; needs ``privateKey``.
    public var certificate: String?
    /// PEM file of the key that belongs to ``certificate``.
    public var privateKey: String?
    /// Whether the certificate must be for the host name connected to. IP addresses in certificates are not matched.
    public var checksHostName: Bool

    public init(
        certificateAuthorities: String? = nil, certificate: String? = nil, privateKey: String? = nil,
        checksHostName: Bool = true
    ) {
        self.certificateAuthorities = certificateAuthorities
        self.certificate = certificate
        self.privateKey = privateKey
        self.checksHostName = checksHostName
    }
}

extension AMQPEndpoint: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// `amqps://user@host:port/vhost`
    public var description: String {
        let bracketed = host.contains(":") ? "[\(host)]" : host
        return "\(tls == nil ? "amqp" : "amqps")://\(user)@\(bracketed):\(port)/\(vhost == "/" ? "%2F" : vhost)"
    }

    public var debugDescription: String { description }

    public var customMirror: Mirror { Mirror(self, children: ["address": description]) }
}

extension AMQPEndpoint {
    /// Reads an address as RabbitMQ's URI specification has it, which says: no path is the virtual host `/`, a path of
    /// just `/` is the virtual host with the empty name; no user is `guest` with password `guest`.
    ///
    /// Query items: `heartbeat` (seconds), `connection_timeout` and `rpc_timeout` (milliseconds, at least 100), and with
    /// `amqps` also `cacertfile`, `certfile`, `keyfile` and `hostname_check` (`on`, `off`).
    ///
    /// - Parameter base: what holds where the URL says nothing; its TLS settings count for `amqps` alone.
    /// - Throws: ``AMQPError/invalidConfiguration(_:)``, whose text never repeats the user information.
    public init(url: String, over base: AMQPEndpoint = AMQPEndpoint()) throws(AMQPError) {
        func invalid(_ why: String) -> AMQPError { .invalidConfiguration("broker URL: \(why)") }

        self = base
        tls = nil
        port = 5672
        var rest: Substring
        if url.lowercased().hasPrefix("amqp://") {
            rest = url.dropFirst("amqp://".count)
        } else if url.lowercased().hasPrefix("amqps://") {
            rest = url.dropFirst("amqps://".count)
            tls = base.tls ?? TLSSettings()
            port = 5671
        } else {
            throw invalid("must start with amqp:// or amqps://")
        }
        if rest.contains("#") { throw invalid("has a fragment ('#'); write '%23' where it is part of a name") }
        var query: Substring = ""
        if let mark = rest.firstIndex(of: "?") {
            query = rest[rest.index(after: mark)...]
            rest = rest[..<mark]
        }
        if let slash = rest.firstIndex(of: "/") {
            let path = rest[rest.index(after: slash)...]
            if path.contains("/") { throw invalid("has more than one '/' after the host; write '%2F' inside a name") }
            vhost = try Self.decoded(path, in: "virtual host")
            rest = rest[..<slash]
        }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            user = try Self.decoded(parts[0], in: "user")
            password = parts.count > 1 ? try Self.decoded(parts[1], in: "password") : ""
            rest = rest[rest.index(after: at)...]
        }
        try readAuthority(rest)
        try readQuery(query)
    }

    private mutating func readAuthority(_ text: Substring) throws(AMQPError) {
        var portText: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw .invalidConfiguration("broker URL: '[' without ']'")
            }
            host = String(text[text.index(after: text.startIndex)..<end])
            let after = text[text.index(after: end)...]
            if !after.isEmpty {
                guard after.first == ":" else {
                    throw .invalidConfiguration("broker URL: ']' must be followed by ':' and a port")
                }
                portText = after.dropFirst()
            }
        } else if let colon = text.firstIndex(of: ":") {
            host = try Self.decoded(text[..<colon], in: "host")
            portText = text[text.index(after: colon)...]
        } else {
            host = try Self.decoded(text, in: "host")
        }
        if host.isEmpty { host = "localhost" }
        if let portText, !portText.isEmpty {
            guard let number = Int(portText), (1...65535).contains(number) else {
                throw .invalidConfiguration(
                    "broker URL: the port must be a number from 1 to 65535 (is a ':', '/' or '@' in user or password "
                        + "not percent-encoded?)")
            }
            port = number
        }
    }

    private mutating func readQuery(_ query: Substring) throws(AMQPError) {
        for item in query.split(separator: "&") {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = try Self.decoded(parts[0], in: "query")
            let value = parts.count > 1 ? try Self.decoded(parts[1], in: name) : ""
            switch name {
            case "heartbeat":
                guard let seconds = Int(value), (0...65535).contains(seconds) else {
                    throw .invalidConfiguration("broker URL: heartbeat must be seconds from 0 to 65535, not '\(value)'")
                }
                heartbeat = .seconds(seconds)
            case "connection_timeout": connectionTimeout = try Self.milliseconds(value, of: name)
            case "rpc_timeout": rpcTimeout = try Self.milliseconds(value, of: name)
            case "cacertfile", "certfile", "keyfile", "hostname_check":
                guard tls != nil else {
                    throw .invalidConfiguration("broker URL: \(name) needs amqps://")
                }
                try readTLS(name, value)
            case "verify":
                guard value == "verify_peer" else {
                    throw .invalidConfiguration(
                        "broker URL: the broker's certificate is always verified; name its authority with cacertfile")
                }
            default:
                throw .invalidConfiguration(
                    "broker URL: unknown query item '\(name)'; known are heartbeat, connection_timeout, rpc_timeout, "
                        + "cacertfile, certfile, keyfile, hostname_check, verify")
            }
        }
        if let tls, (tls.certificate == nil) != (tls.privateKey == nil) {
            throw .invalidConfiguration("broker URL: certfile and keyfile belong together")
        }
    }

    private mutating func readTLS(_ name: String, _ value: String) throws(AMQPError) {
        if value.isEmpty { throw .invalidConfiguration("broker URL: \(name) is empty") }
        switch name {
        case "cacertfile": tls?.certificateAuthorities = value
        case "certfile": tls?.certificate = value
        case "keyfile": tls?.privateKey = value
        default:
            guard value == "on" || value == "off" else {
                throw .invalidConfiguration("broker URL: hostname_check must be 'on' or 'off', not '\(value)'")
            }
            tls?.checksHostName = value == "on"
        }
    }

    private static func milliseconds(_ text: String, of name: String) throws(AMQPError) -> Duration {
        guard let number = Int(text), (100...3_600_000).contains(number) else {
            throw .invalidConfiguration(
                "broker URL: \(name) must be milliseconds from 100 to 3600000, not '\(text)'")
        }
        return .milliseconds(number)
    }

    /// Undoes percent-encoding. NUL is refused because librabbitmq takes C strings: a password would be cut short.
    private static func decoded(_ text: Substring, in part: String) throws(AMQPError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit) else {
                    throw .invalidConfiguration("broker URL: '%' in \(part) is not followed by two hexadecimal digits")
                }
                bytes.append(high << 4 | low)
            } else {
                bytes.append(byte)
            }
        }
        guard let string = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw .invalidConfiguration("broker URL: \(part) is not valid UTF-8 text")
        }
        return string
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
