// Reads answers from the bytes of a connection: HTTP/1.1 framing as of RFC 9112, client side. Does no I/O.
//
// Its own code because calls are what a worker does, and what its time goes into is the program text that it touches:
// NIOHTTP1's decoder (its handler, llhttp, an array of header strings, boxed parts) took a tenth of the instructions of a
// whole command and 40 KB of text to find out a status, a length and where the body lies, which is all that is wanted
// here. Nothing is accepted that llhttp refuses in its strict mode, but for tabs around the values of framing fields, which
// RFC 9110 §5.6.3 allows.

import NIOCore

/// Reads the answer to one request; made anew for each.
///
/// Put in what was read from the connection with ``receive(_:)``, in pieces of any size, and take what it means with
/// ``next()`` until that returns `nil`. Pieces are not copied, except where a line is spread over several.
///
/// An answer's lines end with CR LF alone. RFC 9112 §2.2 would allow to take a bare LF for a line's end; it is refused,
/// since two readers that differ in this see different answers.
struct AnswerReader {
    enum Event {
        /// The head of the final answer. Interim answers (1xx, RFC 9110 §15.2) are read and dropped.
        case head(AnswerHead)
        /// A piece of the body, never empty, without the framing of chunks.
        case body(ByteBuffer)
        /// The answer is complete. Nothing comes after it.
        case end
    }

    /// What comes next on the wire. Everything but the contents of a body comes in lines.
    private enum Phase: Equatable {
        case statusLine
        case fields
        case body(bytesLeft: Int)
        case chunkSize
        case chunk(bytesLeft: Int)
        case chunkEnd
        case trailers
        case bodyUntilClose
        /// The head is known, and nobody can tell where its body ends.
        case unreadable
        case over
    }

    private var phase = Phase.statusLine
    private var head = AnswerHead()
    /// How many bytes of lines are still accepted; what is counted says ``ConnectionSettings/answerHeadBytes``.
    private var lineBytesLeft: Int
    /// What was received and not read yet.
    private var unread = ByteBuffer()
    /// So many bytes of `unread` were looked at already, in search of a line's end.
    private var searched = 0

    /// - Parameter headBytes: see ``ConnectionSettings/answerHeadBytes``.
    init(headBytes: Int) {
        lineBytesLeft = headBytes
    }

    /// Whether more was received than has been read: after the end, bytes that nobody asked for.
    var holdsBytes: Bool { unread.readableBytes > 0 }

    /// Whether the end of the connection, coming now, is the proper end of the answer (RFC 9112 §6.3, the last of its
    /// cases). In all others it cuts the answer short (§8).
    var endsWithConnection: Bool { phase == .bodyUntilClose }

    mutating func receive(_ bytes: ByteBuffer) {
        guard unread.readableBytes > 0 else {
            unread = bytes
            return
        }
        unread.discardReadBytes()
        unread.writeImmutableBuffer(bytes)
    }

    /// What comes next in the answer, or `nil` where more bytes are needed or the answer is over.
    ///
    /// - Throws: where it is no valid answer. Nothing can be read any more then.
    mutating func next() throws(AnswerViolation) -> Event? {
        while true {
            switch phase {
            case .statusLine:
                guard let length = try lineLength(atMost: lineBytesLeft) else { return nil }
                head = try AnswerHead(statusLine: length, of: unread)
                takeLine(length)
                phase = .fields
            case .fields:
                guard let length = try lineLength(atMost: lineBytesLeft) else { return nil }
                if length > 0 {
                    try head.add(fieldLine: length, of: unread)
                    takeLine(length)
                } else {
                    phase = try phaseAfterHead()
                    takeLine(length)
                    if phase != .statusLine { return .head(head) }
                }
            case .body(bytesLeft: 0):
                phase = .over
                // Lets go of the channel's buffer, which can then be read into again.
                if unread.readableBytes == 0 { unread = ByteBuffer() }
                return .end
            case .body(let bytesLeft):
                guard let piece = takeBody(atMost: bytesLeft) else { return nil }
                phase = .body(bytesLeft: bytesLeft - piece.readableBytes)
                return .body(piece)
            case .chunkSize:
                guard let length = try lineLength(atMost: ChunkSize.digits + lineBytesLeft) else { return nil }
                let size = try ChunkSize(line: unread.readableBytesUInt8Span.extracting(0..<length))
                takeLine(length, counted: size.extensionBytes)
                phase = size.value == 0 ? .trailers : .chunk(bytesLeft: size.value)
            case .chunk(bytesLeft: 0):
                phase = .chunkEnd
            case .chunk(let bytesLeft):
                guard let piece = takeBody(atMost: bytesLeft) else { return nil }
                phase = .chunk(bytesLeft: bytesLeft - piece.readableBytes)
                return .body(piece)
            case .chunkEnd:
                guard let length = try lineLength(atMost: 0) else { return nil }
                takeLine(length, counted: 0)
                phase = .chunkSize
            case .trailers:
                guard let length = try lineLength(atMost: lineBytesLeft) else { return nil }
                if length > 0 {
                    // Nothing that trailers may say is wanted, and where the body ends they may not (RFC 9110 §6.5.1).
                    var trailer = AnswerHead()
                    try trailer.add(fieldLine: length, of: unread)
                    guard !trailer.saysWhereBodyEnds else {
                        throw AnswerViolation("a trailer says where the body ends")
                    }
                }
                takeLine(length)
                if length == 0 { phase = .body(bytesLeft: 0) }
            case .bodyUntilClose:
                return takeBody(atMost: .max).map { .body($0) }
            case .unreadable:
                throw AnswerViolation("its body is in a transfer coding other than chunked")
            case .over:
                return nil
            }
        }
    }

