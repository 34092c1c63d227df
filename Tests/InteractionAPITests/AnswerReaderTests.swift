// The reader of answers, rule by rule: what it makes of an answer, whole and byte by byte, and what it refuses.

import NIOCore
import Testing

@testable import InteractionAPI

@Suite struct AnswerReaderTests {
    // MARK: Where the body ends

    @Test(arguments: [
        ("Content-Length: 5\r\n\r\nhello", "hello"),
        ("content-LENGTH:\t 5 \t\r\n\r\nhello", "hello"),
        ("Content-Length: 000005\r\n\r\nhello", "hello"),
        ("Content-Length: 0\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("transfer-encoding:CHUNKED\r\n\r\n2\r\nhe\r\n003\r\nllo\r\n000\r\n\r\n", "hello"),
        (
            "Transfer-Encoding: chunked\r\n\r\nA;x\r\n0123456789\r\nb;x=y;z=\"a\\\"b;\"\r\n01234567890\r\n0;l=1\r\n\r\n",
            "012345678901234567890"
        ),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: x\r\nContent-Encoding: gzip\r\nY:\r\n\r\n", "x"),
    ])
    func itsOwnEnd(rest: String, body: String) {
        let text = "HTTP/1.1 202 Accepted\r\n\(rest)"
        let reading = AnswerReading(text)
        #expect(reading == .whole(202, body, keepsConnection: true))
        #expect(AnswerReading(byteByByte: text) == reading)
        // Every cut before its end is one, since it has an end of its own.
        for length in 0..<text.utf8.count {
            let cut = AnswerReading([Array(text.utf8.prefix(length))[...]])
            #expect(!cut.isComplete && cut.violation == nil, "\(length)")
        }
    }

    @Test(arguments: ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\nhello"])
    func theEndOfTheConnection(text: String) {
        #expect(AnswerReading(text) == .whole(200, "hello"))
        #expect(AnswerReading(byteByByte: text) == .whole(200, "hello"))
    }

    @Test(arguments: [204, 304], ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
    func statusesWithoutABody(status: Int, field: String) {
        #expect(AnswerReading("HTTP/1.1 \(status) X\r\n\(field)\r\n") == .whole(status, "", keepsConnection: true))
    }

    @Test func bytesAfterTheEndAreLeft() throws {
        for (extra, isLeft) in [("", false), ("\r\n", true), ("H", true)] {
            var reader = AnswerReader(headBytes: 1000)
            reader.receive(ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx\(extra)"))
            while let event = try reader.next() { if case .end = event { #expect(reader.holdsBytes == isLeft) } }
            #expect(reader.holdsBytes == isLeft && !reader.endsWithConnection)
        }
    }

    /// The body of an answer whose coding is not known ends nowhere; its head stands.
    @Test(arguments: [
        "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked;q=1", "xchunked", "identity", "",
        "chunked\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: gzip", "\"chunked\"",
    ])
    func otherTransferCodings(coding: String) {
        let reading = AnswerReading("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: \(coding)\r\n\r\n0\r\n\r\n")
        #expect(reading.status == 202 && !reading.isComplete && reading.violation?.contains("transfer coding") == true)
    }

    // MARK: Interim answers

    @Test func interimAnswersAreDropped() {
        let text = """
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\nContent-Encoding: gzip\r\n\r\n\
            HTTP/1.1 199\r\nContent-Length: 3\r\nRetry-After: 1\r\n\r\nHTTP/1.1 202 A\r\nContent-Length: 1\r\n\r\nx
            """
        #expect(AnswerReading(text) == .whole(202, "x", keepsConnection: true))
        #expect(AnswerReading(byteByByte: text) == .whole(202, "x", keepsConnection: true))
    }

    @Test func switchingProtocolsIsAnAnswerAndTheLast() {
        #expect(AnswerReading("HTTP/1.1 101 X\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\nz") == .whole(101, ""))
    }

    @Test(arguments: ["HTTP/1.1 100 C\r\nConnection: close\r\n\r\n", "HTTP/1.0 100 C\r\n\r\n"])
    func anInterimAnswerMustNotEndTheConnection(interim: String) {
        let reading = AnswerReading(interim + "HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n")
        #expect(reading.violation == "an interim answer ends the connection")
    }

    // MARK: Whether the connection stays

    @Test(arguments: [
        ("1.1", "", true), ("1.1", "Connection: close\r\n", false), ("1.1", "connection: x , CLOSE\t,y\r\n", false),
        ("1.1", "Connection: closed\r\n", true), ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false), ("1.1", "Connection:,,\r\n", true),
        ("1.0", "", false), ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ])
    func persistence(version: String, field: String, keeps: Bool) {
        let text = "HTTP/\(version) 200 OK\r\n\(field)Content-Length: 1\r\n\r\nx"
        #expect(AnswerReading(text) == .whole(200, "x", keepsConnection: keeps))
    }

    @Test func chunksOverHTTP10EndTheConnection() {
        let fields = "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
        #expect(AnswerReading("HTTP/1.0 200 OK\r\n\(fields)\r\n1\r\nx\r\n0\r\n\r\n") == .whole(200, "x"))
    }

    // MARK: Other fields

    @Test(arguments: [
        ("gzip", true), ("GZIP, identity", true), ("Identity \t", false), ("", false), ("identity, identity", true),
    ])
    func contentEncodings(value: String, isEncoded: Bool) {
        let text = "HTTP/1.1 200 OK\r\ncontent-encoding:\(value)\r\nContent-Length: 0\r\n\r\n"
        #expect(AnswerReading(text).bodyIsEncoded == isEncoded)
    }

    @Test func retryAfter() {
        func of(_ fields: String) -> String? {
            AnswerReading("HTTP/1.1 503 B\r\n\(fields)Content-Length: 0\r\n\r\n").retryAfter
        }
        #expect(of("") == nil)
        #expect(of("RETRY-after: \t120 \r\n") == "120")
        #expect(of("Retry-After: 1\r\nRetry-After: 2\r\n") == "2")
        #expect(of("Retry-After: \(String(repeating: "é", count: 60))\r\n") == String(repeating: "é", count: 50))
    }

    @Test(arguments: ["", " ", " OK", " Ünïcode \t(x)"])
    func reasonsAreOptional(reason: String) {
        #expect(AnswerReading("HTTP/1.1 999\(reason)\r\nContent-Length: 0\r\n\r\n").status == 999)
    }

    // MARK: What is refused

    @Test(arguments: [
        "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200 OK", "HTTP/1.1200 OK", "http/1.1 200 OK", "HTTP/1.1  200 OK",
        "HTTP/1.1 99 OK", "HTTP/1.1 099 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 200OK",
        "HTTP/1.1\t200 OK", " HTTP/1.1 200 OK", "HTTP/1.1", "ICY 200 OK", "RTSP/1.0 200 OK", "", "SSH-2.0-x",
        "HTTP/1.1 200 O\u{0}K", "HTTP/1.1 200 O\u{7F}K", "HTTP/1.1 200 OK\rX", "HTTP/1.1 200 OK\nX: y",
    ])
    func statusLines(line: String) { expectRefusal("\(line)\r\nContent-Length: 0\r\n\r\n") }

    @Test(arguments: [
        "X : y", " X: y", "\tX: y", ": y", "X", "X y: z", "(X): y", "\"X\": y", "Ü: y", "X\u{0}: y", "X: y\u{0}",
        "X: \u{1}y", "X: y\u{7F}", "X: y\rZ", "X: y\nZ: x", "X: y\r\n folded", "X: y\r\n\tfolded", "X:\r\r\n",
        "X: y\r\n\u{B}",
        "Content-Length: ", "Content-Length: -1", "Content-Length: +1", "Content-Length: 1 1", "Content-Length: 0x1",
        "Content-Length: 1, 1", "Content-Length: 1.0", "Content-Length: 9999999999999999999", "Content-Length: ١",
        "Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\r\ncontent-length: 1",
        "Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: gzip\r\nContent-Length: 0",
    ])
    func fields(lines: String) {
        expectRefusal("HTTP/1.1 200 OK\r\n\(lines)\r\n\r\n0\r\n\r\n")
        expectRefusal("HTTP/1.1 204 No Content\r\n\(lines)\r\n\r\n")
        expectRefusal("HTTP/1.1 102 Processing\r\n\(lines)\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    }

    @Test(arguments: [
        "\r\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n", "1\r\nxy\r\n0\r\n\r\n", "1\r\nx\n0\r\n\r\n", "1\r\nx\r\r\n0\r\n\r\n",
        "1;\r\nx\r\n0\r\n\r\n", "1;a=\r\nx\r\n0\r\n\r\n", "1;=b\r\nx\r\n0\r\n\r\n", "1;a b\r\nx\r\n0\r\n\r\n",
        "1;a=\"b\r\nx\r\n0\r\n\r\n", "1;a=\"b\\\r\nx\r\n0\r\n\r\n", "1;a=\"b\"c\r\nx\r\n0\r\n\r\n",
        "1,a\r\nx\r\n0\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "fffffffffffffffff\r\n",
        "0000000000000001\r\nx\r\n0\r\n\r\n",
        "0\r\nX\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX: \u{0}\r\n\r\n", "0\r\n\n",
        "0\r\nContent-Length: 5\r\n\r\n", "0\r\ntransfer-encoding: chunked\r\n\r\n",
    ])
    func chunks(wire: String) {
        let reading = AnswerReading(chunked + wire)
        #expect(reading.status == 200 && !reading.isComplete && reading.violation != nil)
    }

    private func expectRefusal(_ text: String) {
        for reading in [AnswerReading(text), AnswerReading(byteByByte: text)] {
            #expect(
                reading.status == nil && !reading.isComplete && reading.violation != nil, "\(text.debugDescription)")
        }
    }

    @Test func everyByteOfANameAndOfAValue() {
        let inNames = Set("!#$%&'*+-.^_`|~:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        func accepts(_ before: String, _ byte: UInt8, _ after: String) -> Bool {
            let bytes = Array("HTTP/1.1 204 X\r\n\(before)".utf8) + [byte] + Array("\(after)\r\n\r\n".utf8)
            return AnswerReading([bytes[...]]).isComplete
        }
        for byte in UInt8.min ... .max {
            let inValues = byte >= 0x20 && byte != 0x7F || byte == UInt8(ascii: "\t")
            // At every place among the eight that are looked at together, next to a tab, too.
            for place in 0..<20 {
                #expect(accepts("n\(x(place))", byte, "\(x(19 - place)):v") == inNames.contains(byte))
                #expect(accepts("n:\t\(x(place))", byte, "\t\(x(19 - place))") == inValues)
            }
        }
    }

    // MARK: Bounds

    /// Each has so many bytes of lines: those are accepted, one less is not, and no line goes on without end.
    @Test(arguments: [
        ("HTTP/1.1 200 \(x(87))", "\r\nContent-Length: 0\r\n\r\n", 100 + 17),
        ("HTTP/1.1 200 OK\r\nX: \(x(65))", "\r\nContent-Length: 0\r\n\r\n", 15 + 68 + 17),
        ("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 \(x(45))", "\r\n\r\n", 14 + 14 + 58),
        ("\(chunked)1;\(x(20))\r\nx\r\n0;\(x(33))", "\r\n\r\n", 15 + 26 + 21 + 34),
        ("\(chunked)0\r\nX:\(x(57))", "\r\n\r\n", 15 + 26 + 59),
    ])
    func bounds(text: String, rest: String, bytes: Int) {
        #expect(AnswerReading(text + rest, headBytes: bytes).isComplete)
        for over in [AnswerReading(text + rest, headBytes: bytes - 1), AnswerReading(text + x(20), headBytes: bytes)] {
            #expect(over.violation?.contains("too long") == true && !over.isComplete)
        }
    }

    @Test func endlessInterimAnswersAreRefused() {
        let text = String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 2000)
        #expect(AnswerReading(text).violation?.contains("too long") == true)
    }

    @Test func manySmallChunksAreNoLongHead() {
        let chunks = String(repeating: "1\r\nx\r\n", count: 2000)
        let reading = AnswerReading("\(chunked)\(chunks)0\r\n\r\n", headBytes: 100)
        #expect(reading == .whole(200, x(2000), keepsConnection: true))
    }
}

private let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

private func x(_ count: Int) -> String { String(repeating: "x", count: count) }

extension AnswerReading {
    static func whole(_ status: Int, _ body: String, keepsConnection: Bool = false) -> AnswerReading {
        var reading = AnswerReading([])
        reading.status = status
        reading.body = Array(body.utf8)
        reading.isComplete = true
        reading.keepsConnection = keepsConnection
        return reading
    }
}
