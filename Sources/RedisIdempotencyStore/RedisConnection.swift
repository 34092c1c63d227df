// One connection: commands out as one pipeline, replies in, every wait bounded.

import IdempotencyStore
import LoopSupport
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A connection with at most one pipeline under way. Lives on its event loop alone.
final class RedisConnection: ChannelInboundHandler, NIOScheduledCallbackHandler {
    typealias InboundIn = ByteBuffer

    typealias Replies = Result<[RedisReply], RedisFailure>

    private struct Exchange {
        var missing: Int
        var replies: [RedisReply] = []
        let continuation: CheckedContinuation<Replies, Never>
        let timer: NIOScheduledCallback?
    }

    private let channel: any Channel
    /// Over TLS, until hands are shaken.
    private var isShaking: Bool
    private var reader = RedisReader()
    private var exchange: Exchange?
    /// Why nothing can be sent any more.
    private var end: RedisFailure?

    /// Connects, without logging in. TLS is set up with the first pipeline, which waits for it.
    ///
    /// - Parameter silence: how long the kernel waits for a peer that does not answer, also between pipelines.
    static func open(
        _ target: RedisTarget, on loop: any EventLoop, deadline: ContinuousClock.Instant,
        silence: Duration
    ) async throws(RedisFailure) -> RedisConnection {
        let left = deadline - .now
        guard left > .zero else { throw .late }
        let tls = target.usesTLS ? try tls(target.caFile) : nil
        // An address is compared with the certificate's addresses, and is no name to ask for (RFC 6066 §3).
        let isAddress = (try? SocketAddress(ipAddress: target.host, port: 0)) != nil
        let channel: any Channel
        do {
            let idle = max(1, Int(silence.wholeMilliseconds / 1000))
            channel = try await ClientBootstrap(group: loop)
                .connectTimeout(.milliseconds(left.wholeMilliseconds))
                .channelOption(.socketOption(.so_keepalive), value: 1)
                .channelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: idle)
                .channelOption(
                    .tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: Int(silence.wholeMilliseconds)
                )
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        guard let tls else { return }
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(
                                context: tls, serverHostname: isAddress ? nil : target.host))
                    }
                }
                .connect(host: target.host, port: target.port).get()
        } catch {
            if case ChannelError.connectTimeout = error { throw .late }
            throw .lost("cannot connect: \(ConnectionTrouble.words(for: error))")
        }
        let connection = RedisConnection(channel, isShaking: target.usesTLS)
        do {
            try channel.pipeline.syncOperations.addHandler(connection)
        } catch {
            throw .lost("the connection was closed at once")
        }
        return connection
    }

    private init(_ channel: any Channel, isShaking: Bool) {
        self.channel = channel
        self.isShaking = isShaking
    }

    /// Read for each connection, so that a file that was exchanged counts from the next one on.
    private static func tls(_ caFile: String?) throws(RedisFailure) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .fullVerification
        configuration.trustRoots = caFile.map { .file($0) } ?? .default
        // A good-bye that is not answered holds the descriptor no longer than this.
        configuration.shutdownTimeout = .seconds(1)
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .untrusted(caFile.map { "the CA file \($0) cannot be used" } ?? "the system's CAs cannot be read")
        }
    }

    /// Sends the commands and returns one reply for each.
    ///
    /// - Throws: `lost` and `late`, after which it is unknown which commands were run. An error of the server's stands
    ///   among the replies.
    func run(_ pipeline: RedisPipeline, deadline: ContinuousClock.Instant) async throws(RedisFailure) -> [RedisReply] {
        let replies: Replies = await withCheckedContinuation { continuation in
            start(pipeline, deadline, continuation)
        }
        return try replies.get()
    }

    func close() { fail(.lost("the connection was closed")) }

    private func start(
        _ pipeline: RedisPipeline, _ deadline: ContinuousClock.Instant,
        _ continuation: CheckedContinuation<Replies, Never>
    ) {
        if let end { return continuation.resume(returning: .failure(end)) }
        guard channel.isActive else {
            return continuation.resume(returning: .failure(.lost("the connection was lost")))
        }
        let left = deadline - .now
        guard left > .zero else { return continuation.resume(returning: .failure(.late)) }
        // Throws only while the loop shuts down, which closes the channel.
        let timer = try? channel.eventLoop.assumeIsolated().scheduleCallback(
            in: .milliseconds(max(1, left.wholeMilliseconds)), handler: self)
        exchange = Exchange(missing: pipeline.count, continuation: continuation, timer: timer)
        channel.writeAndFlush(ByteBuffer(bytes: pipeline.bytes), promise: nil)
    }

    private func finish(_ replies: Replies) {
        guard let exchange else { return }
        self.exchange = nil
        exchange.timer?.cancel()
        exchange.continuation.resume(returning: replies)
    }

    private func fail(_ failure: RedisFailure) {
        if end == nil { end = failure }
        finish(.failure(failure))
        channel.close(promise: nil)
    }

    // MARK: What comes from the channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        reader.append(unwrapInboundIn(data))
        do throws(RedisReader.Violation) {
            while let reply = try reader.next() {
                guard exchange != nil else { return fail(Self.unasked(reply)) }
                exchange!.replies.append(reply)
                exchange!.missing -= 1
                if exchange!.missing == 0 { finish(.success(exchange!.replies)) }
            }
        } catch {
            fail(.lost("it answers otherwise than Redis does"))
        }
    }

    /// A server that has no room for another client says so before it is asked anything.
    private static func unasked(_ reply: RedisReply) -> RedisFailure {
        if case .error(let message) = reply { return .refused(message) }
        return .lost("it answers what it was not asked")
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(.lost("the connection was lost"))
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event { isShaking = false }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(
            TLSTrouble.isCause(of: error)
                ? .untrusted(TLSTrouble.words(for: error))
                : .lost("the connection was lost: \(ConnectionTrouble.words(for: error))"))
    }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        fail(isShaking ? .lost("the TLS handshake did not end in time; does it speak TLS on this port?") : .late)
    }
}