    /// RFC 9112 §6.3, for answers to requests that are neither HEAD nor CONNECT.
    private func phaseAfterHead() throws(AnswerViolation) -> Phase {
        let framing = try head.framing()
        guard !head.isInterim else {
            if !head.keepsConnection { throw AnswerViolation("an interim answer ends the connection") }
            return .statusLine
        }
        return switch framing {
        case .length(let length): .body(bytesLeft: length)
        case .chunks: .chunkSize
        case .untilClose: .bodyUntilClose
        case .unknown: .unreadable
        }
    }

    /// How long the next line is without its end, or `nil` where its end has not come yet.
    private mutating func lineLength(atMost limit: Int) throws(AnswerViolation) -> Int? {
        try unread.lineLength(atMost: limit, searched: &searched)
    }

    private mutating func takeLine(_ length: Int, counted: Int? = nil) {
        unread.moveReaderIndex(forwardBy: length + 2)
        searched = 0
        lineBytesLeft -= counted ?? length
    }

    private mutating func takeBody(atMost limit: Int) -> ByteBuffer? {
        let length = min(limit, unread.readableBytes)
        return length > 0 ? unread.readSlice(length: length) : nil
    }
}

/// What is wrong with an answer.
struct AnswerViolation: Error, Equatable {
    let what: String

    init(_ what: String) {
        self.what = what
    }
}

extension ByteBuffer {
    /// How long the line at the beginning is without its end, or `nil` where its end is missing.
    ///
    /// - Parameter searched: so many bytes are known to be free of control characters.
    fileprivate func lineLength(atMost limit: Int, searched: inout Int) throws(AnswerViolation) -> Int? {
        let bytes = readableBytesUInt8Span
        let end = bytes.endOfText(from: searched)
        searched = end
        guard end <= limit else { throw AnswerViolation("a line, or its lines together, are too long") }
        guard end < bytes.count else { return nil }
        guard bytes[end] == UInt8(ascii: "\r") else {
            throw AnswerViolation("a control character is in a line, or a line ends without a carriage return")
        }
        guard end + 1 < bytes.count else { return nil }
        guard bytes[end + 1] == UInt8(ascii: "\n") else {
            throw AnswerViolation("a carriage return is not followed by a line feed")
        }
        return end
    }
}

/// The line before a chunk (RFC 9112 §7.1).
private struct ChunkSize {
    /// More would be too large for any answer, or zeros without end.
    static let digits = 15

    let value: Int
    let extensionBytes: Int

    init(line: borrowing Span<UInt8>) throws(AnswerViolation) {
        var value = 0
        var end = 0
        while end < line.count, let digit = line[end].hexadecimalValue {
            value = value << 4 | Int(digit)
            end += 1
            guard end <= Self.digits else { throw AnswerViolation("a chunk's size has too many digits") }
        }
        guard end > 0 else { throw AnswerViolation("a chunk has no size") }
        guard line.holdsChunkExtensions(from: end) else { throw AnswerViolation("a chunk's size is malformed") }
        self.value = value
        extensionBytes = line.count - end
    }
}
