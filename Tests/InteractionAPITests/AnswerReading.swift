// What a reader makes of the bytes of an answer: ours, and NIO's for comparison.

import NIOCore
import NIOEmbedded
import NIOHTTP1

@testable import InteractionAPI

/// One answer as it was read.
struct AnswerReading: Equatable {
    /// `nil`: no head came.
    var status: Int?
    var body: [UInt8] = []
    var isComplete = false
    var keepsConnection = false
    var retryAfter: String?
    var bodyIsEncoded = false
    /// What was wrong, in our reader's words.
    var violation: String?

    /// Reads the pieces, and then the end of the connection where they hold no whole answer.
    init(_ pieces: [ArraySlice<UInt8>], headBytes: Int = 32 * 1024) {
        var reader = AnswerReader(headBytes: headBytes)
        do throws(AnswerViolation) {
            for piece in pieces where !isComplete {
                reader.receive(ByteBuffer(bytes: piece))
                while let event = try reader.next() { add(event) }
            }
            if reader.endsWithConnection { isComplete = true }
        } catch {
            violation = error.what
        }
    }

    init(_ text: String, headBytes: Int = 32 * 1024) {
        self.init([Array(text.utf8)[...]], headBytes: headBytes)
    }

    init(byteByByte text: String) {
        let bytes = Array(text.utf8)
        self.init(bytes.indices.map { bytes[$0...$0] })
    }

    private mutating func add(_ event: AnswerReader.Event) {
        switch event {
        case .head(let head):
            status = head.status
            keepsConnection = head.keepsConnection
            retryAfter = head.retryAfter
            bodyIsEncoded = head.bodyIsEncoded
        case .body(let bytes): body += bytes.readableBytesView
        case .end: isComplete = true
        }
    }

    /// The same, with spaces for the tabs of the body.
    var withoutTabs: AnswerReading {
        var reading = self
        reading.body = body.map { $0 == UInt8(ascii: "\t") ? UInt8(ascii: " ") : $0 }
        return reading
    }

    /// What NIO's decoder makes of it, as an answer to a POST; the reason of a refusal is not told.
    ///
    /// Tabs are read as spaces, in the body, too. RFC 9110 §5.6.3 makes them equal around a value, but llhttp refuses a
    /// `Content-Length` with one and does not know `chunked` with one.
    init(byNIO bytes: [UInt8]) {
        let bytes = bytes.map { $0 == UInt8(ascii: "\t") ? UInt8(ascii: " ") : $0 }
        let decoder = HTTPResponseDecoder(leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .drop)
        let channel = EmbeddedChannel(handler: ByteToMessageHandler(decoder))
        let request = HTTPRequestHead(version: .http1_1, method: .POST, uri: "/")
        channel.writeAndFlush(HTTPClientRequestPart.head(request), promise: nil)
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        take(from: channel)
        _ = try? channel.finish()
        take(from: channel)
    }

    private mutating func take(from channel: EmbeddedChannel) {
        while !isComplete, let part = try? channel.readInbound(as: HTTPClientResponsePart.self) {
            switch part {
            case .head(let head):
                status = Int(head.status.code)
                keepsConnection = head.isKeepAlive && head.status != .switchingProtocols
                retryAfter = head.headers.first(name: "Retry-After")
                let encoding = head.headers.first(name: "Content-Encoding")?.lowercased() ?? ""
                // It leaves the white space after a value there.
                bodyIsEncoded = !["", "identity"].contains(encoding.filter { $0 != " " })
            case .body(let bytes): body += bytes.readableBytesView
            case .end: isComplete = true
            }
        }
    }
}
