// A request as bytes. Pure.

import NIOCore
import NIOHTTP1

/// A request as it goes onto the wire.
struct HTTPRequest: Sendable {
    let method: HTTPMethod
    /// Request line, headers and the empty line (RFC 9112 §2.1).
    let head: ByteBuffer
    let body: [UInt8]
}

/// A head in the making. It is written as bytes from the start: most of it is the same for every call of an org, and as
/// strings it would cost more than all the rest of a request.
struct RequestHead: Sendable {
    private let method: HTTPMethod
    private var bytes: ByteBuffer

    init(_ method: HTTPMethod, uri: String) {
        self.method = method
        // Room for a token as well: whoever adds to a head that others share gets a copy of all of its room.
        bytes = ByteBufferAllocator().buffer(capacity: 1024)
        bytes.writeString("\(method.rawValue) \(uri) HTTP/1.1\r\n")
    }

    /// - Parameter value: must be safe as a header's: whoever lets it in has looked, see ``Swift/String/isHeaderSafe``.
    mutating func add(_ name: StaticString, _ value: String) {
        assert(value.isHeaderSafe)
        bytes.writeStaticString(name)
        bytes.writeStaticString(": ")
        bytes.writeString(value)
        endLine()
    }

    /// Ends the head with the length of the body.
    consuming func request(with body: [UInt8]) -> HTTPRequest {
        add("Content-Length", String(body.count))
        endLine()
        return HTTPRequest(method: method, head: bytes, body: body)
    }

    private mutating func endLine() {
        bytes.writeStaticString("\r\n")
    }
}
