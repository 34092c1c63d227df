// Opening a connection: name, TCP, the proxy's tunnel, TLS; each with its deadline.

import LoopSupport
import NIOCore
import NIOExtras
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOTLS

/// Opens connections for one client. No byte of a request is written while one is being opened.
struct HTTPConnector {
    let eventLoop: any EventLoop
    let settings: ConnectionSettings
    let tls: NIOSSLContext
    let proxy: HTTPProxy?
    let names: NameLookups

    /// Opens a connection to `origin`, encrypted where the origin wants it, and says so on the event loop.
    func connect(to origin: Origin, completion: @escaping (Result<any Channel, ConnectFailure>) -> Void) {
        let (host, port) = proxy.map { ($0.host, $0.port) } ?? (origin.host, origin.port)
        ClientBootstrap(group: eventLoop)
            .resolver(names.resolver(of: host, port))
            .connectTimeout(TimeAmount(settings.connectTimeout))
            .connect(host: host, port: port)
            .assumeIsolated()
            .flatMapErrorThrowing { throw Self.connectFailure($0, to: proxy?.description ?? origin.authority) }
            .flatMap { openTunnel(on: $0, to: origin) }
            .flatMap { startTLS(on: $0, with: origin) }
            .flatMapThrowing { channel in
                try Self.checkActive(channel, origin.authority)
                return channel
            }
            .whenComplete { result in
                completion(
                    result.mapError {
                        $0 as? ConnectFailure
                            ?? ConnectFailure(CallFailure.Reason.connectFailed, ConnectionTrouble.words(for: $0))
                    })
            }
    }

    // MARK: Tunnel

    private func openTunnel(on channel: any Channel, to origin: Origin) -> EventLoopFuture<any Channel> {
        guard let proxy else { return eventLoop.makeSucceededFuture(channel) }
        var headers = HTTPHeaders([("Host", origin.authority)])
        if let authorization = proxy.authorization { headers.add(name: "Proxy-Authorization", value: authorization) }
        let opened = eventLoop.makePromise(of: Void.self)
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = settings.answerHeadBytes
        limits.maxHeaderListSize = settings.answerHeadBytes
        let encoder = HTTPRequestEncoder()
        let decoder = ByteToMessageHandler(HTTPResponseDecoder(limitConfiguration: limits))
        let tunnel = NIOHTTP1ProxyConnectHandler(
            targetHost: origin.hostInURL, targetPort: origin.port, headers: headers,
            deadline: .now() + TimeAmount(settings.proxyTimeout), promise: opened)
        let closer = CloseOnError()
        let pipeline = channel.pipeline.syncOperations
        do {
            try Self.checkActive(channel, proxy.description)
            try pipeline.addHandlers([encoder, decoder, tunnel, closer])
        } catch {
            opened.fail(error)
        }
        return opened.futureResult.assumeIsolated()
            // The decoder can only leave once it has handed on what it is decoding.
            .flatMap { pipeline.removeHandler(decoder) }
            .flatMap { pipeline.removeHandler(encoder) }
            .flatMap { pipeline.removeHandler(closer) }
            .map { channel }
            .flatMapErrorThrowing { error in
                channel.close(promise: nil)
                throw error as? ConnectFailure
                    ?? ConnectFailure(
                        CallFailure.Reason.proxyFailed,
                        "the proxy \(proxy) opened no tunnel to \(origin.authority): \(Self.proxyAnswer(error))")
            }
            .nonisolated()
    }

    /// The library's own texts name its source files.
    private static func proxyAnswer(_ error: any Error) -> String {
        switch error as? NIOHTTP1ProxyConnectHandler.Error {
        case nil: bounded(ConnectionTrouble.words(for: error))
        case NIOHTTP1ProxyConnectHandler.Error.proxyAuthenticationRequired(): "it wants authentication (407)"
        case NIOHTTP1ProxyConnectHandler.Error.httpProxyHandshakeTimeout(): "it did not answer in time"
        case NIOHTTP1ProxyConnectHandler.Error.remoteConnectionClosed(): "it closed the connection"
        default: "it refused"
        }
    }

    // MARK: TLS

