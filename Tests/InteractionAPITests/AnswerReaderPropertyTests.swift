// The reader of answers against random answers, whole and damaged, with NIO's decoder as a second opinion.

import RoutingContract
import Testing

@testable import InteractionAPI

@Suite struct AnswerReaderPropertyTests {
    private let seed = UInt64.random(in: .min ... .max)

    @Test func wellFormedAnswersAreReadAsMeant() {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<1000 {
            let answer = RandomAnswer(using: &generator)
            let pieces = split(answer.bytes, using: &generator)
            let comment: Comment = "seed \(seed), round \(round): \(text(answer.bytes))"
            #expect(AnswerReading(pieces) == answer.meaning, comment)
            #expect(AnswerReading(byNIO: answer.bytes) == answer.meaning.withoutTabs, comment)
        }
    }

    /// What is accepted here is accepted by NIO's decoder, and means the same to it.
    @Test func damagedAnswersAreReadAsByNIOOrRefused() {
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for round in 0..<20_000 {
            var bytes = RandomAnswer(using: &generator).bytes
            for _ in 0..<Int.random(in: 1...3, using: &generator) { damage(&bytes, using: &generator) }
            let reading = AnswerReading(split(bytes, using: &generator))
            let comment: Comment = "seed \(seed), round \(round): \(text(bytes))"
            if round.isMultiple(of: 10) { #expect(AnswerReading([bytes[...]]) == reading, comment) }
            guard reading.isComplete else { continue }
            accepted += 1
            let byNIO = AnswerReading(byNIO: bytes)
            #expect(
                byNIO.isComplete && byNIO.status == reading.status && byNIO.body == reading.withoutTabs.body, comment)
            #expect(byNIO.keepsConnection || !reading.keepsConnection, comment)
        }
        #expect((2000...18_000).contains(accepted), "seed \(seed)")
    }

    private func split(_ bytes: [UInt8], using generator: inout SeededGenerator) -> [ArraySlice<UInt8>] {
        let cuts = (0..<Int.random(in: 0...5, using: &generator)).map { _ in
            Int.random(in: 0...bytes.count, using: &generator)
        }
        let ends = [0] + cuts.sorted() + [bytes.count]
        return zip(ends, ends.dropFirst()).map { bytes[$0..<$1] }
    }

    private func damage(_ bytes: inout [UInt8], using generator: inout SeededGenerator) {
        guard !bytes.isEmpty else { return }
        let place = Int.random(in: bytes.indices, using: &generator)
        let byte =
            Bool.random(using: &generator)
            ? UInt8.random(in: .min ... .max, using: &generator)
            : "\r\n\t :;,=\"\\019aF-".utf8.randomElement(using: &generator)!
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: bytes[place] = byte
        case 1: bytes.insert(byte, at: place)
        case 2: bytes.remove(at: place)
        case 3: bytes.removeSubrange(place..<min(bytes.count, place + 12))
        default: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 40)], at: place)
        }
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self).debugDescription }
}

/// An answer in one of the many forms that it may have, and what it means.
private struct RandomAnswer {
    var bytes: [UInt8] = []
    var meaning = AnswerReading([])

    private enum Framing: CaseIterable { case length, chunks, untilClose }

