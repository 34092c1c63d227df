// TLS for hiredis, which has none in Debian 12: it speaks into a pair of sockets, and NIOSSL carries that to the server.

import Glibc
import IdempotencyStore
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

/// One connection to a server over TLS, verified in full: a trusted authority, and the host of the URL.
///
/// What comes from either side is passed on as it is. Nothing needs to hold back the faster side: a batch goes out and its
/// answers come back before the next one, so that a batch bounds what can be under way.
final class RedisTLSTunnel: Sendable {
    /// The near end, for hiredis, which closes it; that ends the tunnel.
    let descriptor: Int32
    private let state = NIOLockedValueBox<(failure: RedisFailure?, isOpen: Bool)>((nil, false))

    /// Why the tunnel ended; set before the near end does.
    var failure: RedisFailure? { state.withLockedValue { $0.failure } }
    /// Whether the handshake is done.
    var isOpen: Bool { state.withLockedValue { $0.isOpen } }

    /// Begins to connect and returns at once: what is written before the handshake is done waits for it.
    ///
    /// - Parameter deadline: for the connection to the host; the handshake is bounded by whoever waits for an answer.
    init(to target: RedisTarget, deadline: ContinuousClock.Instant) throws(RedisFailure) {
        let handler = try Self.client(for: target)
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw .lost("cannot make a pair of sockets: \(String(cString: strerror(errno)))")
        }
        descriptor = ends[0]
        let inner = ends[1]
        let left = max(.milliseconds(1), deadline - .now)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        // Both ends live on the same loop.
        ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(left))
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([handler.make(), Passage(of: self)])
                }
            }
            .connect(host: target.host, port: target.port)
            .whenComplete { result in
                switch result {
                case .success(let far):
                    self.open(inner, onto: far, loop)
                case .failure(let error):
                    self.note(Self.connectFailure(error))
                    close(inner)
                }
            }
    }

    private func open(_ inner: Int32, onto far: any Channel, _ loop: any EventLoop) {
        ClientBootstrap(group: loop)
            .channelInitializer { near in
                near.eventLoop.makeCompletedFuture {
                    let passage = Passage(of: self)
                    passage.other = far
                    try near.pipeline.syncOperations.addHandler(passage)
                    try far.pipeline.syncOperations.handler(type: Passage.self).other = near
                }
            }
            .withConnectedSocket(inner)
            .whenFailure { error in
                self.note(.lost("the connection was lost: \(error)"))
                far.close(promise: nil)
            }
    }

    /// Only the first end counts.
    fileprivate func note(_ failure: RedisFailure) {
        state.withLockedValue { $0.failure = $0.failure ?? failure }
    }

    fileprivate func noteHandshake() {
        state.withLockedValue { $0.isOpen = true }
    }

    // MARK: TLS

    /// What makes the handler on the loop, where it belongs.
    private struct Client: Sendable {
        let context: NIOSSLContext
        let hostname: String?

        func make() throws -> NIOSSLClientHandler {
            try NIOSSLClientHandler(context: context, serverHostname: hostname)
        }
    }

    private static func client(for target: RedisTarget) throws(RedisFailure) -> Client {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .fullVerification
        // A good-bye that is not answered holds the descriptor no longer than this.
        configuration.shutdownTimeout = .seconds(1)
        // Read for each connection, so that a file that was exchanged counts from the next one on.
        configuration.trustRoots = target.caFile.map { .file($0) } ?? .default
        do {
            let context = try NIOSSLContext(configuration: configuration)
            // An address is compared with the certificate's addresses, and is no name to ask for (RFC 6066 §3).
            let isAddress = (try? SocketAddress(ipAddress: target.host, port: 0)) != nil
            return Client(context: context, hostname: isAddress ? nil : target.host)
        } catch {
            throw .untrusted(
                target.caFile.map { "the CA file \($0) cannot be used" } ?? "the system's authorities cannot be read")
        }
    }

    // MARK: Failures

    private static func connectFailure(_ error: any Error) -> RedisFailure {
        guard let failure = error as? NIOConnectionError else { return .lost("cannot connect: \(error)") }
        if failure.connectionErrors.isEmpty, let why = failure.dnsAError ?? failure.dnsAAAAError {
            return .lost("cannot connect: the host was not found: \(why)")
        }
        return .lost("cannot connect: \(failure.connectionErrors.map { "\($0.error)" }.joined(separator: "; "))")
    }

    fileprivate static func failure(of error: any Error) -> RedisFailure {
        let text = "\(error)"
        // By their texts, since the library tells reasons apart in no other way.
        if error is NIOSSLExtraError, text.contains("failedToValidateHostname") {
            return .untrusted("its certificate is for another host")
        }
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return .untrusted("its certificate was not accepted: expired, or signed by no trusted authority")
        }
        if text.contains("WRONG_VERSION_NUMBER") { return .untrusted("it does not speak TLS on this port") }
        if case NIOSSLError.handshakeFailed(.sslError) = error {
            return .untrusted("the TLS handshake failed: \(text)")
        }
        return .lost("the connection was lost: \(text)")
    }
}

/// Passes bytes on to the other end, and closes it with this one. Lives on the tunnel's loop.
private final class Passage: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let tunnel: RedisTLSTunnel
    var other: (any Channel)?

    init(of tunnel: RedisTLSTunnel) {
        self.tunnel = tunnel
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        other?.write(unwrapInboundIn(data), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        other?.flush()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event { tunnel.noteHandshake() }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        tunnel.note(RedisTLSTunnel.failure(of: error))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        tunnel.note(.lost("the connection was lost: the server closed it"))
        other?.close(promise: nil)
    }
}
