// Why something on the way to the broker did not work, and what the caller can do about it.

/// What went wrong with a broker, a channel or a message. Never holds a password.
public enum AMQPError: Error, Sendable, Hashable, CustomStringConvertible {
    /// An address, option or file that cannot be used; the text says which and why.
    case invalidConfiguration(String)
    /// No connection could be made: name not resolved, connection refused, no route.
    case unreachable(host: String, port: Int, reason: String)
    /// The broker does not know the user or the password is wrong.
    case authenticationRefused(user: String)
    /// The user may not do this (403); the broker's text names the resource.
    case accessRefused(String)
    /// The broker has no such virtual host.
    case vhostMissing(String)
    /// The broker closed the channel: 404 not found, 405 locked, 406 precondition failed, …
    case channelClosed(code: UInt16, text: String)
    /// The client took another channel in place of one on which the broker refused publishes (`basic.nack`).
    case channelReplaced
    /// The broker closed the connection, for instance 320 when it shuts down.
    case connectionClosed(code: UInt16, text: String)
    /// The broker cancelled the subscription: its queue was deleted, or its leader went away.
    case cancelled(queue: String)
    /// The connection broke: end of stream, reset, heartbeat missed, or a frozen peer given up on.
    case connectionLost(String)
    case tls(TLSFailure)
    /// A time limit ran out; the text says during what.
    case timeout(String)
    /// The broker accepts no messages at the moment (memory or disk alarm); its own words.
    case blocked(String)
    /// The message or name cannot be written in AMQP; nothing was sent.
    case invalidMessage(String)
    /// The publisher's own queue is full; nothing was sent.
    case queueFull
    /// The client was closed.
    case closed
    /// The broker sent what the protocol does not allow there.
    case protocolViolation(String)
    /// librabbitmq cannot read what the broker sent, which is most likely a message with malformed properties.
    case unreadable
    /// librabbitmq failed in another way.
    case library(code: Int32, text: String)

    /// Why a TLS connection was not made.
    public enum TLSFailure: Sendable, Hashable {
        /// The broker's certificate is not signed by a trusted authority, or has expired.
        case untrustedCertificate
        /// The certificate is trusted, but is not for this host name.
        case hostNameMismatch(String)
        /// The handshake failed: no TLS on that port, no common version, or the broker refused our certificate.
        case handshake
        /// A CA, certificate or key file cannot be read or used.
        case unusableFile(String)
    }

    /// What the caller can do.
    public enum Remedy: Sendable, Hashable {
        /// Trying the same again can succeed by itself.
        case retry
        /// A new connection is needed; the clients of this module make one by themselves.
        case reconnect
        /// It fails again until somebody changes configuration, permissions or topology.
        case operatorMustAct
        /// It fails again with this message; another message can succeed.
        case changeMessage
        /// Nothing: the client is closed.
        case stop
    }

    public var remedy: Remedy {
        switch self {
        case .timeout, .blocked, .queueFull, .cancelled, .channelReplaced: .retry
        case .unreachable, .connectionClosed, .connectionLost, .protocolViolation, .unreadable, .library: .reconnect
        case .invalidConfiguration, .authenticationRefused, .accessRefused, .vhostMissing, .tls: .operatorMustAct
        // 404 no such queue or exchange, 405 locked by another, 406 declared otherwise, 530 not allowed.
        case .channelClosed(let code, _): [404, 405, 406, 530].contains(code) ? .operatorMustAct : .retry
        case .invalidMessage: .changeMessage
        case .closed: .stop
        }
    }

    /// Whether nobody declared the queue or exchange. One whose node is down, or that only comes up, is not found either (404), in
    /// other words.
    public var isMissing: Bool {
        guard case .channelClosed(404, let text) = self else { return false }
        return text.contains("no queue '") || text.contains("no exchange '")
    }

    public var description: String {
        switch self {
        case .invalidConfiguration(let why): why
        case .unreachable(let host, let port, let reason): "cannot connect to \(host):\(port): \(reason)"
        case .authenticationRefused(let user):
            "the broker refused the login of user '\(user)': check user and password (guest may log in only from the broker's "
                + "own host)"
        case .accessRefused(let text): "the broker refused access: \(text)"
        case .vhostMissing(let vhost):
            vhost.isEmpty
                ? "the broker has no virtual host with an empty name (a URL that ends in '/' names it; leave out the '/')"
                : "the broker has no virtual host '\(vhost)'"
        case .channelClosed(let code, let text): "the broker closed the channel: \(code) \(text)"
        case .channelReplaced:
            "the broker refused messages, so another channel was opened, in case that this one alone was refused"
        case .connectionClosed(let code, let text): "the broker closed the connection: \(code) \(text)"
        case .cancelled(let queue): "the broker cancelled the subscription to queue '\(queue)'"
        case .connectionLost(let why): "the connection to the broker was lost: \(why)"
        case .tls(.untrustedCertificate):
            "TLS: the broker's certificate is not signed by a trusted authority or expired"
        case .tls(.hostNameMismatch(let host)): "TLS: the broker's certificate is not for host name '\(host)'"
        case .tls(.handshake): "TLS: the handshake failed (is TLS spoken on that port, and our certificate accepted?)"
        case .tls(.unusableFile(let file)): "TLS: the file '\(file)' cannot be used"
        case .timeout(let what): "timed out \(what)"
        case .blocked(let reason): "the broker takes no messages at the moment: \(reason)"
        case .invalidMessage(let why): "cannot be written in AMQP: \(why)"
        case .queueFull: "too many messages are waiting to be published"
        case .closed: "the AMQP client is closed"
        case .protocolViolation(let what): "the broker broke the protocol: \(what)"
        case .unreadable: "what the broker sent cannot be read (a message with malformed properties?)"
        case .library(let code, let text): "librabbitmq error \(code): \(text)"
        }
    }
}

/// Tells what an error of a call has cost.
enum Failure: Error {
    /// Nothing: an argument cannot be written, and nothing was sent.
    case argument(AMQPError)
    case channel(AMQPError)
    case connection(AMQPError)

    var error: AMQPError {
        switch self {
        case .argument(let error), .channel(let error), .connection(let error): error
        }
    }
}