    init(using generator: inout SeededGenerator) {
        for _ in 0..<max(0, Int.random(in: -3...2, using: &generator)) {
            let status = Int.random(in: 102...199, using: &generator)
            write("HTTP/1.1 \(status)\(Self.reason(using: &generator))\r\n")
            for _ in 0..<Int.random(in: 0...2, using: &generator) { writeField(using: &generator) }
            write("\r\n")
        }
        let isHTTP11 = Int.random(in: 0..<8, using: &generator) > 0
        let status = [200, 202, 204, 304, 400, 429, 503, 999].randomElement(using: &generator)!
        meaning.status = status
        let hasBody = status != 204 && status != 304
        let framing = isHTTP11 ? Framing.allCases.randomElement(using: &generator)! : .length
        let body = (0..<Int.random(in: 0...60, using: &generator)).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        if hasBody { meaning.body = body }
        meaning.isComplete = true
        write("HTTP/1.\(isHTTP11 ? 1 : 0) \(status)\(Self.reason(using: &generator))\r\n")

        var fields: [(name: String, value: String)] = []
        let option = ["", "close", "keep-alive", "x-y"].randomElement(using: &generator)!
        if !option.isEmpty { fields.append(("Connection", option)) }
        meaning.keepsConnection =
            (isHTTP11 ? option != "close" : option == "keep-alive") && (framing != .untilClose || !hasBody)
        switch framing {
        case .length: fields.append(("Content-Length", "\(body.count)"))
        case .chunks: fields.append(("Transfer-Encoding", "chunked"))
        case .untilClose: break
        }
        if Bool.random(using: &generator) {
            meaning.retryAfter = "\(Int.random(in: 0..<1000, using: &generator))"
            fields.append(("Retry-After", meaning.retryAfter!))
        }
        let encoding = ["", "identity", "gzip"].randomElement(using: &generator)!
        meaning.bodyIsEncoded = encoding == "gzip"
        if !encoding.isEmpty { fields.append(("Content-Encoding", encoding)) }
        for field in fields.shuffled(using: &generator) {
            while Bool.random(using: &generator) { writeField(using: &generator) }
            let value = field.name == "Retry-After" ? field.value : Self.anyCase(field.value, using: &generator)
            // NIO keeps the white space after a value.
            let end = field.name == "Retry-After" ? "" : Self.blank(using: &generator)
            write(
                Self.anyCase(field.name, using: &generator) + ":" + Self.blank(using: &generator) + value + end + "\r\n"
            )
        }
        write("\r\n")
        guard hasBody else { return }
        if framing == .chunks { writeChunks(of: body, using: &generator) } else { bytes += body }
    }

    private mutating func write(_ text: String) { bytes += Array(text.utf8) }

    private mutating func writeField(using generator: inout SeededGenerator) {
        let name = Self.token(using: &generator)
        write("X\(name):\(Self.blank(using: &generator))")
        bytes += (0..<Int.random(in: 0...12, using: &generator)).map { _ in
            "\t az~,;:=\"\\()é\u{FF}".utf8.randomElement(using: &generator)!
        }
        write("\r\n")
    }

    private mutating func writeChunks(of body: [UInt8], using generator: inout SeededGenerator) {
        var rest = body[...]
        while !rest.isEmpty {
            let chunk = rest.prefix(Int.random(in: 1...20, using: &generator))
            rest = rest.dropFirst(chunk.count)
            writeChunkSize(chunk.count, using: &generator)
            bytes += chunk
            write("\r\n")
        }
        writeChunkSize(0, using: &generator)
        for _ in 0..<max(0, Int.random(in: -2...2, using: &generator)) { writeField(using: &generator) }
        // They mean nothing there.
        if Bool.random(using: &generator) { write("Connection: close\r\nContent-Encoding: gzip\r\n") }
        write("\r\n")
    }

    private mutating func writeChunkSize(_ size: Int, using generator: inout SeededGenerator) {
        write(String(repeating: "0", count: Int.random(in: 0...3, using: &generator)))
        write(Self.anyCase(String(size, radix: 16), using: &generator))
        for _ in 0..<max(0, Int.random(in: -3...2, using: &generator)) {
            write(";\(Self.token(using: &generator))")
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: write("=\(Self.token(using: &generator))")
            case 1: write("=\"a; \\\"b\\\\ \"")
            default: break
            }
        }
        write("\r\n")
    }

    private static func token(using generator: inout SeededGenerator) -> String {
        String(
            (0..<Int.random(in: 1...8, using: &generator)).map { _ in
                "azAZ019!#$%&'*+-.^_`|~".randomElement(using: &generator)!
            })
    }

    private static func blank(using generator: inout SeededGenerator) -> String {
        ["", " ", " ", "\t", " \t "].randomElement(using: &generator)!
    }

    private static func reason(using generator: inout SeededGenerator) -> String {
        ["", " ", " OK", " Not (quite) ök"].randomElement(using: &generator)!
    }

    private static func anyCase(_ text: String, using generator: inout SeededGenerator) -> String {
        String(text.map { Bool.random(using: &generator) ? $0 : Character($0.uppercased()) })
    }
}
