// HTTP/1.1 as far as a stub needs it: one request at a time per connection, with a Content-Length or without a body.

import Foundation
import NIOCore
import RoutingContract

/// What all connections share. Lives on the one event loop.
final class StubDesk {
    var ledger = CallLedger()
    var delay: TimeAmount
    /// Whether calls are answered with 503: they have no effect and are not counted.
    var refuses = false

    init(delay: TimeAmount) {
        self.delay = delay
    }
}

/// One request, as far as the stub looks at it.
private struct StubRequest {
    var target: Substring
    var key: CallKey?
    /// Head and body together.
    var length: Int

    /// - Returns: `nil` while bytes are missing.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let end = Self.endOfHead(bytes) else { return nil }
        var lines = bytes[..<end].split(separator: UInt8(ascii: "\n")).makeIterator()
        let words = lines.next()?.split(separator: UInt8(ascii: " ")) ?? []
        target = words.count > 1 ? Substring(decoding: words[1], as: UTF8.self) : ""
        var bodyLength = 0
        while let line = lines.next() {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let value = line[(colon + 1)...].drop { $0 == UInt8(ascii: " ") }.prefix { $0 != UInt8(ascii: "\r") }
            switch line[..<colon].count {
            case 9 where Self.isSame(line[..<colon], "requestid"):
                key = RequestID(Substring(decoding: value, as: UTF8.self)).map(CallKey.init)
            case 14 where Self.isSame(line[..<colon], "content-length"):
                bodyLength = Int(Substring(decoding: value, as: UTF8.self)) ?? 0
            default: break
            }
        }
        length = end + bodyLength
        guard bytes.count >= length else { return nil }
    }

    private static func isSame(_ name: Slice<UnsafeRawBufferPointer>, _ lowercased: StaticString) -> Bool {
        lowercased.withUTF8Buffer { expected in name.elementsEqual(expected) { $0 | 0x20 == $1 || $0 == $1 } }
    }

    /// Just behind the empty line.
    private static func endOfHead(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var position = 3
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\n"):
                if bytes[position - 2] == UInt8(ascii: "\n") { return position + 1 }
                position += 2
            case UInt8(ascii: "\r"):
                position += 1
            default:
                // Neither end of a line can lie less than two bytes ahead of the last byte of an empty line.
                position += 2
            }
        }
        return nil
    }
}

/// One connection.
final class StubHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let desk: StubDesk
    private var unread = ByteBuffer()

    init(desk: StubDesk) {
        self.desk = desk
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        unread.writeBuffer(&bytes)
        while let request = unread.withUnsafeReadableBytes(StubRequest.init) {
            unread.moveReaderIndex(forwardBy: request.length)
            take(request, context)
        }
        if unread.readableBytes == 0 { unread.clear() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func take(_ request: StubRequest, _ context: ChannelHandlerContext) {
        switch request.target {
        case "/api/v1/route" where desk.refuses:
            context.writeAndFlush(wrapOutboundOut(Self.unavailable), promise: nil)
        case "/api/v1/route":
            if let key = request.key { desk.ledger.arrived(key) }
            guard desk.delay > .zero else { return answer(request.key, context) }
            context.eventLoop.assumeIsolated().scheduleTask(in: desk.delay) {
                if context.channel.isActive { self.answer(request.key, context) }
            }
        case "/summary":
            send(Array(desk.ledger.summary.utf8), context)
        case "/calls":
            var calls = ByteBuffer()
            desk.ledger.write(to: &calls)
            send(Array(calls.readableBytesView), context)
        case let target where target.hasPrefix("/reset"):
            desk.ledger = CallLedger()
            if let delay = target.split(separator: "=").last.flatMap({ Int64($0) }) {
                desk.delay = .milliseconds(delay)
            }
            send([], context)
        case "/refuse", "/accept":
            desk.refuses = request.target == "/refuse"
            send([], context)
        default:
            context.writeAndFlush(wrapOutboundOut(Self.notFound), promise: nil)
        }
    }

    private func answer(_ key: CallKey?, _ context: ChannelHandlerContext) {
        if let key { desk.ledger.answered(key) }
        context.writeAndFlush(wrapOutboundOut(Self.success), promise: nil)
    }

    private func send(_ body: [UInt8], _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: body.count + 100)
        buffer.writeString("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
        buffer.writeBytes(body)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// What Salesforce's answer to a route looks like, with as many headers as a server in the field sends.
    private static let success: ByteBuffer = {
        let body =
            #"{"success":true,"psrId":"0JRSB0000004x7w4AA","workItemId":"0MwSB000000Ab1x0AC","#
            + #""routingCorrelationId":"5b7c6a30-1f3e-4f55-9d0a-6a52f5a7a001","contextParamMap":{},"errors":null}"#
        return ByteBuffer(
            string: "HTTP/1.1 202 Accepted\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\n"
                + "Content-Type: application/json;charset=utf-8\r\nCache-Control: no-cache, no-store\r\n"
                + "X-Request-Id: 5b7c6a301f3e4f559d0a6a52f5a7a001\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body)
    }()

    private static let unavailable = ByteBuffer(
        string: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    private static let notFound = ByteBuffer(string: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
}
