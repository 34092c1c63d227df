// The head of an answer: its status, and those few of its fields that matter here. Pure.

import NIOCore

/// What an answer says before its body; read line by line. No list of fields is kept.
///
/// A line is given as the first so many bytes of a buffer, without its end, and must be free of control characters.
struct AnswerHead {
    /// Where the body ends (RFC 9112 §6.3).
    enum Framing {
        case length(Int)
        case chunks
        case untilClose
        /// In codings that are not known here: nobody asked for any (no TE is sent, RFC 9112 §7.4).
        case unknown
    }

    /// 100 to 999.
    private(set) var status = 0
    /// The last `Retry-After`, its first 100 bytes.
    private(set) var retryAfter: String?
    /// Whether the body is in a content coding. Nobody asked for one (no Accept-Encoding is sent), and unpacking could be
    /// a bomb.
    private(set) var bodyIsEncoded = false

    private var isHTTP11 = false
    private var saysClose = false
    private var saysKeepAlive = false
    private var contentLength: Int?
    private var transferCoding: TransferCoding?

    private enum TransferCoding { case chunked, other }

    init() {}

    /// Reads `HTTP-version SP status-code [ SP reason-phrase ]` (RFC 9112 §4; its second space is often left out).
    init(statusLine length: Int, of bytes: ByteBuffer) throws(AnswerViolation) {
        let line = bytes.readableBytesUInt8Span.extracting(0..<length)
        guard line.count >= 12, line.holds("HTTP/1.", in: 0..<7), line[8] == UInt8(ascii: " "),
            line.count == 12 || line[12] == UInt8(ascii: " ")
        else { throw AnswerViolation("it does not begin with a status line of HTTP/1") }
        switch line[7] {
        case UInt8(ascii: "0"): isHTTP11 = false
        case UInt8(ascii: "1"): isHTTP11 = true
        default: throw AnswerViolation("its version is neither HTTP/1.1 nor HTTP/1.0")
        }
        guard let status = line.decimal(in: 9..<12), status >= 100 else {
            throw AnswerViolation("its status is not a number from 100 to 999")
        }
        self.status = status
    }

    mutating func add(fieldLine length: Int, of bytes: ByteBuffer) throws(AnswerViolation) {
        let line = bytes.readableBytesUInt8Span.extracting(0..<length)
        let field = try FieldLine(line)
        // Lengths first: this runs for every field of every answer.
        switch field.name.count {
        case 10 where line.holdsWord("connection", in: field.name):
            line.forEachElement(of: field.value) { option in
                if line.holdsWord("close", in: option) { saysClose = true }
                if line.holdsWord("keep-alive", in: option) { saysKeepAlive = true }
            }
        case 11 where line.holdsWord("retry-after", in: field.name):
            retryAfter = line.text(in: field.value.prefix(100))
        case 14 where line.holdsWord("content-length", in: field.name):
            // Equal ones might be taken for one (RFC 9110 §8.6), but no server in its right mind sends them.
            guard contentLength == nil else { throw AnswerViolation("it has two Content-Lengths") }
            guard let length = line.decimal(in: field.value) else {
                throw AnswerViolation("its Content-Length is not a number")
            }
            contentLength = length
        case 16 where line.holdsWord("content-encoding", in: field.name):
            if !field.value.isEmpty && !line.holdsWord("identity", in: field.value) { bodyIsEncoded = true }
        case 17 where line.holdsWord("transfer-encoding", in: field.name):
            let isChunked = transferCoding == nil && line.holdsWord("chunked", in: field.value)
            transferCoding = isChunked ? .chunked : .other
        default:
            break
        }
    }

    /// An answer before the answer. 101 is none: what comes after it is not HTTP (RFC 9110 §15.2.2).
    var isInterim: Bool { status < 200 && status != 101 }

    /// Where the body ends.
    ///
    /// - Throws: where there are two answers to this, which is how answers are smuggled (RFC 9112 §6.3, §11.2).
    func framing() throws(AnswerViolation) -> Framing {
        guard contentLength == nil || transferCoding == nil else {
            throw AnswerViolation("it has both a Content-Length and a Transfer-Encoding")
        }
        if hasNoBody { return .length(0) }
        return switch transferCoding {
        case .chunked: .chunks
        case .other: .unknown
        case nil: contentLength.map { .length($0) } ?? .untilClose
        }
    }

    /// Whether there is a `Content-Length` or a `Transfer-Encoding`.
    var saysWhereBodyEnds: Bool { contentLength != nil || transferCoding != nil }

    /// Whether another answer can follow on the connection (RFC 9112 §9.3).
    var keepsConnection: Bool {
        // What came through a server of HTTP/1.0 was perhaps never meant to be chunks (RFC 9112 §6.1).
        let isPersistent = isHTTP11 || saysKeepAlive && transferCoding == nil
        return isPersistent && (hasNoBody || saysWhereBodyEnds) && !saysClose && status != 101
    }

    /// These have none, whatever their fields say (RFC 9112 §6.3).
    private var hasNoBody: Bool { status < 200 || status == 204 || status == 304 }
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5), as places in the line.
///
/// A name must be a token, which leaves room neither for a space before the colon (§5.1) nor for the folding of lines,
/// where a line begins with a space (§5.2).
struct FieldLine {
    let name: Range<Int>
    let value: Range<Int>

    init(_ line: borrowing Span<UInt8>) throws(AnswerViolation) {
        let nameEnd = line.endOfToken(from: 0)
        guard nameEnd > 0, nameEnd < line.count, line[nameEnd] == UInt8(ascii: ":") else {
            throw AnswerViolation("a header field has no valid name")
        }
        name = 0..<nameEnd
        value = line.trimmed((nameEnd + 1)..<line.count)
    }
}
