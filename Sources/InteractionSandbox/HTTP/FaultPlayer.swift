// Plays a decision out on the connection: an answer, a slow or cut one, a reset, a close, or nothing.

import HTTPTypes
import Hummingbird
import NIOCore
import NIOPosix
import ServiceLifecycle

enum FaultPlayer {
    /// Thrown where no answer goes out: the connection is gone by then, so nothing is written for it.
    struct ConnectionGone: Error {}

    /// Waits; shorter where the sandbox shuts down.
    static func pause(_ duration: Duration) async {
        try? await cancelWhenGracefulShutdown { try await Task.sleep(for: duration) }
    }

    static func play(_ decision: Decision, on channel: any Channel, request: Request) async throws -> Response {
        switch decision.fault?.action {
        case nil, .latency, .status, .notJSON, .emptyBody, .failure:
            guard let reply = decision.reply else { throw HTTPError(.internalServerError) }
            return reply.response
        case .reset:
            try await reset(channel)
        case .close:
            try await channel.close()
        case .hang:
            try? await request.body.consumeWithCancellationOnInboundClose { _ in try await gracefulShutdown() }
            try await channel.close()
        case .slowBody:
            guard let reply = decision.reply else { throw HTTPError(.internalServerError) }
            return slow(reply, every: .milliseconds(decision.fault?.byteIntervalMilliseconds ?? 100))
        case .cutBody:
            guard let reply = decision.reply else { throw HTTPError(.internalServerError) }
            return cut(reply, on: channel)
        }
        throw ConnectionGone()
    }

    /// Ends the connection with RST: that is what close does with a linger time of zero (socket(7), SO_LINGER).
    private static func reset(_ channel: any Channel) async throws {
        if let socket = channel as? any SocketOptionProvider {
            try await socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        }
        try await channel.close()
    }

    private static func slow(_ reply: Reply, every interval: Duration) -> Response {
        let bytes = ByteBuffer(string: reply.body)
        return reply.response(
            body: ResponseBody(contentLength: bytes.readableBytes) { writer in
                for byte in bytes.readableBytesView {
                    await pause(interval)
                    try await writer.write(ByteBuffer(bytes: [byte]))
                }
                try await writer.finish(nil)
            })
    }

    private static func cut(_ reply: Reply, on channel: any Channel) -> Response {
        let bytes = ByteBuffer(string: reply.body)
        return reply.response(
            body: ResponseBody(contentLength: bytes.readableBytes) { writer in
                try await writer.write(ByteBuffer(bytes: bytes.readableBytesView.prefix(bytes.readableBytes / 2)))
                try await channel.close()
                throw ConnectionGone()
            })
    }
}

extension Reply {
    var response: Response { response(body: ResponseBody(byteBuffer: ByteBuffer(string: body))) }

    func response(body: ResponseBody) -> Response {
        var headers: HTTPFields = [.contentType: contentType]
        if let retryAfter { headers[.retryAfter] = retryAfter }
        return Response(status: HTTPResponse.Status(code: status), headers: headers, body: body)
    }
}