    private func startTLS(on channel: any Channel, with origin: Origin) -> EventLoopFuture<any Channel> {
        guard origin.isTLS else { return eventLoop.makeSucceededFuture(channel) }
        let done = eventLoop.makePromise(of: Void.self)
        do {
            try Self.checkActive(channel, origin.authority)
            let pipeline = channel.pipeline.syncOperations
            let client = try NIOSSLClientHandler(context: tls, serverHostname: origin.isAddress ? nil : origin.host)
            try pipeline.addHandlers([client, HandshakeObserver(done, timeout: TimeAmount(settings.tlsTimeout))])
        } catch {
            done.fail(error)
        }
        return done.futureResult.assumeIsolated().map { channel }
            .flatMapErrorThrowing { error in
                channel.close(promise: nil)
                throw Self.tlsFailure(error, with: origin)
            }
            .nonisolated()
    }

    // MARK: Failures

    /// A handler that is added to a channel which has closed already would wait for events that are over.
    private static func checkActive(_ channel: any Channel, _ peer: String) throws {
        if !channel.isActive {
            throw ConnectFailure(CallFailure.Reason.connectFailed, "\(peer) closed the connection at once")
        }
    }

    private static func connectFailure(_ error: any Error, to peer: String) -> ConnectFailure {
        guard let failure = error as? NIOConnectionError else {
            if case ChannelError.connectTimeout = error {
                return ConnectFailure(CallFailure.Reason.connectTimeout, "\(peer) did not accept a connection in time")
            }
            return ConnectFailure(
                CallFailure.Reason.connectFailed,
                bounded("no connection to \(peer): \(ConnectionTrouble.words(for: error))"))
        }
        let words = ConnectionTrouble.words(for: failure)
        if failure.connectionErrors.isEmpty, failure.dnsAError != nil || failure.dnsAAAAError != nil {
            return ConnectFailure(CallFailure.Reason.nameNotResolved, bounded(words))
        }
        let timedOut = failure.connectionErrors.contains {
            if case ChannelError.connectTimeout = $0.error { true } else { false }
        }
        return ConnectFailure(
            timedOut ? CallFailure.Reason.connectTimeout : CallFailure.Reason.connectFailed,
            bounded("no connection to \(peer): \(words)"))
    }

    private static func tlsFailure(_ error: any Error, with origin: Origin) -> ConnectFailure {
        switch error {
        case let failure as ConnectFailure:
            failure
        case HandshakeObserver.Failure.timeout:
            ConnectFailure(
                CallFailure.Reason.tlsTimeout, "\(origin.authority) did not finish the TLS handshake in time")
        case HandshakeObserver.Failure.closed:
            ConnectFailure(
                CallFailure.Reason.tlsFailed, "\(origin.authority) closed the connection in the TLS handshake")
        default:
            ConnectFailure(CallFailure.Reason.tlsFailed, TLSTrouble.words(for: error, with: origin.authority))
        }
    }
}

/// Carries a failure through futures, which want an `Error`.
struct ConnectFailure: Error {
    var failure: CallFailure

    init(_ reason: String, _ message: String) {
        failure = CallFailure(reason, message)
    }
}

/// The tunnel's handler takes no notice of errors: what is not HTTP would only end with its timeout.
private final class CloseOnError: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Any

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// Waits for the end of the TLS handshake and then leaves the pipeline.
private final class HandshakeObserver: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Any

    enum Failure: Error { case timeout, closed }

    private let done: EventLoopPromise<Void>
    private let timeout: TimeAmount
    private var timer: Scheduled<Void>?
    private var isDone = false

    init(_ done: EventLoopPromise<Void>, timeout: TimeAmount) {
        self.done = done
        self.timeout = timeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { self.finish(.failure(Failure.timeout)) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        finish(.failure(Failure.closed))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event {
            // First the end, then the removal, which is taken for a failure otherwise.
            finish(.success(()))
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        finish(.failure(error))
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.failure(Failure.closed))
        context.fireChannelInactive()
    }

    private func finish(_ result: Result<Void, any Error>) {
        guard !isDone else { return }
        isDone = true
        timer?.cancel()
        timer = nil
        done.completeWith(result)
    }
}
