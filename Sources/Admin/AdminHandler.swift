// One connection of the admin port.

import NIOCore
import NIOHTTP1

/// Answers requests one after another.
final class AdminHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Bytes; no page takes more than a word.
    static let maximumBody = 1024

    private let routes: AdminRoutes
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    init(_ routes: AdminRoutes) {
        self.routes = routes
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
        case .body(let part):
            // One byte more, to see that it is too long.
            body += part.readableBytesView.prefix(Self.maximumBody + 1 - body.count)
        case .end:
            guard let head else { return }
            self.head = nil
            // Answers that nobody takes would pile up, and what asks for them would keep probes waiting.
            guard context.channel.isActive, context.channel.isWritable else {
                context.close(promise: nil)
                return
            }
            write(
                body.count > Self.maximumBody
                    ? AdminAnswer(status: .payloadTooLarge, body: "too long\n")
                    : routes.answer(head.method, head.uri, String(decoding: body, as: UTF8.self)), to: head, context)
        }
    }

    private func write(_ answer: AdminAnswer, to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        var headers = HTTPHeaders([
            ("Content-Type", answer.contentType), ("Content-Length", "\(answer.body.utf8.count)"),
            ("Cache-Control", "no-store"),
        ])
        if let allow = answer.allow { headers.add(name: "Allow", value: allow) }
        if !head.isKeepAlive { headers.add(name: "Connection", value: "close") }
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers))),
            promise: nil)
        if head.method != .HEAD {
            context.write(
                wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(string: answer.body)))),
                promise: nil)
        }
        let written = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        if !head.isKeepAlive {
            let context = NIOLoopBound(context, eventLoop: context.eventLoop)
            written.whenComplete { _ in context.value.close(promise: nil) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Nothing was said or taken for too long.
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
