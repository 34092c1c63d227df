// A server whose every move a test makes: it accepts, reads, writes, closes and resets only when told.

import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// Listens on 127.0.0.1. Connections come out of ``accept()`` in their order.
final class ScriptedServer: Sendable {
    let port: Int
    private let channel: any Channel
    private let accepted: AsyncStream<Peer>
    private let holder: PeerHolder

    /// What is not read stays in the kernel, so that a client's writes get stuck.
    enum Reading { case always, never, untilFirstBytes }

    init(tls: NIOSSLContext? = nil, reads: Reading = .always) async throws {
        let (accepted, continuation) = AsyncStream.makeStream(of: Peer.self)
        self.accepted = accepted
        let holder = PeerHolder()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: reads != .never)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    let (bytes, input) = AsyncStream.makeStream(of: ByteBuffer.self)
                    try channel.pipeline.syncOperations.addHandler(
                        PeerHandler(input, stopsAfterFirstBytes: reads == .untilFirstBytes))
                    let peer = Peer(channel, bytes)
                    holder.add(peer)
                    continuation.yield(peer)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress!.port!
        self.holder = holder
    }

    var acceptedCount: Int { holder.peers.count }

    func accept() async -> Peer {
        for await peer in accepted { return peer }
        fatalError("the server was stopped")
    }

    /// Complete requests over all connections that nobody read; waits until the client closed all of them.
    func requestsLeft() async -> Int {
        var count = 0
        for peer in holder.peers { while await peer.readRequest() != nil { count += 1 } }
        return count
    }

    func stop() async throws {
        for peer in holder.peers { peer.close() }
        try await channel.close()
    }
}

private final class PeerHolder: Sendable {
    private let list = Mutex<[Peer]>([])
    var peers: [Peer] { list.withLock { $0 } }
    func add(_ peer: Peer) { list.withLock { $0.append(peer) } }
}

/// A request as it came over the wire.
struct WireRequest: Equatable {
    var line: String
    /// Names in lower case.
    var headers: [String: String]
    var body: [UInt8]
}

/// One accepted connection.
final class Peer: Sendable {
    private let channel: any Channel
    private let reader: Reader

    fileprivate init(_ channel: any Channel, _ bytes: AsyncStream<ByteBuffer>) {
        self.channel = channel
        reader = Reader(bytes)
    }

    /// The next complete request; `nil` once the client closed without one.
    func readRequest() async -> WireRequest? { await reader.request() }

    /// Returns once something was read, or the client closed.
    func waitForBytes() async { await reader.waitForBytes() }

    /// Whether the client has closed with nothing unread before.
    func isClosedByClient() async -> Bool { await reader.request() == nil }

    func write(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }

    func answer(_ status: String = "202 Accepted", _ body: String = #"{"success":true}"#, headers: String = "") {
        write("HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)")
    }

    /// Sends FIN; goes on reading.
    func closeOutput() { channel.close(mode: .output, promise: nil) }

    /// Sends FIN, and returns once the kernel has it; goes on reading.
    func outputClosed() async { try? await channel.close(mode: .output).get() }

    func close() { channel.close(promise: nil) }

    /// Sends RST.
    func reset() async throws {
        try await (channel as! any SocketOptionProvider).setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        try? await channel.close()
    }

    func startReading() { channel.setOption(.autoRead, value: true).whenComplete { _ in } }

    /// Writes past TLS, which was started but has heard nothing yet.
    func writeBelowTLS(_ text: String) async throws {
        let channel = channel
        try await channel.eventLoop.flatSubmit {
            do {
                let tls = try channel.pipeline.syncOperations.context(handlerType: NIOSSLServerHandler.self)
                return tls.writeAndFlush(NIOAny(ByteBuffer(string: text)))
            } catch {
                return channel.eventLoop.makeFailedFuture(error)
            }
        }.get()
    }

    /// Speaks TLS from here on.
    func startTLS(_ context: NIOSSLContext) async throws {
        let channel = channel
        try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context), position: .first)
        }.get()
    }
}

private final class PeerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let input: AsyncStream<ByteBuffer>.Continuation

    private var stopsAfterFirstBytes: Bool

    init(_ input: AsyncStream<ByteBuffer>.Continuation, stopsAfterFirstBytes: Bool) {
        self.input = input
        self.stopsAfterFirstBytes = stopsAfterFirstBytes
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        input.yield(unwrapInboundIn(data))
        if stopsAfterFirstBytes {
            stopsAfterFirstBytes = false
            try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { input.finish() }
        context.fireUserInboundEventTriggered(event)
    }

    // A channel that a test closes before it became active never becomes inactive either.
    func handlerRemoved(context: ChannelHandlerContext) { input.finish() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

private actor Reader {
    private let bytes: AsyncStream<ByteBuffer>
    private var buffer: [UInt8] = []

    init(_ bytes: AsyncStream<ByteBuffer>) { self.bytes = bytes }

    func request() async -> WireRequest? {
        while true {
            if let request = takeRequest() { return request }
            guard await readMore() else { return nil }
        }
    }

    func waitForBytes() async {
        if buffer.isEmpty { _ = await readMore() }
    }

    private func readMore() async -> Bool {
        for await chunk in bytes {
            buffer += chunk.readableBytesView
            return true
        }
        return false
    }

    private func takeRequest() -> WireRequest? {
        guard let end = buffer.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        var lines = String(decoding: buffer[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n").map(String.init)
        let line = lines.removeFirst()
        var headers: [String: String] = [:]
        for header in lines {
            let parts = header.split(separator: ": ", maxSplits: 1).map(String.init)
            precondition(headers.updateValue(parts.count > 1 ? parts[1] : "", forKey: parts[0].lowercased()) == nil)
        }
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        guard buffer.count - end.upperBound >= length else { return nil }
        let body = Array(buffer[end.upperBound..<(end.upperBound + length)])
        buffer.removeFirst(end.upperBound + length)
        return WireRequest(line: line, headers: headers, body: body)
    }
}

/// The connection that a test talked to last.
final class PeerBox: Sendable {
    private let peer = Mutex<Peer?>(nil)
    func set(_ peer: Peer) { self.peer.withLock { $0 = peer } }
    func get() -> Peer? { peer.withLock { $0 } }
}
