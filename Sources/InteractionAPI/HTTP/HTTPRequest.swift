// A request as bytes. Pure.

import NIOCore

/// A request as it goes onto the wire.
struct HTTPRequest: Sendable {
    /// Request line, headers and the empty line (RFC 9112 §2.1).
    let head: ByteBuffer
    let body: ByteBuffer
}

/// A head in the making. It is written as bytes from the start: most of it is the same for every call of an org, and as
/// strings it would cost more than all the rest of a request.
struct RequestHead: Sendable {
    /// The methods of the API. ``AnswerReader`` counts on it that neither is one whose answers have no body (HEAD, CONNECT).
    enum Method: String {
        case post = "POST"
        case delete = "DELETE"
    }

    private var bytes: [UInt8]

    init(_ method: Method, uri: String) {
        bytes = Array("\(method.rawValue) \(uri) HTTP/1.1\r\n".utf8)
    }

    /// - Parameter value: must be safe as a header's: whoever lets it in has looked, see ``Swift/String/isHeaderSafe``.
    mutating func add(_ name: StaticString, _ value: String) {
        assert(value.isHeaderSafe)
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: ":"))
        bytes.append(UInt8(ascii: " "))
        bytes.append(contentsOf: value.utf8)
        endLine()
    }

    /// Makes room for so many bytes more, so that what others share is copied once.
    mutating func reserve(_ count: Int) { bytes.reserveCapacity(bytes.count + count) }

    /// Ends the head with the length of the body. Both lie in one piece of memory.
    consuming func request(with body: [UInt8]) -> HTTPRequest {
        add("Content-Length", String(body.count))
        endLine()
        var buffer = ByteBufferAllocator().buffer(capacity: bytes.count + body.count)
        buffer.writeBytes(bytes)
        buffer.writeBytes(body)
        guard let head = buffer.readSlice(length: bytes.count) else { preconditionFailure("it was just written") }
        return HTTPRequest(head: head, body: buffer)
    }

    private mutating func endLine() {
        bytes.append(0x0D)
        bytes.append(0x0A)
    }
}
